"""Elementwise arithmetic and sums of matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from spikax_kernels._errors import DTypeError, ShapeError
from spikax_kernels.formats import _entries
from spikax_kernels.formats._convert import device, group, is_shared, weights
from spikax_kernels.formats._product import result_dtype
from spikax_kernels.formats._structure import is_real
from spikax_kernels.ops._reference import accumulator, add_at, take

if TYPE_CHECKING:
    from spikax_kernels.formats.matrix import SparseMatrix

T = TypeVar("T")


def checked(A: SparseMatrix, name: str, other: Any, result: T) -> T:
    """``result``, unless the operator did not know ``other``."""
    if result is NotImplemented:
        raise DTypeError(f"{type(A).__name__}.{name}: got {type(other).__name__}; expected a number, array or matrix")
    return result


def _is_matrix(other: Any) -> bool:
    from spikax_kernels.formats.matrix import SparseMatrix

    return isinstance(other, SparseMatrix)


def _as_numbers(other: Any) -> Any:
    """``other`` where it is a real number or an array of such, else ``None``; Python's numbers stay as they are."""
    if isinstance(other, (int, float)) and not isinstance(other, bool):
        return other
    if not isinstance(other, (jax.Array, np.ndarray, np.generic)):
        return None
    if other.dtype != jnp.bool_ and not is_real(other.dtype):
        raise DTypeError(f"got an array of {other.dtype}; expected real numbers")
    return jnp.asarray(other)


def _check_equal_shapes(sign: str, A: SparseMatrix, shape: tuple[int, ...]) -> None:
    if shape != A.shape:
        raise ShapeError(f"got {A.shape} {sign} {shape}; expected equal shapes")


def _at_entries(A: SparseMatrix, sign: str, values: Any) -> Any:
    """What an array that broadcasts to the shape of ``A`` holds at each entry; one number stays one."""
    if np.ndim(values) == 0:
        return values
    shape = (1,) * (2 - values.ndim) + values.shape
    if len(shape) != 2 or any(own not in (1, full) for own, full in zip(shape, A.shape, strict=True)):
        raise ShapeError(f"got {A.shape} {sign} {values.shape}; expected a shape that broadcasts to {A.shape}")
    row, column = _entries.send_out(*A._places(), A.shape)
    places = (jnp.zeros_like(at) if own == 1 else at for at, own in zip((row, column), shape, strict=True))
    # An entry out of range stays finite, whatever it is divided by.
    return values.reshape(shape).at[tuple(places)].get(mode="fill", fill_value=1).reshape(A._entries.shape)


def _in_common(a: Any, b: Any) -> tuple[Any, Any]:
    """Both in the dtype that JAX promotes to by default."""
    dtype = result_dtype(a, b)
    return jnp.asarray(a, dtype), jnp.asarray(b, dtype)


def multiply(A: SparseMatrix, other: Any, nse: int | None = None) -> Any:
    """``A * other`` for a number, an array, or a matrix."""
    if _is_matrix(other):
        return _multiply_matrices(A, other, nse)
    values = _as_numbers(other)
    if values is None:
        return NotImplemented
    A._check_alone()
    data, factor = _in_common(A.data, _at_entries(A, "*", values))
    return A.with_data(data * factor)


def divide(A: SparseMatrix, other: Any) -> Any:
    """``A / other`` for a number or an array, at the stored entries."""
    values = _as_numbers(other)
    if values is None:
        return NotImplemented
    A._check_alone()
    data, divisor = _in_common(A.data, _at_entries(A, "/", values))
    return A.with_data(data / divisor)


def _multiply_matrices(A: SparseMatrix, B: SparseMatrix, nse: int | None) -> SparseMatrix:
    """Each entry of ``A`` times what ``B`` has there: linear in what ``A`` stores twice, so only ``B`` is merged."""
    _check_equal_shapes("*", A, B.shape)
    if A.is_dense or B.is_dense:
        sparse, dense = (B, A) if A.is_dense else (A, B)
        product: SparseMatrix = multiply(sparse, dense.data)
        return product
    A._check_alone()
    B._check_alone()
    places, others = A._places(), B._places()
    places = _entries.send_out(*places, A.shape)
    # No more places than entries; where the structure is known, merge counts them.
    room = None if all(isinstance(at, np.ndarray) for at in others) else B.nse
    merged = _entries.merge(*others, B.shape, room, "multiply")
    found = _entries.find(*places, (merged.row, merged.column))
    size = merged.row.shape[0]
    both = (found < size) & _entries.is_inside(*places, A.shape)
    count = both.sum()
    length = _entries.settle(count, nse, "multiply")
    entry = _entries.positions(both, length)
    ours, theirs = _in_common(weights(A), merged.sum(weights(B)))
    data = take(ours, jnp.asarray(entry)) * take(theirs, jnp.asarray(_entries.take_or(found, entry, size)))
    row, column = (_entries.take_or(at, entry, n) for at, n in zip(places, A.shape, strict=True))
    return group(A, _entries.poison(data, count, length), row, column)


def add(A: SparseMatrix, other: Any, *, sign: int = 1, nse: int | None = None) -> Any:
    """``A + sign * other``: a matrix if ``other`` is one, dense if it is an array."""
    if not _is_matrix(other):
        values = _as_numbers(other)
        if values is None:
            return NotImplemented
        _check_equal_shapes("+", A, np.shape(values))
        dense, values = _in_common(A.todense(), values)
        return dense + values if sign > 0 else dense - values
    _check_equal_shapes("+", A, other.shape)
    B = other if sign > 0 else -other
    if A.is_dense or B.is_dense:
        dense = A if A.is_dense else B
        total, values = _in_common(A.todense(), B.todense())
        return dense.with_data(total + values)
    A._check_alone()
    B._check_alone()
    first, second = _in_common(weights(A), weights(B))
    places = *A._places(), *B._places()
    xp = _entries.namespace(*places)
    row, column = (
        xp.concatenate([_entries.widened(at, also.dtype), _entries.widened(also, at.dtype)])
        for at, also in (places[::2], places[1::2])
    )
    merged = _entries.merge(row, column, A.shape, nse, "add")
    return group(A, merged.sum(jnp.concatenate([first, second])), merged.row, merged.column)


def absolute(A: SparseMatrix) -> jax.Array:
    """The weights of ``abs(A)`` over the same structure: what meets at a place stands at one of its entries."""
    A._check_alone()
    if is_shared(A.data):
        return jnp.abs(A.data)  # the sum of n equal weights has n times the absolute value of one
    merged = _entries.merge(*A._places(), A.shape, A.nse, "abs")
    (entry, place) = device("abs", merged.entry, merged.place)
    first = jnp.concatenate([jnp.ones(1, bool), place[1:] != place[:-1]])[: A.nse]
    sums = jnp.abs(take(merged.sum(weights(A)), place))
    data = jnp.zeros(A.nse, A.dtype).at[entry].set(jnp.where(first, sums, jnp.zeros((), A.dtype)), unique_indices=True)
    return data.reshape(A._entries.shape)


def total(A: SparseMatrix, axis: int | None) -> jax.Array:
    """The sum over an axis, or over both."""
    if axis not in (None, 0, 1, -1, -2):
        raise ShapeError(f"sum: got axis={axis}; expected 0, 1 or None")
    if axis in (0, -2):
        return jnp.ones(A.shape[0], bool) @ A
    rows = A @ jnp.ones(A.shape[1], bool)
    # In the accumulator's dtype: jnp.sum would widen small integers.
    return rows if axis is not None else jnp.sum(rows, dtype=accumulator(A.dtype)).astype(A.dtype)


def diagonal(A: SparseMatrix, k: int) -> jax.Array:
    """The entries ``A[i, i + k]``."""
    A._check_alone()
    rows, cols = A.shape
    length = max(min(rows + min(k, 0), cols - max(k, 0)), 0)
    row, column = _entries.send_out(*A._places(), A.shape)
    dtype = result_dtype(row, column)
    row, column = row.astype(dtype), column.astype(dtype)
    here = (column - row == k) & (row < rows)
    at = jnp.where(here, row + min(k, 0), -1)
    return add_at(length, at, weights(A).astype(accumulator(A.dtype))).astype(A.dtype)
