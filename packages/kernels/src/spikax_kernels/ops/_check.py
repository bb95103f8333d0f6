"""What all operators ask of their operands."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from spikax_kernels._errors import DTypeError, ShapeError
from spikax_kernels.ops import _lanes

INDICES = ("int32", "int64")


def check_indices(name: str, array: Any) -> None:
    """Raise unless these are of a dtype that indices have."""
    if str(array.dtype) not in INDICES:
        raise DTypeError(f"{name}: got {array.dtype}; expected {' or '.join(INDICES)}")


def check_matrix(indices: Any, indptr: Any, *, rows: int, data: Any = None) -> None:
    """Raise unless the arrays have the lengths of a matrix with so many rows."""
    for name, array in (("indices", indices), ("indptr", indptr)):
        check_indices(name, array)
    if _lanes.is_rectangle(indices, indptr):
        check_rectangle(indices, indptr, rows)
    entries = _lanes.list_shape(indices, indptr)[-1]
    if indptr.shape[-1] == 0:
        if entries % rows if rows else entries:
            raise ShapeError(f"indices: got {entries} entries for {rows} rows of one length; expected a multiple")
    elif indptr.shape[-1] != rows + 1:
        raise ShapeError(f"indptr: got {indptr.shape[-1]} row pointers for {rows} rows; expected {rows + 1}")
    if data is not None:
        check_weights(_lanes.listed(data, indptr), entries)


def check_rectangle(indices: Any, indptr: Any, rows: int) -> None:
    """Raise unless ``indices`` has a list for each row, and no pointers say where it begins."""
    shape, rank = indices.shape, len(indptr.shape) + 1
    if indptr.shape[-1] or len(shape) != rank or shape[-2] != rows:
        raise ShapeError(
            f"indices: got shape {shape} for {rows} rows, with {indptr.shape[-1]} row pointers in {rank - 1} axes;"
            " expected as many axes as indptr, or [..., rows, length] without row pointers"
        )


def check_weights(data: Any, entries: int) -> None:
    """Raise unless there is one weight, or one for each of so many entries."""
    if data.shape[-1] not in (1, entries):
        raise ShapeError(f"data: got {data.shape[-1]} weights for {entries} entries; expected as many or one")


def check_events(name: str, x: Any, dtype: Any, binary: bool) -> None:
    """Raise unless events may meet weights of ``dtype``: valued ones have the same, binary ones any."""
    if not binary and x.dtype != dtype:
        raise DTypeError(f"{name}: got {x.dtype} events for {dtype} weights; expected bool or {dtype}, or binary=True")


def differentiable(x: jax.Array, dtype: Any) -> jax.Array:
    """``x``, cut off from differentiation where the result has a ``dtype`` without derivatives."""
    return x if jnp.issubdtype(dtype, jnp.inexact) else jax.lax.stop_gradient(x)
