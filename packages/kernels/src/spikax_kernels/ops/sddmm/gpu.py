"""How the kernels in ``gpu.cu`` are launched."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spikax_core import BackendRefusedError
from spikax_kernels.cuda._steps import Argument, Buffer, Fill, Launch, Step, call
from spikax_kernels.ops import _cuda, _lanes
from spikax_kernels.ops.gather.gpu import group, slices

_BLOCK = 128
_MOST_LAUNCHES = 64
"""Lanes of which each has row pointers of its own, and that are summed: one launch each."""


def build(
    in_avals: Any, out_avals: Sequence[Any], *, dtype: Any, lanes: Any, binary: Any, exact: bool
) -> Callable[..., Any]:
    """The product as a function of its operands, see ``def_kernel``; it is always the same bits."""
    (out,) = out_avals
    y, x, indices, indptr = in_avals
    indices = _lanes.listed(indices, indptr)
    z = _lanes.listed(out, indptr)
    full = _lanes.lane_shape(y, x, indices, indptr)
    operands = [(array.shape[:-1], array.shape[-1]) for array in (z, y, x, indices, indptr)]
    steps = _cuda.strides(full, operands)
    is_kept = [own == size for own, size in zip(lanes, full, strict=True)]
    kept, summed = (
        _cuda.pack_lanes(
            [size for size, keep in zip(full, is_kept, strict=True) if keep == wanted],
            [step for step, keep in zip(steps, is_kept, strict=True) if keep == wanted],
            len(operands),
        )
        for wanted in (True, False)
    )
    rows, entries = y.shape[-1], indices.shape[-1]
    shape = _cuda.describe_matrix(rows, x.shape[-1], indices, indptr, entries)
    threads = group(rows, entries)
    grid = (-(-rows * threads // _BLOCK), slices(rows, entries, int(kept[0])), _cuda.along_z(int(kept[0])))

    others = int(summed[0])
    moving = any(step[4] for step, keep in zip(steps, is_kept, strict=True) if not keep) and indptr.shape[-1] > 0
    if moving and others > _MOST_LAUNCHES:
        raise BackendRefusedError(f"got {others} structures to sum over; expected at most {_MOST_LAUNCHES}")
    ranges = [(i, i + 1) for i in range(others)] if moving else [(0, others)]
    size = math.prod(z.shape)
    wide = _cuda.WIDE[str(dtype)]
    to = 4 if wide == str(dtype) else 5
    taken: list[Step] = [Fill(to)]
    for first, last in ranges:
        arguments: list[Argument] = [Buffer(0), Buffer(1), Buffer(2), Buffer(3), Buffer(to), shape, kept, summed]
        arguments += [np.int64(first), np.int64(last), np.int64(threads.bit_length() - 1)]
        taken.append(Launch("sddmm", grid, (_BLOCK, 1, 1), arguments))
    scratch = []
    if to == 5:
        scratch = [jax.ShapeDtypeStruct(z.shape, jnp.dtype(wide))]
        taken.append(_cuda.linear("finish", size, Buffer(5), Buffer(4), np.int64(size)))
    types = {"WEIGHT": dtype, "INDEX": indices.dtype}
    events = {"ROW_EVENT": _cuda.event_type(y, binary[0]), "EVENT": _cuda.event_type(x, binary[1])}
    compiled = _cuda.program("sddmm", **types, **events)
    product = call(compiled, taken, [jax.ShapeDtypeStruct(z.shape, z.dtype)], scratch)

    def run(y: jax.Array, x: jax.Array, indices: jax.Array, indptr: jax.Array) -> jax.Array:
        vectors = _cuda.as_events(y, binary[0]), _cuda.as_events(x, binary[1])
        return product(*vectors, _lanes.as_list(indices, indptr), indptr)[0].reshape(out.shape)

    return run
