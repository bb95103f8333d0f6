"""A user's own CUDA C++ as a function of JAX arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import numpy as np

from spikax_kernels._errors import LaunchError

from ._architecture import architectures
from ._steps import Argument, Buffer, Fill, Launch, Program, Step, call

Size: TypeAlias = int | tuple[int, ...]

_MOST_THREADS = 1024
_MOST_BLOCKS = (2**31 - 1, 65535, 65535)  # CUDA C++ programming guide, technical specifications


def cuda_kernel(
    source: str,
    name: str,
    outs: Sequence[Any],
    *,
    grid: Size,
    block: Size,
    scalars: Sequence[np.generic] = (),
    shared: int = 0,
    zeros: bool = False,
    options: Sequence[str] = (),
) -> Callable[..., list[jax.Array]]:
    """Make a CUDA C++ kernel a function that JAX can trace, for ``XLACustomKernel.def_kernel("cuda", "cuda", build)``.

    It is compiled by NVRTC for the GPUs that JAX sees, when the function is made, and kept on disk. It is launched by
    the native library on XLA's stream: without Python, and in CUDA graphs. The function is for programs on a GPU alone.

    Args:
        source: CUDA C++ with ``extern "C" __global__ void name(...)``. Its arguments are pointers to the operands and
            to the results, in order, then the scalars. There are no headers but this package's, such as ``target.h``,
            which has ``int32_t`` and the like.
        name: The name of the kernel.
        outs: The types of the results: anything with ``shape`` and ``dtype``.
        grid: The number of blocks along x, or along x, y and z; with none, nothing is launched.
        block: The number of threads of a block, likewise; at most 1024 together.
        scalars: What is passed by value; the type of each, such as ``np.int32``, is that of the argument.
        shared: Bytes of dynamic shared memory.
        zeros: Whether results are zeros when the kernel begins; else they are whatever was in memory.
        options: Options of NVRTC, such as ``"-DSIZE=4"`` or ``"--use_fast_math"``.

    Returns:
        A function of the operands that returns the list of results.

    Raises:
        LaunchError: A grid, block or scalar that CUDA does not take.
        CudaCompileError: The source does not compile; the message has the compiler's.
        MissingExtraError: NVRTC is not installed.
        BackendRefusedError: There is no GPU, and ``SPIKAX_CUDA_ARCH`` names none.

    Example:
        >>> import jax, jax.numpy as jnp, numpy as np
        >>> from spikax_core import XLACustomKernel
        >>> from spikax_kernels import cuda_kernel
        >>> SOURCE = '''
        ... extern "C" __global__ void scale(const float* x, float* y, float by, int size) {
        ...   int i = blockIdx.x * blockDim.x + threadIdx.x;
        ...   if (i < size) y[i] = by * x[i];
        ... }
        ... '''
        >>> def build(in_avals, out_avals, *, by):
        ...     size = in_avals[0].size
        ...     scalars = np.float32(by), np.int32(size)
        ...     return cuda_kernel(SOURCE, "scale", out_avals, grid=-(-size // 256), block=256, scalars=scalars)
        >>> scale = XLACustomKernel("scale", reference=lambda x, *, by: by * x)
        >>> scale.def_shape_rule(lambda x, *, by: x)
        >>> scale.def_kernel("cuda", "cuda", build)
        >>> scale(jnp.arange(3.0), by=2.0)  # here, on the CPU, by the reference
        Array([0., 2., 4.], dtype=float32)
    """
    blocks, threads = _three("grid", grid, 0), _three("block", block, 1)
    if math.prod(threads) > _MOST_THREADS:
        raise LaunchError(f"block: got {math.prod(threads)} threads; expected at most {_MOST_THREADS}")
    if any(size > most for size, most in zip(blocks, _MOST_BLOCKS, strict=True)):
        raise LaunchError(f"grid: got {blocks}; expected at most {_MOST_BLOCKS}")
    for scalar in scalars:
        if not isinstance(scalar, np.generic):
            raise LaunchError(f"scalars: got {scalar!r}; expected NumPy scalars, such as np.int32({scalar!r})")
    program = Program(source, name, tuple(options), architectures())
    results = [jax.ShapeDtypeStruct(out.shape, out.dtype) for out in outs]

    def run(*operands: jax.Array) -> list[jax.Array]:
        buffers = range(len(operands) + len(results))
        arguments: list[Argument] = [*map(Buffer, buffers), *scalars]
        fills: list[Step] = [Fill(buffer) for buffer in buffers[len(operands) :]] if zeros else []
        return call(program, [*fills, Launch(name, blocks, threads, arguments, shared)], results)(*operands)

    return run


def _three(what: str, size: Size, least: int) -> tuple[int, int, int]:
    sizes = size if isinstance(size, tuple) else (size,)
    if not 1 <= len(sizes) <= 3 or not all(isinstance(each, int) and each >= least for each in sizes):
        raise LaunchError(f"{what}: got {size!r}; expected one to three integers of at least {least}")
    x, y, z = (*sizes, 1, 1)[:3]
    return x, y, z
