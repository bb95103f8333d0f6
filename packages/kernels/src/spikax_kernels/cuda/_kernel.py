"""A user's own CUDA C++ as a function of JAX arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import numpy as np

from spikax_kernels._errors import LaunchError

from ._architecture import architectures
from ._steps import Buffer, Fill, Launch, Program, call

Size: TypeAlias = int | tuple[int, ...]
Three: TypeAlias = tuple[int, int, int]

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

    NVRTC compiles it when it is traced, for the GPUs that JAX sees; the native library launches it, without Python.

    Args:
        source: CUDA C++ with ``extern "C" __global__ void name(...)``, whose arguments are pointers to the operands and
            to the results, in order, then the scalars. The only headers are this package's, such as ``target.h``.
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
        >>> import jax.numpy as jnp, spikax_core
        >>> from spikax_kernels import cuda_kernel
        >>> SOURCE = 'extern "C" __global__ void twice(const float* x, float* y) { y[blockIdx.x] = 2 * x[blockIdx.x]; }'
        >>> def build(in_avals, out_avals):
        ...     return cuda_kernel(SOURCE, "twice", out_avals, grid=in_avals[0].size, block=1)
        >>> twice = spikax_core.XLACustomKernel("twice", reference=lambda x: 2 * x)
        >>> twice.def_shape_rule(lambda x: x)
        >>> twice.def_kernel("cuda", "cuda", build)
        >>> twice(jnp.arange(3.0))  # here, on the CPU, by the reference
        Array([0., 2., 4.], dtype=float32)
    """
    blocks, threads = _sizes(grid, block, scalars)
    program = Program(source, name, tuple(options), architectures())
    results = [jax.ShapeDtypeStruct(out.shape, out.dtype) for out in outs]

    def run(*operands: jax.Array) -> list[jax.Array]:
        buffers = range(len(operands) + len(results))
        fills = [Fill(buffer) for buffer in buffers[len(operands) :]] if zeros else []
        launch = Launch(name, blocks, threads, [*map(Buffer, buffers), *scalars], shared)
        return call(program, [*fills, launch], results)(*operands)

    return run


def _sizes(grid: Size, block: Size, scalars: Sequence[Any]) -> tuple[Three, Three]:
    blocks, threads = _three("grid", grid, 0), _three("block", block, 1)
    if math.prod(threads) > _MOST_THREADS:
        raise LaunchError(f"block: got {math.prod(threads)} threads; expected at most {_MOST_THREADS}")
    if any(size > most for size, most in zip(blocks, _MOST_BLOCKS, strict=True)):
        raise LaunchError(f"grid: got {blocks}; expected at most {_MOST_BLOCKS}")
    for scalar in scalars:
        if not isinstance(scalar, np.generic):
            raise LaunchError(f"scalars: got {scalar!r}; expected NumPy scalars, such as np.int32({scalar!r})")
    return blocks, threads


def _three(what: str, size: Size, least: int) -> Three:
    sizes = size if isinstance(size, tuple) else (size,)
    if not 1 <= len(sizes) <= 3 or not all(isinstance(each, int) and each >= least for each in sizes):
        raise LaunchError(f"{what}: got {size!r}; expected one to three integers of at least {least}")
    x, y, z = (*sizes, 1, 1)[:3]
    return x, y, z
