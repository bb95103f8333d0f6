"""Checks of the arrays that make up a matrix, where something is known of them: shapes always, values if concrete."""

from __future__ import annotations

import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spikax_kernels._errors import DTypeError, ShapeError, StructureError

_INT32 = np.iinfo(np.int32)


def is_real(dtype: Any) -> bool:
    """Whether these are numbers that a product can add up."""
    return jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer)


def as_weights(data: Any) -> jax.Array:
    """``data`` on the device, of its own dtype: a Python number would leave it to what it is multiplied by."""
    array = jnp.asarray(data)
    return array.astype(array.dtype)


def as_structure(name: str, array: Any) -> jax.Array:
    """``array`` on the device; 64-bit indices become 32-bit ones where JAX is set to 32 bits and nothing is lost.

    Raises:
        StructureError: Values beyond 32 bits while JAX is set to 32 bits.
    """
    if isinstance(array, np.ndarray) and array.dtype == np.int64 and not jax.config.read("jax_enable_x64"):
        if array.size and (array.max() > _INT32.max or array.min() < _INT32.min):
            raise StructureError(
                f"{name}: got values beyond 32 bits; set jax.config.update('jax_enable_x64', True) before you build it"
            )
        array = array.astype(np.int32)
    return jnp.asarray(array)


def as_shape(shape: Any) -> tuple[int, int]:
    """``shape`` as two lengths."""
    lengths = tuple(map(operator.index, shape))
    if len(lengths) != 2 or min(lengths) < 0:
        raise ShapeError(f"shape: got {lengths}; expected two lengths, (n_pre, n_post)")
    return lengths


def check_compressed(data: Any, indices: Any, indptr: Any, shape: tuple[int, int], *, values: bool) -> None:
    """Raise unless the arrays make up a matrix of ``shape``, compressed by rows; ``values``: look at concrete ones."""
    for name, array in (("indices", indices), ("indptr", indptr)):
        if str(getattr(array, "dtype", None)) not in ("int32", "int64"):
            raise DTypeError(
                f"{name}: got {getattr(array, 'dtype', type(array).__name__)}; expected an int32 or int64 array"
            )
        if array.ndim != 1:
            raise ShapeError(f"{name}: got shape {array.shape}; expected rank 1")
    if indptr.shape[0] != shape[0] + 1:
        raise ShapeError(f"indptr: got {indptr.shape[0]} row pointers for {shape[0]} rows; expected {shape[0] + 1}")
    if np.shape(data) not in ((), (1,), indices.shape):
        raise ShapeError(
            f"data: got shape {np.shape(data)}; expected (), (1,) or {indices.shape}, one weight per entry"
        )
    dtype = jnp.asarray(data).dtype
    if not is_real(dtype):
        raise DTypeError(f"data: got {dtype}; expected real weights")
    if values and not isinstance(indptr, jax.core.Tracer):
        _check_pointers(np.asarray(indptr), indices.shape[0])
        if not isinstance(indices, jax.core.Tracer):
            _check_columns(np.asarray(indices), np.asarray(indptr), shape[1])


def _check_pointers(indptr: np.ndarray[Any, Any], entries: int) -> None:
    falls = np.flatnonzero(indptr[1:] < indptr[:-1])
    if falls.size:
        row = int(falls[0])
        raise StructureError(
            f"indptr: row {row} begins at {indptr[row]} and ends at {indptr[row + 1]}; expected no decrease"
        )
    if indptr[0] != 0:
        raise StructureError(f"indptr: row 0 begins at {indptr[0]}; expected 0")
    if indptr[-1] > entries:
        row = int(np.argmax(indptr > entries)) - 1
        raise StructureError(
            f"indptr: row {row} ends at {indptr[row + 1]}; expected {entries} at most, the number of entries"
        )


def _check_columns(indices: np.ndarray[Any, Any], indptr: np.ndarray[Any, Any], cols: int) -> None:
    used = indices[: indptr[-1]]
    wrong = np.flatnonzero((used < 0) | (used >= cols))
    if wrong.size:
        entry = int(wrong[0])
        row = int(np.searchsorted(indptr, entry, side="right")) - 1
        raise StructureError(f"indices: row {row} points at column {used[entry]}; expected 0 to {cols - 1}")
