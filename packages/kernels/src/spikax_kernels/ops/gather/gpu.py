"""How the kernels in ``gpu.cu`` are launched."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spikax_kernels.cuda._steps import Argument, Buffer, Launch, Step, call
from spikax_kernels.ops import _cuda, _lanes

_BLOCK = 128
_SLICE = 1024
"""Entries of a row that a warp can have without being slow to end."""


_CACHE = 1 << 17
"""Bytes of events that a unit's first cache keeps beside all else; the H100's has 256 KB, the A100's 192 KB."""


def group(rows: int, entries: int) -> int:
    """How many threads have a row together: as many as give each of them four entries, at most a warp."""
    mean = -(-entries // max(rows, 1))
    return min(1 << max(-(-mean // 4) - 1, 0).bit_length(), _cuda.WARP)


def slices(rows: int, entries: int, lanes: int) -> int:
    """Into how many slices rows are cut, so that a few long ones keep the GPU busy."""
    wanted = -(-_cuda.FILLS // max(rows * lanes, 1))
    return max(min(entries // max(rows, 1) // _SLICE, wanted), 1)


def is_packed(vector: int, *, reads: int, events: int) -> bool:
    """Whether to read bits instead of a vector of so many bytes: where it is larger than a cache, and read often."""
    return vector > _CACHE and reads > 4 * events


def build(in_avals: Any, out_avals: Sequence[Any], *, rows: int, binary: bool, exact: bool) -> Callable[..., Any]:
    """The product as a function of its operands, see ``def_kernel``; it is always the same bits."""
    (out,) = out_avals
    indptr, x = in_avals[2:]
    data, indices = (_lanes.listed(array, indptr) for array in in_avals[:2])
    bits_of = jax.ShapeDtypeStruct((*x.shape[:-1], -(-x.shape[-1] // 32)), jnp.uint32)
    lanes, described = _cuda.describe_lanes(data, indices, indptr, x, bits_of)
    entries = indices.shape[-1]
    shape = _cuda.describe_matrix(rows, x.shape[-1], indices, indptr, data.shape[-1])
    threads, parts = group(rows, entries), slices(rows, entries, lanes)
    grid = (-(-rows * threads // _BLOCK), parts, _cuda.along_z(lanes))

    # Buffers: four operands, the result, then what is needed in between.
    scratch: list[jax.ShapeDtypeStruct] = []
    steps: list[Step] = []

    def between(size: int, dtype: Any) -> Buffer:
        scratch.append(jax.ShapeDtypeStruct((size,), jnp.dtype(dtype)))
        return Buffer(4 + len(scratch))

    size, wide = math.prod(out.shape), _cuda.WIDE[str(out.dtype)]
    direct = parts == 1 and wide == str(out.dtype)
    events = _cuda.event_type(x, binary)
    packed = is_packed(x.shape[-1] * events.itemsize, reads=entries * lanes, events=math.prod(x.shape))
    bits = Buffer(0)
    if packed:
        bits = between(bits_of.size, jnp.uint32)
        numbers = (np.int64(math.prod(x.shape[:-1])), np.int64(x.shape[-1]))
        steps.append(_cuda.linear("pack", 32 * bits_of.size, Buffer(3), bits, *numbers))
    to = Buffer(4) if direct else between(size * parts, wide)
    arguments: list[Argument] = [*map(Buffer, range(4)), bits, to, shape, described, np.int64(threads.bit_length() - 1)]
    steps.append(Launch("gather", grid, (_BLOCK, 1, 1), arguments))
    if not direct:
        steps.append(_cuda.linear("add_up", size, to, Buffer(4), np.int64(size), np.int64(parts)))
    types = {"WEIGHT": out.dtype, "INDEX": indices.dtype, "EVENT": events}
    compiled = _cuda.program("gather", "PACKED" if packed else "", **types)
    product = call(compiled, steps, [jax.ShapeDtypeStruct(out.shape, out.dtype)], scratch)

    def run(data: jax.Array, indices: jax.Array, indptr: jax.Array, x: jax.Array) -> Any:
        matrix = (_lanes.as_list(array, indptr) for array in (data, indices))
        return product(*matrix, indptr, _cuda.as_events(x, binary))[0]

    return run
