"""From one form of a matrix to another: dense, grouped otherwise, SciPy's, and that of ``jax.experimental.sparse``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from spikax_kernels._errors import MissingExtraError, ShapeError
from spikax_kernels.formats import _entries
from spikax_kernels.formats._structure import as_structure, as_weights, check_weights
from spikax_kernels.ops._reference import accumulator

if TYPE_CHECKING:
    from spikax_kernels.formats.coo import COO
    from spikax_kernels.formats.csc import CSC
    from spikax_kernels.formats.csr import CSR
    from spikax_kernels.formats.matrix import SparseMatrix

# Formats are imported where they are made: each of them is a SparseMatrix, which converts by these functions.


def weights(A: SparseMatrix) -> jax.Array:
    """One weight per entry, ``[nse]``, in the order of the coordinates."""
    return A.data.reshape(-1) if A.data.size == A.nse else jnp.broadcast_to(A.data.reshape(()), (A.nse,))


def permuted(data: jax.Array, order: Any) -> jax.Array:
    """The weights of the entries in another order, ``[nse]``; one weight for all stays one."""
    return data if is_shared(data) else data.reshape(-1)[order]


def is_shared(data: jax.Array) -> bool:
    """Whether this is one weight; where there is one entry, it may be either."""
    return data.shape in ((), (1,))


def device(name: str, *arrays: Any) -> tuple[jax.Array, ...]:
    """Structure that may still be NumPy's, on the device."""
    return tuple(as_structure(name, array) for array in arrays)


def todense(A: SparseMatrix) -> jax.Array:
    """Each weight added at its place."""
    A._check_alone()
    row, column = _entries.send_out(*A._places(), A.shape)
    wide = jnp.zeros(A.shape, accumulator(A.dtype))
    return wide.at[row, column].add(weights(A).astype(wide.dtype), mode="drop").astype(A.dtype)


def tocsr(A: SparseMatrix) -> CSR:
    """Grouped by rows."""
    from spikax_kernels.formats.csr import CSR

    A._check_alone()
    order, column, indptr = _entries.by_rows(*A._places(), A.shape)
    return CSR._of(A.shape, permuted(A.data, order), *device("indices", column, indptr), None)


def tocsc(A: SparseMatrix) -> CSC:
    """Grouped by columns."""
    return tocsr(A.T).T


def tocoo(A: SparseMatrix) -> COO:
    """Every entry with its row and its column."""
    from spikax_kernels.formats.coo import COO

    A._check_alone()
    data = A.data if is_shared(A.data) else A.data.reshape(-1)
    return COO._of(A.shape, data, *device("tocoo", *A._places()))


def sum_duplicates(A: SparseMatrix, nse: int | None) -> SparseMatrix:
    """Each place once."""
    A._check_alone()
    merged = _entries.merge(*A._places(), A.shape, nse, "sum_duplicates")
    return group(A, merged.sum(weights(A)), merged.row, merged.column)


def group(A: SparseMatrix, data: jax.Array, row: Any, column: Any) -> SparseMatrix:
    """A matrix of these entries, grouped as ``A`` is."""
    from spikax_kernels.formats.coo import COO

    return A._like(COO._of(A.shape, data, *device("indices", row, column)))


def nonzero(dense: Any, nse: int | None) -> COO:
    """The entries that are not zero, in row-major order, padded to ``nse``."""
    from spikax_kernels.formats.coo import COO

    if np.ndim(dense) != 2:
        raise ShapeError(f"from_dense: got shape {np.shape(dense)}; expected rank 2")
    (array,) = _entries.on_host(dense)
    xp, (rows, cols) = _entries.namespace(array), array.shape
    present = (array != 0).reshape(-1)
    count = present.sum()
    size = _entries.settle(count, nse, "from_dense")
    place = _entries.positions(present, size)
    data = as_weights(_entries.take_or(array.reshape(-1), place, 0))
    used, dtype = place < rows * cols, _entries.index_dtype(rows, cols)
    row = xp.where(used, place // max(cols, 1), rows).astype(dtype)
    column = xp.where(used, place % max(cols, 1), cols).astype(dtype)
    check_weights(data, row.shape)
    return COO._of((rows, cols), _entries.poison(data, count, size), *device("from_dense", row, column))


def inside(A: SparseMatrix) -> tuple[np.ndarray[Any, Any], ...]:
    """``(data, row, column)`` of the entries in range, as NumPy arrays."""
    A._check_alone()
    row, column = map(np.asarray, A._places())
    used = _entries.is_inside(row, column, A.shape)
    data = np.asarray(weights(A).astype(accumulator(A.dtype)))
    return data[used], row[used], column[used]


def to_scipy(A: SparseMatrix) -> Any:
    """A sparse array of SciPy; one that is grouped keeps the order within its groups."""
    try:
        import scipy.sparse
    except ImportError as error:
        raise MissingExtraError("to_scipy needs SciPy: pip install scipy") from error
    data, row, column = inside(A)
    if A._scipy == "coo":
        return scipy.sparse.coo_array((data, (row, column)), shape=A.shape)
    major, minor = (row, column) if A._scipy == "csr" else (column, row)
    length = A.shape[0 if A._scipy == "csr" else 1]
    indptr = np.concatenate([[0], np.cumsum(np.bincount(major, minlength=length))])
    return getattr(scipy.sparse, f"{A._scipy}_array")((data, minor, indptr), shape=A.shape)


def to_bcoo(A: SparseMatrix) -> Any:
    """A BCOO: out of range is where its own padding is."""
    from jax.experimental.sparse import BCOO

    A._check_alone()
    places = jnp.stack(_entries.send_out(*A._places(), A.shape), axis=-1)
    return BCOO((weights(A), places), shape=A.shape)


def to_bcsr(A: SparseMatrix) -> Any:
    """A BCSR, whose rows are sorted."""
    from jax.experimental.sparse import BCSR

    B = tocsr(A)
    return BCSR((weights(B), B.indices, B.indptr), shape=A.shape)


def from_scipy(matrix: Any) -> COO:
    """The entries of a sparse matrix or array of SciPy."""
    from spikax_kernels.formats.coo import COO

    entries = matrix.tocoo()
    return COO(entries.data, entries.row, entries.col, shape=entries.shape)


def from_bcoo(matrix: Any) -> COO:
    """The entries of a BCOO."""
    from spikax_kernels.formats.coo import COO

    _check_plain("from_bcoo", matrix)
    return COO._of(matrix.shape, matrix.data, matrix.indices[:, 0], matrix.indices[:, 1])


def from_bcsr(matrix: Any) -> CSR:
    """The matrix over the arrays of a BCSR."""
    from spikax_kernels.formats.csr import CSR

    _check_plain("from_bcsr", matrix)
    return CSR._of(matrix.shape, matrix.data, matrix.indices, matrix.indptr, None)


def _check_plain(name: str, matrix: Any) -> None:
    if (matrix.n_batch, matrix.n_sparse, matrix.n_dense) != (0, 2, 0):
        raise ShapeError(
            f"{name}: got {matrix.n_batch} batch and {matrix.n_dense} dense axes; expected two sparse axes alone"
            " (for a batch, use jax.vmap)"
        )
