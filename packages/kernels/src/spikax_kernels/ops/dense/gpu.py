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
_SLICE = 128
"""Events that are too few to cut into slices."""


def build(in_avals: Any, out_avals: Sequence[Any], *, transpose: bool, binary: bool, exact: bool) -> Callable[..., Any]:
    """The product as a function of its operands, see ``def_kernel``; it is always the same bits."""
    (out,) = out_avals
    weights, x = in_avals
    rows, cols = weights.shape[-2:]
    matrices = jax.ShapeDtypeStruct(weights.shape[:-1], weights.dtype)
    full = _lanes.lane_shape(matrices, x)
    steps = _cuda.strides(full, [(weights.shape[:-2], rows * cols), (x.shape[:-1], x.shape[-1])])
    lanes, packed = math.prod(full), _cuda.pack_lanes(full, steps, 2)
    size = out.shape[-1]
    blocks = -(-size * (_cuda.WARP if transpose else 1) // _BLOCK)
    # Enough blocks for all units; the events of each are then a slice.
    wanted = _cuda.FILLS * _cuda.WARP // _BLOCK // max(blocks * lanes, 1)
    slices = max(min(x.shape[-1] // _SLICE, wanted), 1)

    wide = _cuda.WIDE[str(out.dtype)]
    direct = slices == 1 and wide == str(out.dtype)
    arguments: list[Argument] = [
        Buffer(0),
        Buffer(1),
        Buffer(2 if direct else 3),
        np.int64(rows),
        np.int64(cols),
        packed,
    ]
    grid = (blocks, slices, _cuda.along_z(lanes))
    taken: list[Step] = [Launch("rows" if transpose else "columns", grid, (_BLOCK, 1, 1), arguments)]
    scratch = []
    if not direct:
        scratch = [jax.ShapeDtypeStruct((lanes * slices * size,), jnp.dtype(wide))]
        numbers = (np.int64(lanes), np.int64(size), np.int64(slices))
        taken.append(_cuda.linear("add_up", lanes * size, Buffer(3), Buffer(2), *numbers))
    compiled = _cuda.program("dense", WEIGHT=out.dtype, EVENT=_cuda.event_type(x, binary))
    product = call(compiled, taken, [jax.ShapeDtypeStruct(out.shape, out.dtype)], scratch)

    def run(weights: jax.Array, x: jax.Array) -> Any:
        return product(weights, _cuda.as_events(x, binary))[0]

    return run
