"""Products with a matrix compressed by columns, from raw arrays."""

from __future__ import annotations

from typing import Any

import jax

from spikax_kernels.formats.csc import CSC
from spikax_kernels.functional._apply import apply


def cscmv(
    data: Any,
    indices: Any,
    indptr: Any,
    x: Any,
    *,
    shape: tuple[int, int],
    transpose: bool = False,
    backend: str | None = None,
) -> jax.Array:
    """Multiply a matrix compressed by columns by a vector of events; those that are zero contribute nothing.

    Args:
        data: Weights, one for all entries, of shape ``()`` or ``(1,)``, or one each, ``[nse]``.
        indices: The row of each entry, ``int32`` or ``int64[nse]``.
        indptr: Where each column begins among the entries, ``int32`` or ``int64[n + 1]``.
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
        >>> arrays = jnp.array([1.0, 4.0, 2.0]), jnp.array([0, 1, 0]), jnp.array([0, 1, 2, 3])
        >>> functional.cscmv(*arrays, jnp.array([1.0, 10.0, 100.0]), shape=(2, 3)).tolist()
        [201.0, 40.0]
    """
    A = CSC(data, indices, indptr, shape=shape, check=False)
    return apply("cscmv", A, x, rank=1, transpose=transpose, backend=backend)


def cscmm(
    data: Any,
    indices: Any,
    indptr: Any,
    x: Any,
    *,
    shape: tuple[int, int],
    transpose: bool = False,
    backend: str | None = None,
) -> jax.Array:
    """Multiply a matrix compressed by columns by a matrix of events; those that are zero contribute nothing.

    Args:
        data: Weights, one for all entries, of shape ``()`` or ``(1,)``, or one each, ``[nse]``.
        indices: The row of each entry, ``int32`` or ``int64[nse]``.
        indptr: Where each column begins among the entries, ``int32`` or ``int64[n + 1]``.
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
        >>> arrays = jnp.array([1.0, 4.0, 2.0]), jnp.array([0, 1, 0]), jnp.array([0, 1, 2, 3])
        >>> functional.cscmm(*arrays, jnp.array([[1.0], [10.0]]), shape=(2, 3), transpose=True).tolist()
        [[1.0], [40.0], [2.0]]
    """
    A = CSC(data, indices, indptr, shape=shape, check=False)
    return apply("cscmm", A, x, rank=2, transpose=transpose, backend=backend)


def binary_cscmv(
    data: Any,
    indices: Any,
    indptr: Any,
    x: Any,
    *,
    shape: tuple[int, int],
    transpose: bool = False,
    backend: str | None = None,
) -> jax.Array:
    """Multiply a matrix compressed by columns by a vector of binary events: each that is not zero counts as 1.

    The arguments are those of :func:`cscmv`. The gradient with respect to ``x`` is the straight-through one.

    Example:
        >>> import jax.numpy as jnp
        >>> from spikax_kernels import functional
        >>> arrays = jnp.array([1.0, 4.0, 2.0]), jnp.array([0, 1, 0]), jnp.array([0, 1, 2, 3])
        >>> functional.binary_cscmv(*arrays, jnp.array([0.5, 0.0, 3.0]), shape=(2, 3)).tolist()
        [3.0, 0.0]
    """
    A = CSC(data, indices, indptr, shape=shape, check=False)
    return apply("binary_cscmv", A, x, rank=1, binary=True, transpose=transpose, backend=backend)


def binary_cscmm(
    data: Any,
    indices: Any,
    indptr: Any,
    x: Any,
    *,
    shape: tuple[int, int],
    transpose: bool = False,
    backend: str | None = None,
) -> jax.Array:
    """Multiply a matrix compressed by columns by a matrix of binary events: each that is not zero counts as 1.

    The arguments are those of :func:`cscmm`. The gradient with respect to ``x`` is the straight-through one.

    Example:
        >>> import jax.numpy as jnp
        >>> from spikax_kernels import functional
        >>> arrays = jnp.array([1.0, 4.0, 2.0]), jnp.array([0, 1, 0]), jnp.array([0, 1, 2, 3])
        >>> functional.binary_cscmm(*arrays, jnp.array([[0.0], [7.0]]), shape=(2, 3), transpose=True).tolist()
        [[0.0], [4.0], [0.0]]
    """
    A = CSC(data, indices, indptr, shape=shape, check=False)
    return apply("binary_cscmm", A, x, rank=2, binary=True, transpose=transpose, backend=backend)
