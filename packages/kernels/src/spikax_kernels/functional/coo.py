"""Products with a matrix in coordinates, from raw arrays."""

from __future__ import annotations

from typing import Any

import jax

from spikax_kernels.formats.coo import COO
from spikax_kernels.functional._apply import apply


def coomv(
    data: Any,
    row: Any,
    col: Any,
    x: Any,
    *,
    shape: tuple[int, int],
    transpose: bool = False,
    backend: str | None = None,
) -> jax.Array:
    """Multiply a matrix in coordinates by a vector of events; those that are zero contribute nothing.

    Args:
        data: Weights, one for all entries, of shape ``()`` or ``(1,)``, or one each, ``[nse]``.
        row: The row of each entry, ``int32`` or ``int64[nse]``.
        col: The column of each entry, likewise.
        x: Events, ``[n]``, or ``[m]`` if ``transpose``: bool, or any real dtype.
        shape: ``(m, n)``, the shape of the stored matrix.
        transpose: Whether to multiply by the transpose of the stored matrix.
        backend: The backend to run on, see ``spikax_core.use_backend``.

    Returns:
        ``[m]``, or ``[n]`` if ``transpose``, in the dtype that weights and valued events promote to.

    Raises:
        ShapeError: Arrays that do not fit each other.
        DTypeError: Values that are not real numbers, or indices that are not ``int32`` or ``int64``.

    Example:
        >>> import jax.numpy as jnp
        >>> from spikax_kernels import functional
        >>> arrays = jnp.array([1.0, 2.0, 4.0]), jnp.array([0, 0, 1]), jnp.array([0, 2, 1])
        >>> functional.coomv(*arrays, jnp.array([1.0, 10.0, 100.0]), shape=(2, 3)).tolist()
        [201.0, 40.0]
    """
    A = COO(data, row, col, shape=shape, check=False)
    return apply("coomv", A, x, rank=1, transpose=transpose, backend=backend)


def coomm(
    data: Any,
    row: Any,
    col: Any,
    x: Any,
    *,
    shape: tuple[int, int],
    transpose: bool = False,
    backend: str | None = None,
) -> jax.Array:
    """Multiply a matrix in coordinates by a matrix of events; those that are zero contribute nothing.

    Args:
        data: Weights, one for all entries, of shape ``()`` or ``(1,)``, or one each, ``[nse]``.
        row: The row of each entry, ``int32`` or ``int64[nse]``.
        col: The column of each entry, likewise.
        x: Events, ``[n, b]``, or ``[m, b]`` if ``transpose``: bool, or any real dtype.
        shape: ``(m, n)``, the shape of the stored matrix.
        transpose: Whether to multiply by the transpose of the stored matrix.
        backend: The backend to run on, see ``spikax_core.use_backend``.

    Returns:
        ``[m, b]``, or ``[n, b]`` if ``transpose``, in the dtype that weights and valued events promote to.

    Raises:
        ShapeError: Arrays that do not fit each other.
        DTypeError: Values that are not real numbers, or indices that are not ``int32`` or ``int64``.

    Example:
        >>> import jax.numpy as jnp
        >>> from spikax_kernels import functional
        >>> arrays = jnp.array([1.0, 2.0, 4.0]), jnp.array([0, 0, 1]), jnp.array([0, 2, 1])
        >>> functional.coomm(*arrays, jnp.array([[1.0], [10.0]]), shape=(2, 3), transpose=True).tolist()
        [[1.0], [40.0], [2.0]]
    """
    A = COO(data, row, col, shape=shape, check=False)
    return apply("coomm", A, x, rank=2, transpose=transpose, backend=backend)


def binary_coomv(
    data: Any,
    row: Any,
    col: Any,
    x: Any,
    *,
    shape: tuple[int, int],
    transpose: bool = False,
    backend: str | None = None,
) -> jax.Array:
    """Multiply a matrix in coordinates by a vector of binary events: each that is not zero counts as 1.

    The arguments are those of :func:`coomv`. The gradient with respect to ``x`` is the straight-through one.

    Example:
        >>> import jax.numpy as jnp
        >>> from spikax_kernels import functional
        >>> arrays = jnp.array([1.0, 2.0, 4.0]), jnp.array([0, 0, 1]), jnp.array([0, 2, 1])
        >>> functional.binary_coomv(*arrays, jnp.array([0.5, 0.0, 3.0]), shape=(2, 3)).tolist()
        [3.0, 0.0]
    """
    A = COO(data, row, col, shape=shape, check=False)
    return apply("binary_coomv", A, x, rank=1, binary=True, transpose=transpose, backend=backend)


def binary_coomm(
    data: Any,
    row: Any,
    col: Any,
    x: Any,
    *,
    shape: tuple[int, int],
    transpose: bool = False,
    backend: str | None = None,
) -> jax.Array:
    """Multiply a matrix in coordinates by a matrix of binary events: each that is not zero counts as 1.

    The arguments are those of :func:`coomm`. The gradient with respect to ``x`` is the straight-through one.

    Example:
        >>> import jax.numpy as jnp
        >>> from spikax_kernels import functional
        >>> arrays = jnp.array([1.0, 2.0, 4.0]), jnp.array([0, 0, 1]), jnp.array([0, 2, 1])
        >>> functional.binary_coomm(*arrays, jnp.array([[0.0], [7.0]]), shape=(2, 3), transpose=True).tolist()
        [[0.0], [4.0], [0.0]]
    """
    A = COO(data, row, col, shape=shape, check=False)
    return apply("binary_coomm", A, x, rank=2, binary=True, transpose=transpose, backend=backend)
