"""Products with a dense matrix, from raw arrays."""

from __future__ import annotations

from typing import Any

import jax

from spikax_kernels.formats.dense import Dense
from spikax_kernels.functional._apply import apply


def densemv(weights: Any, x: Any, *, transpose: bool = False, backend: str | None = None) -> jax.Array:
    """Multiply a dense matrix by a vector of events; those that are zero contribute nothing.

    Args:
        weights: The matrix, ``[m, n]``.
        x: Events, ``[n]``, or ``[m]`` if ``transpose``: bool, or any real dtype.
        transpose: Whether to multiply by the transpose of the stored matrix.
        backend: The backend to run on, see ``spikax_core.use_backend``.

    Returns:
        ``[m]``, or ``[n]`` if ``transpose``, in the dtype that weights and valued events promote to.

    Raises:
        ShapeError: Arrays that do not fit each other.
        DTypeError: Values that are not real numbers.

    Example:
        >>> import jax.numpy as jnp
        >>> from spikax_kernels import functional
        >>> weights = jnp.array([[1.0, 0.0, 2.0], [0.0, 4.0, 0.0]])
        >>> functional.densemv(weights, jnp.array([1.0, 10.0, 100.0])).tolist()
        [201.0, 40.0]
    """
    A = Dense(weights)
    return apply("densemv", A, x, rank=1, transpose=transpose, backend=backend)


def densemm(weights: Any, x: Any, *, transpose: bool = False, backend: str | None = None) -> jax.Array:
    """Multiply a dense matrix by a matrix of events; those that are zero contribute nothing.

    Args:
        weights: The matrix, ``[m, n]``.
        x: Events, ``[n, b]``, or ``[m, b]`` if ``transpose``: bool, or any real dtype.
        transpose: Whether to multiply by the transpose of the stored matrix.
        backend: The backend to run on, see ``spikax_core.use_backend``.

    Returns:
        ``[m, b]``, or ``[n, b]`` if ``transpose``, in the dtype that weights and valued events promote to.

    Raises:
        ShapeError: Arrays that do not fit each other.
        DTypeError: Values that are not real numbers.

    Example:
        >>> import jax.numpy as jnp
        >>> from spikax_kernels import functional
        >>> weights = jnp.array([[1.0, 0.0, 2.0], [0.0, 4.0, 0.0]])
        >>> functional.densemm(weights, jnp.array([[1.0], [10.0]]), transpose=True).tolist()
        [[1.0], [40.0], [2.0]]
    """
    A = Dense(weights)
    return apply("densemm", A, x, rank=2, transpose=transpose, backend=backend)


def binary_densemv(weights: Any, x: Any, *, transpose: bool = False, backend: str | None = None) -> jax.Array:
    """Multiply a dense matrix by a vector of binary events: each that is not zero counts as 1.

    The arguments are those of :func:`densemv`. The gradient with respect to ``x`` is the straight-through one.

    Example:
        >>> import jax.numpy as jnp
        >>> from spikax_kernels import functional
        >>> weights = jnp.array([[1.0, 0.0, 2.0], [0.0, 4.0, 0.0]])
        >>> functional.binary_densemv(weights, jnp.array([0.5, 0.0, 3.0])).tolist()
        [3.0, 0.0]
    """
    A = Dense(weights)
    return apply("binary_densemv", A, x, rank=1, binary=True, transpose=transpose, backend=backend)


def binary_densemm(weights: Any, x: Any, *, transpose: bool = False, backend: str | None = None) -> jax.Array:
    """Multiply a dense matrix by a matrix of binary events: each that is not zero counts as 1.

    The arguments are those of :func:`densemm`. The gradient with respect to ``x`` is the straight-through one.

    Example:
        >>> import jax.numpy as jnp
        >>> from spikax_kernels import functional
        >>> weights = jnp.array([[1.0, 0.0, 2.0], [0.0, 4.0, 0.0]])
        >>> functional.binary_densemm(weights, jnp.array([[0.0], [7.0]]), transpose=True).tolist()
        [[0.0], [4.0], [0.0]]
    """
    A = Dense(weights)
    return apply("binary_densemm", A, x, rank=2, binary=True, transpose=transpose, backend=backend)
