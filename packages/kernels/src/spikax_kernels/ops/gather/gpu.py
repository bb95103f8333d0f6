"""How the kernels in ``gpu.cu`` are launched."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spikax_kernels.cuda._steps import Buffer, Launch, Step, call
from spikax_kernels.ops import _cuda, _lanes

_BLOCK = 128
_SLICE = 1024
"""Entries of a row that a warp can have without being slow to end."""


def group(rows: int, entries: int) -> int:
    """How many threads have a row together: as many as give each of them four entries, at most a warp."""
    mean = -(-entries // max(rows, 1))
    return min(1 << max(-(-mean // 4) - 1, 0).bit_length(), _cuda.WARP)


def slices(rows: int, entries: int, lanes: int) -> int:
    """Into how many slices rows are cut, so that a few long ones keep the GPU busy."""
    wanted = -(-_cuda.FILLS // max(rows * lanes, 1))
    return max(min(entries // max(rows, 1) // _SLICE, wanted), 1)


def build(in_avals: Any, out_avals: Sequence[Any], *, rows: int, binary: bool, exact: bool) -> Callable[..., Any]:
    """The product as a function of its operands, see ``def_kernel``; it is always the same bits."""
    (out,) = out_avals
    indptr, x = in_avals[2:]
    data, indices = (_lanes.listed(array, indptr) for array in in_avals[:2])
    lanes, packed = _cuda.describe_lanes(data, indices, indptr, x)
    entries = indices.shape[-1]
    shape = _cuda.describe_matrix(rows, x.shape[-1], indices, indptr, data.shape[-1])
    threads, parts = group(rows, entries), slices(rows, entries, lanes)
    grid = (-(-rows * threads // _BLOCK), parts, _cuda.along_z(lanes))

    wide = _cuda.WIDE[str(out.dtype)]
    direct = parts == 1 and wide == str(out.dtype)
    size = math.prod(out.shape)
    arguments = [*map(Buffer, range(4)), Buffer(4 if direct else 5), shape, packed, np.int64(threads)]
    steps: list[Step] = [Launch("gather", grid, (_BLOCK, 1, 1), arguments)]
    scratch = []
    if not direct:
        scratch = [jax.ShapeDtypeStruct((size * parts,), jnp.dtype(wide))]
        steps.append(_cuda.linear("add_up", size, Buffer(5), Buffer(4), np.int64(size), np.int64(parts)))
    types = {"WEIGHT": out.dtype, "INDEX": indices.dtype, "EVENT": _cuda.event_type(x, binary)}
    product = call(_cuda.program("gather", **types), steps, [jax.ShapeDtypeStruct(out.shape, out.dtype)], scratch)

    def run(data: jax.Array, indices: jax.Array, indptr: jax.Array, x: jax.Array) -> Any:
        matrix = (_lanes.as_list(array, indptr) for array in (data, indices))
        return product(*matrix, indptr, _cuda.as_events(x, binary))[0]

    return run
