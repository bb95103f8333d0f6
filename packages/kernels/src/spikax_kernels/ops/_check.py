"""What all operators ask of their operands."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from spikax_kernels._errors import DTypeError, ShapeError

INDICES = ("int32", "int64")


def check_matrix(indices: Any, indptr: Any, *, rows: int, data: Any = None) -> None:
    """Raise unless the arrays have the lengths of a matrix with so many rows."""
    for name, array in (("indices", indices), ("indptr", indptr)):
        if str(array.dtype) not in INDICES:
            raise DTypeError(f"{name}: got {array.dtype}; expected {' or '.join(INDICES)}")
    if indptr.shape[-1] != rows + 1:
        raise ShapeError(f"indptr: got {indptr.shape[-1]} row pointers for {rows} rows; expected {rows + 1}")
    if data is not None and data.shape[-1] not in (1, indices.shape[-1]):
        raise ShapeError(f"data: got {data.shape[-1]} weights for {indices.shape[-1]} entries; expected as many or one")


def check_events(name: str, x: Any, dtype: Any, binary: bool) -> None:
    """Raise unless events may meet weights of ``dtype``: valued ones have the same, binary ones any."""
    if not binary and x.dtype != dtype:
        raise DTypeError(f"{name}: got {x.dtype} events for {dtype} weights; expected bool or {dtype}, or binary=True")


def differentiable(x: jax.Array, dtype: Any) -> jax.Array:
    """``x``, cut off from differentiation where the result has a ``dtype`` without derivatives."""
    return x if jnp.issubdtype(dtype, jnp.inexact) else jax.lax.stop_gradient(x)
