"""What the CUDA kernels of all operators have in common: the types they are compiled for, how operands are described.

What is passed by value is made of numbers of 64 bits, as ``include/operands.cuh`` has them.
"""

from __future__ import annotations

import functools
import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from spikax_core import BackendRefusedError, XLACustomKernel
from spikax_kernels.cuda._architecture import architectures
from spikax_kernels.cuda._steps import TARGET, Argument, Buffer, Fill, Launch, Program, Step, call
from spikax_kernels.ops import _lanes, _native

BACKEND = "cuda"
"""The backend that is fastest: sums in floating point, in the order in which they happen to be added up."""

DETERMINISTIC = "cuda_deterministic"
"""The backend whose results are the same bits each time."""

TYPES = {
    "bool": "uint8_t",
    "int32": "int32_t",
    "int64": "int64_t",
    "float16": "spikax::Half",
    "bfloat16": "spikax::BFloat16",
    "float32": "float",
    "float64": "double",
}
"""What a dtype is called in C++."""

WIDE = {"float16": "float32", "bfloat16": "float32", "float32": "float32", "float64": "float64"}
"""What weights of a dtype are added up in."""

WARP = 32
MOST_ALONG_YZ = 65535
"""The largest grid along y and z (CUDA C++ programming guide, technical specifications)."""

FILLS = 4096
"""As many warps keep all units of a GPU busy; the H100 has 132, each with 64 at once."""

_AXES = 4
_LINEAR_BLOCK = 256
_LINEAR_BLOCKS = 1 << 14

Packed: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"


@functools.cache
def source(operator: str) -> str:
    """The text of ``gpu.cu`` in the folder of an operator."""
    return (pathlib.Path(__file__).parent / operator / "gpu.cu").read_text()


def options(variant: str, types: Mapping[str, Any]) -> tuple[str, ...]:
    """The compiler's options for these dtypes, and for a variant of the kernels if it has a name."""
    names = [f"-D{name}={TYPES[str(dtype)]}" for name, dtype in types.items()]
    return (*names, *([f"-D{variant}"] if variant else []))


def program(operator: str, variant: str = "", **types: Any) -> Program:
    """What an operator's kernels for these dtypes are compiled from, here and now."""
    return Program(source(operator), f"{operator}/gpu.cu", options(variant, types), architectures())


def declare(kernel: XLACustomKernel, build: Callable[..., Any], supports: Callable[..., bool | str]) -> None:
    """Register both backends; ``build`` gets as ``exact`` whether results have to be the same bits each time."""
    for backend in (BACKEND, DETERMINISTIC):
        kernel.def_kernel(
            backend,
            "cuda",
            functools.partial(build, exact=backend == DETERMINISTIC),
            supports=supports,
            exportable=True,
            target=TARGET,
        )


def event_type(x: Any, binary: bool) -> Any:
    """The dtype of events as kernels get them, see :func:`as_events`."""
    return jnp.dtype(bool) if binary else x.dtype


as_events = _native.as_events


def strides(full: Sequence[int], operands: Sequence[tuple[Sequence[int], int]]) -> list[list[int]]:
    """For each axis, the strides of the operands: each has lane axes that broadcast to ``full``, and a size."""
    columns = []
    for shape, size in operands:
        steps, step = [], size
        for length, whole in zip(reversed(shape), reversed(full), strict=True):
            steps.append(step if length == whole else 0)
            step *= length
        columns.append(steps[::-1])
    return [list(row) for row in zip(*columns, strict=True)]


def pack_lanes(lengths: Sequence[int], steps: Sequence[Sequence[int]], operands: int) -> Packed:
    """The struct ``Lanes``, with axes put together where one stride does for both.

    Raises:
        BackendRefusedError: More axes are left than it has, or more lanes than 32 bits count.
    """
    axes: list[tuple[int, list[int]]] = []
    for length, step in zip(lengths, steps, strict=True):
        if length == 1:
            continue
        if axes and all(outer == inner * length for outer, inner in zip(axes[-1][1], step, strict=True)):
            axes[-1] = (axes[-1][0] * length, list(step))
        else:
            axes.append((length, list(step)))
    count = math.prod(length for length, _ in axes)
    if len(axes) > _AXES or count >= 2**31:
        raise BackendRefusedError(f"got {count} lanes along {len(axes)} axes; expected less than 2^31 along {_AXES}")
    axes = [(1, [0] * operands)] * (_AXES - len(axes)) + axes
    by_operand = zip(*(step for _, step in axes), strict=True)
    return np.array([count, *(length for length, _ in axes), *(step for row in by_operand for step in row)], np.int64)


def describe_lanes(*operands: Any) -> tuple[int, Packed]:
    """The number of lanes and the struct ``Lanes`` of operands whose last axis is a lane."""
    full = _lanes.lane_shape(*operands)
    steps = strides(full, [(operand.shape[:-1], operand.shape[-1]) for operand in operands])
    return math.prod(full), pack_lanes(full, steps, len(operands))


def describe_matrix(rows: int, cols: int, indices: Any, indptr: Any, weights: int) -> Packed:
    """The struct ``Shape``; ``weights`` is how many there are in a lane."""
    entries = indices.shape[-1]
    wide, rectangular = str(indptr.dtype) == "int64", indptr.shape[-1] == 0
    return np.array([rows, cols, entries, weights != 1 or entries == 1, wide, rectangular], np.int64)


def along_z(lanes: int) -> int:
    """The grid along z for so many lanes; kernels go through the rest in strides."""
    return min(lanes, MOST_ALONG_YZ)


def linear(function: str, size: int, *arguments: Any) -> Launch:
    """Launch a kernel that has a thread for each element, or goes through them in strides."""
    blocks = min(-(-size // _LINEAR_BLOCK), _LINEAR_BLOCKS)
    return Launch(function, (blocks, 1, 1), (_LINEAR_BLOCK, 1, 1), arguments)


def words(count: int) -> jax.ShapeDtypeStruct:
    """Scratch memory of so many numbers of 64 bits, which JAX does not have by default."""
    return jax.ShapeDtypeStruct((2 * count,), jnp.uint32)


def sums(
    program: Program,
    out: Any,
    operands: int,
    launch: Callable[[str, Sequence[Argument]], Launch],
    name: str,
    *,
    lanes: int,
    exact: bool,
    addends: int,
) -> Callable[..., list[jax.Array]]:
    """The call of a kernel whose threads add to sums of ``out``'s shape, in floating point or exactly.

    Args:
        program: What has the kernels ``name`` and ``finish``, or ``largest``, ``name`` with ``_exact`` and
            ``finish_exact``.
        out: The type of the result.
        operands: How many operands there are.
        launch: Launches a kernel by its name, which gets these arguments between its operands and its structs.
        name: The kernel that adds up.
        lanes: How many lanes there are.
        exact: Whether to add up exactly.
        addends: The most values that one sum has.
    """
    size = math.prod(out.shape)
    result = jax.ShapeDtypeStruct(out.shape, out.dtype)
    first = operands + 1
    steps: list[Step]
    if exact:
        bits = np.int64(max(addends, 1).bit_length())
        numbers, special, largest = Buffer(first), Buffer(first + 1), Buffer(first + 2)
        scratch = [
            words(size * (2 if str(out.dtype) == "float64" else 1)),
            jax.ShapeDtypeStruct((size,), jnp.uint32),
            words(lanes),
        ]
        steps = [Fill(first), Fill(first + 1), Fill(first + 2), launch("largest", [largest])]
        adding = launch(f"{name}_exact", [numbers, special, largest])
        steps.append(Launch(adding.function, adding.grid, adding.block, [*adding.arguments, bits]))
        each = np.int64(size // max(lanes, 1))
        arguments = (numbers, special, largest, Buffer(operands), np.int64(lanes), each, bits)
        steps.append(linear("finish_exact", size, *arguments))
        return call(program, steps, [result], scratch)
    if WIDE[str(out.dtype)] == str(out.dtype):
        return call(program, [Fill(operands), launch(name, [Buffer(operands)])], [result])
    scratch = [jax.ShapeDtypeStruct(out.shape, jnp.dtype(WIDE[str(out.dtype)]))]
    steps = [
        Fill(first),
        launch(name, [Buffer(first)]),
        linear("finish", size, Buffer(first), Buffer(operands), np.int64(size)),
    ]
    return call(program, steps, [result], scratch)
