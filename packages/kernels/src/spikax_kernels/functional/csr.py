"""Products with a matrix compressed by rows, from raw arrays."""

from __future__ import annotations

from typing import Any

import jax

from spikax_kernels.formats.csr import CSR
from spikax_kernels.functional._apply import apply


def csrmv(
    data: Any,
    indices: Any,
    indptr: Any,
    x: Any,
    *,
    shape: tuple[int, int],
    transpose: bool = False,
    backend: str | None = None,
) -> jax.Array:
    """Multiply a matrix compressed by rows by a vector of events; those that are zero contribute nothing.

    Args:
        data: Weights, one for all entries, of shape ``()`` or ``(1,)``, or one each, ``[nse]``.
        indices: The column of each entry, ``int32`` or ``int64[nse]``.
        indptr: Where each row begins among the entries, ``int32`` or ``int64[m + 1]``.
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
        >>> arrays = jnp.array([1.0, 2.0, 4.0]), jnp.array([0, 2, 1]), jnp.array([0, 2, 3])
        >>> functional.csrmv(*arrays, jnp.array([1.0, 10.0, 100.0]), shape=(2, 3)).tolist()
        [201.0, 40.0]
    """
    A = CSR(data, indices, indptr, shape=shape, check=False)
    return apply("csrmv", A, x, rank=1, transpose=transpose, backend=backend)


def csrmm(
    data: Any,
    indices: Any,
    indptr: Any,
    x: Any,
    *,
    shape: tuple[int, int],
    transpose: bool = False,
    backend: str | None = None,
) -> jax.Array:
    """Multiply a matrix compressed by rows by a matrix of events; those that are zero contribute nothing.

    Args:
        data: Weights, one for all entries, of shape ``()`` or ``(1,)``, or one each, ``[nse]``.
        indices: The column of each entry, ``int32`` or ``int64[nse]``.
        indptr: Where each row begins among the entries, ``int32`` or ``int64[m + 1]``.
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
        >>> arrays = jnp.array([1.0, 2.0, 4.0]), jnp.array([0, 2, 1]), jnp.array([0, 2, 3])
        >>> functional.csrmm(*arrays, jnp.array([[1.0], [10.0]]), shape=(2, 3), transpose=True).tolist()
        [[1.0], [40.0], [2.0]]
    """
    A = CSR(data, indices, indptr, shape=shape, check=False)
    return apply("csrmm", A, x, rank=2, transpose=transpose, backend=backend)


def binary_csrmv(
    data: Any,
    indices: Any,
    indptr: Any,
    x: Any,
    *,
    shape: tuple[int, int],
    transpose: bool = False,
    backend: str | None = None,
) -> jax.Array:
    """Multiply a matrix compressed by rows by a vector of binary events: each that is not zero counts as 1.

    The arguments are those of :func:`csrmv`. The gradient with respect to ``x`` is the straight-through one.

    Example:
        >>> import jax.numpy as jnp
        >>> from spikax_kernels import functional
        >>> arrays = jnp.array([1.0, 2.0, 4.0]), jnp.array([0, 2, 1]), jnp.array([0, 2, 3])
        >>> functional.binary_csrmv(*arrays, jnp.array([0.5, 0.0, 3.0]), shape=(2, 3)).tolist()
        [3.0, 0.0]
    """
    A = CSR(data, indices, indptr, shape=shape, check=False)
    return apply("binary_csrmv", A, x, rank=1, binary=True, transpose=transpose, backend=backend)


def binary_csrmm(
    data: Any,
    indices: Any,
    indptr: Any,
    x: Any,
    *,
    shape: tuple[int, int],
    transpose: bool = False,
    backend: str | None = None,
) -> jax.Array:
    """Multiply a matrix compressed by rows by a matrix of binary events: each that is not zero counts as 1.

    The arguments are those of :func:`csrmm`. The gradient with respect to ``x`` is the straight-through one.

    Example:
        >>> import jax.numpy as jnp
        >>> from spikax_kernels import functional
        >>> arrays = jnp.array([1.0, 2.0, 4.0]), jnp.array([0, 2, 1]), jnp.array([0, 2, 3])
        >>> functional.binary_csrmm(*arrays, jnp.array([[0.0], [7.0]]), shape=(2, 3), transpose=True).tolist()
        [[0.0], [4.0], [0.0]]
    """
    A = CSR(data, indices, indptr, shape=shape, check=False)
    return apply("binary_csrmm", A, x, rank=2, binary=True, transpose=transpose, backend=backend)
