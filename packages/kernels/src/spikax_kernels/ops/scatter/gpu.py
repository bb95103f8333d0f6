"""How the kernels in ``gpu.cu`` are launched."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spikax_kernels.cuda._architecture import architectures
from spikax_kernels.cuda._steps import Argument, Buffer, Fill, Launch, Step, call
from spikax_kernels.ops import _cuda, _lanes

_BLOCK = 128
_SLICE = 2048
"""Entries of 32 rows, if all are active, that one warp has."""


_TOGETHER = 4
"""Lanes of one matrix that one reduction adds to, see ``gpu.cu``."""

VECTORS = 90
"""The compute capability that has such reductions (PTX instruction set, ``red``)."""


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

    def launch(function: str, to: Sequence[Argument]) -> Launch:
        arguments: list[Argument] = [*map(Buffer, range(4)), *to, shape, packed]
        return Launch(function, grid, (_BLOCK, 1, 1), arguments)

    types = {"WEIGHT": out.dtype, "INDEX": indices.dtype, "EVENT": _cuda.event_type(x, binary)}
    shared = all(math.prod(array.shape[:-1]) == 1 for array in (data, indices, indptr))
    together = shared and lanes >= _TOGETHER and not exact and out.dtype != jnp.float64
    together = together and architectures()[0] >= VECTORS
    compiled = _cuda.program("scatter", "EXACT" if exact else "TOGETHER" if together else "", **types)
    if together:
        groups = -(-lanes // _TOGETHER)
        grid = (grid[0], slices, _cuda.along_z(groups))
        sums = jax.ShapeDtypeStruct((groups * cols * _TOGETHER,), jnp.float32)
        numbers = (np.int64(lanes), np.int64(cols))
        steps: list[Step] = [
            Fill(5),
            launch("scatter_together", [Buffer(5)]),
            _cuda.linear("finish_together", lanes * cols, Buffer(5), Buffer(4), *numbers),
        ]
        product = call(compiled, steps, [jax.ShapeDtypeStruct(out.shape, out.dtype)], [sums])
    else:
        product = _cuda.sums(compiled, out, 4, launch, "scatter", lanes=lanes, exact=exact, addends=entries)

    def run(data: jax.Array, indices: jax.Array, indptr: jax.Array, x: jax.Array) -> Any:
        matrix = (_lanes.as_list(array, indptr) for array in (data, indices))
        return product(*matrix, indptr, _cuda.as_events(x, binary))[0]

    return run
