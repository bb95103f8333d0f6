"""Parts of a matrix: ``A[...]``, dense as NumPy gives them, and rows as a sparse matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from spikax_kernels._errors import StructureError
from spikax_kernels.formats._convert import device, is_shared
from spikax_kernels.formats._entries import namespace, on_host, poison, settle, take_or
from spikax_kernels.formats._structure import is_known

if TYPE_CHECKING:
    from spikax_kernels.formats.csr import CSR
    from spikax_kernels.formats.matrix import SparseMatrix


def positions(key: Any, size: int) -> Any:
    """The positions along an axis that ``key`` selects, as NumPy selects them; ``size`` for traced ones out of range.

    Raises:
        IndexError: Known positions out of range, or no integer, slice, array of integers, or known mask.
    """
    if not is_known(key):
        if not jnp.issubdtype(key.dtype, jnp.integer):
            raise StructureError(f"got a traced index of {key.dtype}; expected integers (a mask must be known)")
        key = key.astype(jnp.promote_types(key.dtype, jnp.int32))
        at = jnp.where(key < 0, key + size, key)
        return jnp.where((at < 0) | (at >= size), size, at)
    if key is None or key is Ellipsis or isinstance(key, tuple):
        raise IndexError(f"got the index {key!r}; expected an integer, a slice or an array for each of two axes")
    chosen = np.asarray(key) if not isinstance(key, slice) else key
    if isinstance(chosen, np.ndarray) and chosen.size == 0 and chosen.dtype != bool:
        chosen = chosen.astype(int)  # an empty list, which is float64 to NumPy
    return np.arange(size)[chosen]


def dense_part(A: SparseMatrix, key: Any) -> jax.Array:
    """``A[key]`` as the dense matrix would give it; zero where a traced position is out of range."""
    pair = key if isinstance(key, tuple) else (key, slice(None))
    if len(pair) != 2:
        raise IndexError(f"got {len(pair)} indices for a matrix; expected one or two")
    row, column = pair
    if _is_all(row) and not _is_all(column):
        return jnp.moveaxis(dense_part(A.T, column), -1, 0)
    rows = positions(row, A.shape[0])
    if _is_all(column):
        return _rows(A, rows)
    columns = positions(column, A.shape[1])
    if isinstance(row, slice) or isinstance(column, slice):
        # Axes that are selected apart from each other.
        return take(_rows(A, rows), columns)
    rows, columns = jnp.broadcast_arrays(rows, columns)
    picked = _rows(A, rows)
    return jnp.take_along_axis(picked, columns[..., None], axis=-1, mode="fill", fill_value=0)[..., 0]


def _is_all(key: Any) -> bool:
    return isinstance(key, slice) and key == slice(None)


def take(rows: jax.Array, columns: Any) -> jax.Array:
    """``rows[..., columns]``, zero where a column is out of range."""
    return jnp.take(rows, columns, axis=-1, mode="fill", fill_value=0)


def _rows(A: SparseMatrix, rows: Any) -> jax.Array:
    return A._dense_rows(jnp.asarray(rows).reshape(-1)).reshape(*np.shape(rows), A.shape[1])


def dense_rows(A: SparseMatrix, rows: jax.Array) -> jax.Array:
    """Some rows ``[n]`` as a dense array: each is the product with an event of its own."""
    return (rows[:, None] == jnp.arange(A.shape[0], dtype=rows.dtype)) @ A


def slice_rows(A: SparseMatrix, rows: Any, nse: int | None) -> SparseMatrix:
    """The rows in the given order, as a matrix of the same kind."""
    A._check_alone()
    chosen = positions(rows, A.shape[0])
    if chosen.ndim > 1:
        raise IndexError(f"slice_rows: got rows of shape {chosen.shape}; expected rank 1")
    return A._some_rows(chosen.reshape(-1), nse)


def csr_rows(A: CSR, rows: Any, nse: int | None) -> CSR:
    """Some rows of a compressed matrix; those out of range are empty."""
    rows, indptr, indices = on_host(rows, A.indptr, A.indices)
    xp = namespace(rows, indptr, indices)
    size, (n_pre, n_post) = rows.shape[0], A.shape
    inside = (rows >= 0) & (rows < n_pre)
    rows = xp.where(inside, rows, 0)
    padded = xp.append(indptr, indptr[-1:])  # a matrix without rows has no second pointer
    begin, length = padded[rows], xp.where(inside, padded[rows + 1] - padded[rows], 0)
    ends = xp.append(xp.zeros(1, indptr.dtype), xp.cumsum(length).astype(indptr.dtype))
    total = settle(ends[-1], nse, "slice_rows")
    entry = xp.arange(total, dtype=indptr.dtype)
    row = xp.searchsorted(ends, entry, side="right") - 1
    used = row < size
    row = xp.where(used, row, 0)
    source = xp.where(used, begin[row] + entry - ends[row], A.nse) if size else entry
    column = take_or(indices, source, n_post)
    data = A.data if is_shared(A.data) else take_or(A.data, jnp.asarray(source), 0)
    structure = device("slice_rows", column, ends)
    return A._of((size, n_post), poison(data, ends[-1], total), *structure, None)
