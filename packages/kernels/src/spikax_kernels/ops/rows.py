"""Dense copies of single rows of a compressed matrix: what an event in each of them alone would deliver."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from spikax_kernels.ops import _check
from spikax_kernels.ops.scatter.op import scatter


def take_rows(
    data: jax.Array,
    indices: jax.Array,
    indptr: jax.Array,
    rows: jax.Array,
    *,
    shape: tuple[int, int],
    backend: str | None = None,
) -> jax.Array:
    """Read rows of a compressed matrix as dense ones.

    It is ``scatter`` of one event from a matrix of one row, a lane for each row that is read. Lanes differ in where
    that row begins and ends, and share all else, so no entry is copied unless all rows hold equally many. Leading axes
    of the operands are lanes and broadcast. Entries that are stored twice add.

    Args:
        data: Weights, ``[..., entries]``, or ``[..., 1]`` for one weight that all entries share.
        indices: The column of each entry, ``int32`` or ``int64[..., entries]``.
        indptr: Where each row begins among the entries, ``int32`` or ``int64[..., n_rows + 1]``; of length 0 if all
            rows hold equally many.
        rows: Which rows to read, ``int32`` or ``int64[..., r]``. One that is negative or too large gives zeros.
        shape: The shape of the matrix, ``(n_rows, n_cols)``.
        backend: The backend to run on, see ``spikax_core.use_backend``.

    Returns:
        ``[..., r, n_cols]`` in the dtype of ``data``.

    Raises:
        ShapeError: Lengths do not fit, or lane axes do not broadcast.
        DTypeError: Indices that are not ``int32`` or ``int64``.

    Example:
        >>> import jax.numpy as jnp
        >>> from spikax_kernels.ops.rows import take_rows
        >>> data, indices, indptr = jnp.array([1.0, 2.0, 4.0]), jnp.array([0, 2, 1]), jnp.array([0, 2, 3])
        >>> take_rows(data, indices, indptr, jnp.array([1, 0]), shape=(2, 3))
        Array([[0., 4., 0.],
               [1., 0., 2.]], dtype=float32)
    """
    _check.check_indices("rows", rows)
    n_rows, n_cols = shape
    _check.check_matrix(indices, indptr, rows=n_rows, data=data)
    inside = (rows >= 0) & (rows < n_rows)
    at = jnp.where(inside, rows, 0)
    if indptr.shape[-1]:
        bounds = (jnp.take_along_axis(indptr, at + i, axis=-1, mode="clip") for i in (0, 1))
        pointers = jnp.stack([jnp.where(inside, bound, 0) for bound in bounds], axis=-1)
        data, indices = data[..., None, :], indices[..., None, :]
    else:
        pointers = indptr[..., None, :]
        indices = jnp.where(inside[..., None], _of_rows(indices, at, n_rows), -1)
        shared = data.shape[-1] == 1
        data = data[..., None, :] if shared else _of_rows(data, at, n_rows)
    event = jnp.ones((1,) * (rows.ndim + 1), bool)
    return scatter(data, indices, pointers, event, cols=n_cols, backend=backend)


def _of_rows(array: jax.Array, at: jax.Array, n_rows: int) -> jax.Array:
    """What ``[..., entries]`` holds of rows of one length, ``[..., r, length]``."""
    length = array.shape[-1] // max(n_rows, 1)
    rectangle = array.reshape(*array.shape[:-1], n_rows, length)
    return jnp.take_along_axis(rectangle, at[..., None], axis=-2, mode="fill", fill_value=0)
