"""How the kernels in ``gpu.cu`` are launched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax

from spikax_kernels.cuda._steps import Buffer, Launch
from spikax_kernels.ops import _cuda, _lanes

_BLOCK = 128
_SLICE = 2048
"""Entries of 32 rows, if all are active, that one warp has."""


def build(in_avals: Any, out_avals: Sequence[Any], *, cols: int, binary: bool, exact: bool) -> Callable[..., Any]:
    """The product as a function of its operands, see ``def_kernel``."""
    (out,) = out_avals
    indptr, x = in_avals[2:]
    data, indices = (_lanes.listed(array, indptr) for array in in_avals[:2])
    lanes, packed = _cuda.describe_lanes(data, indices, indptr, x)
    rows, entries = x.shape[-1], indices.shape[-1]
    shape = _cuda.describe_matrix(rows, cols, indices, indptr, data.shape[-1])
    slices = min(max(-(-_cuda.WARP * entries // max(rows, 1) // _SLICE), 1), _cuda.MOST_ALONG_YZ)
    grid = (-(-rows // _BLOCK), slices, _cuda.along_z(lanes))

    def launch(function: str, to: Sequence[Any]) -> Launch:
        return Launch(function, grid, (_BLOCK, 1, 1), [*map(Buffer, range(4)), *to, shape, packed])

    types = {"WEIGHT": out.dtype, "INDEX": indices.dtype, "EVENT": _cuda.event_type(x, binary)}
    compiled = _cuda.program("scatter", exact=exact, **types)
    product = _cuda.sums(compiled, out, 4, launch, "scatter", lanes=lanes, exact=exact, addends=entries)

    def run(data: jax.Array, indices: jax.Array, indptr: jax.Array, x: jax.Array) -> Any:
        matrix = (_lanes.as_list(array, indptr) for array in (data, indices))
        return product(*matrix, indptr, _cuda.as_events(x, binary))[0]

    return run
