"""Random structure: which neurons a synapse connects, drawn so that no pair is favoured and nothing dense is made.

Everything is computed in integers from the key, so that the same key gives the same structure on every platform, inside
``jit`` and outside.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from ._binomial import binomial
from ._errors import ShapeError, StructureError
from .formats._structure import as_shape, as_structure, as_weights
from .ops.random_columns.op import LIMIT, random_columns
from .ops.random_columns.philox import philox

Weight: TypeAlias = jax.typing.ArrayLike | Callable[[jax.Array, tuple[int, ...]], jax.Array]
"""One weight, an array of one for each entry, or what draws them from a key and a shape."""


def random_lists(
    key: jax.Array, shape: tuple[int, int], length: int, *, allow_self: bool = True, replace: bool = False
) -> jax.Array:
    """Lists of one length: for each row, ``length`` columns. Works inside ``jit``.

    Args:
        key: A key of ``jax.random``.
        shape: The numbers of rows and of columns.
        length: The number of columns that a row has.
        allow_self: Whether a neuron may connect to itself (an autapse).
        replace: Whether a pair may be connected more than once (a multapse).

    Returns:
        ``int32[rows, length]``, ascending in each row.

    Raises:
        ShapeError: ``shape`` is not that of a matrix, or of a square one where ``allow_self`` is false.
        StructureError: A row cannot have so many columns.

    Example:
        >>> import jax
        >>> from spikax_kernels._random import random_lists
        >>> random_lists(jax.random.key(0), (2, 1000), 3).shape
        (2, 3)
    """
    (rows, cols), length = _check(shape, allow_self), operator.index(length)
    pool = cols - (not allow_self)
    if length < 0 or (length > pool and not replace) or (length > 0 and rows > 0 and pool <= 0):
        raise StructureError(
            f"got {length} synapses for each neuron, which has {max(pool, 0)} neurons to choose from; "
            f"expected 0 to {max(pool, 0)}{', or replace=True' if pool > 0 else ''}"
        )
    lengths = jnp.zeros(0, jnp.int32)
    columns = random_columns(
        _words(key), lengths, rows=rows, entries=rows * length, cols=cols, replace=replace, loops=allow_self
    )
    return columns.reshape(rows, length)


def random_rows(
    key: jax.Array, shape: tuple[int, int], density: float, *, allow_self: bool = True, replace: bool = False
) -> tuple[jax.Array, jax.Array]:
    """Rows in which each pair is connected with the same probability, independently (Bernoulli).

    A row's number of columns is drawn first, from its binomial distribution, and then as many columns.

    Args:
        key: A key of ``jax.random``; a known one, because the number of entries depends on it.
        shape: The numbers of rows and of columns.
        density: The probability, 0 to 1.
        allow_self: Whether a neuron may connect to itself (an autapse).
        replace: Whether a pair may be connected more than once (a multapse); it may not here.

    Returns:
        ``(indices, indptr)``: ``int32[nse]``, ascending in each row, and ``int32[rows + 1]``, or ``int64`` for
        more than 2^31 - 1 entries.

    Raises:
        ShapeError: ``shape`` is not that of a matrix, or of a square one where ``allow_self`` is false.
        StructureError: ``density`` is not a probability, ``key`` is traced, or ``replace`` is asked for.

    Example:
        >>> import jax
        >>> from spikax_kernels._random import random_rows
        >>> indices, indptr = random_rows(jax.random.key(0), (10_000, 2_000), 0.05)
        >>> round(indices.size / 1e6, 2)
        1.0
    """
    rows, cols = _check(shape, allow_self)
    if not 0 <= density <= 1:
        raise StructureError(f"density: got {density}; expected 0 to 1")
    if replace:
        raise StructureError("replace: got True with density=, which asks each pair once; use fan_out= or fan_in=")
    if isinstance(key, jax.core.Tracer):
        raise StructureError(
            "density: got a traced key, and the number of entries depends on its value; "
            "draw outside jit, or use fan_out= or fan_in="
        )
    # Another word of the counter than for columns, so that no number is used twice.
    row, zero = np.arange(rows, dtype=np.uint32), np.zeros(rows, np.uint32)
    k0, k1 = np.asarray(_words(key))
    words = philox((row, zero, zero + np.uint32(1), zero), (zero + k0, zero + k1))
    bits = words[0].astype(np.uint64) << np.uint64(32) | words[1]
    lengths = binomial(bits, max(cols - (not allow_self), 0), density)
    indptr = _pointers(np.cumsum(lengths, dtype=np.int64))
    entries = int(lengths.sum(dtype=np.int64))
    return random_columns(
        _words(key), jnp.asarray(lengths), rows=rows, entries=entries, cols=cols, loops=allow_self
    ), indptr


def random_compressed(
    key: jax.Array,
    shape: tuple[int, int],
    *,
    density: float | None = None,
    per_row: int | None = None,
    per_col: int | None = None,
    allow_self: bool = True,
    replace: bool = False,
) -> tuple[jax.Array, jax.Array]:
    """Rows that are drawn by the probability of a pair, by the entries of each row, or by those of each column.

    Args:
        key: A key of ``jax.random``.
        shape: The numbers of rows and of columns.
        density: The probability of a pair.
        per_row: The number of entries in each row; works inside ``jit``.
        per_col: The number of entries in each column; works inside ``jit``.
        allow_self: Whether a neuron may connect to itself (an autapse).
        replace: Whether a pair may be connected more than once (a multapse).

    Returns:
        ``(indices, indptr)``, ascending in each row.

    Raises:
        ShapeError: See :func:`random_lists`.
        StructureError: Not exactly one of the three is given, or it cannot be had.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from spikax_kernels._random import random_compressed
        >>> indices, indptr = random_compressed(jax.random.key(0), (50, 4), per_col=10)
        >>> jnp.bincount(indices).tolist()
        [10, 10, 10, 10]
    """
    given = [value for value in (density, per_row, per_col) if value is not None]
    if len(given) != 1:
        raise StructureError(f"got {len(given)} of density, fan_out and fan_in; expected one")
    if density is not None:
        return random_rows(key, shape, density, allow_self=allow_self, replace=replace)
    if per_row is not None:
        lists = random_lists(key, shape, per_row, allow_self=allow_self, replace=replace)
        return lists.reshape(-1), _pointers(np.arange(1, lists.shape[0] + 1, dtype=np.int64) * lists.shape[1])
    assert per_col is not None  # one of the three is given
    lists = random_lists(key, shape[::-1], per_col, allow_self=allow_self, replace=replace)
    return _transpose(lists, shape[0])


def random_weights(key: jax.Array, weight: Weight, shape: tuple[int, ...]) -> jax.Array:
    """The weights of a random matrix.

    Args:
        key: The key of the matrix; its structure has used none of the numbers that come from here.
        weight: One weight, an array of them, or a function such as ``jax.random.normal`` that draws them from a key and
            a shape.
        shape: That of the entries.

    Returns:
        An array of shape ``()``, ``(1,)`` or ``shape``.

    Raises:
        ShapeError: The weights have another shape.
    """
    data = as_weights(weight(jax.random.fold_in(key, 1), shape) if callable(weight) else weight)
    if data.shape not in ((), (1,), shape):
        raise ShapeError(f"weight: got shape {data.shape}; expected (), (1,) or {shape}, one for each entry")
    return data


def _check(shape: Any, allow_self: bool) -> tuple[int, int]:
    rows, cols = as_shape(shape)
    if not allow_self and rows != cols:
        raise ShapeError(f"allow_self: got False for {rows} and {cols} neurons; expected a square matrix")
    if max(rows, cols) > LIMIT:
        raise ShapeError(f"shape: got {(rows, cols)}; expected at most {LIMIT} neurons")
    return rows, cols


def _words(key: jax.Array) -> jax.Array:
    """The two words that Philox takes for a key, of whatever generator of JAX."""
    data = jax.random.key_data(key)
    if data.ndim != 1:
        raise ShapeError(f"key: got keys of shape {data.shape[:-1]}; expected one key (for more, use jax.vmap)")
    if data.size == 2:
        return data
    zero = jnp.zeros(1, jnp.uint32)
    words = (zero, zero)
    for i in range(0, data.size, 2):
        words = philox((data[i : i + 1], data[i + 1 : i + 2], zero, zero), words)[:2]
    return jnp.concatenate(words)


def _pointers(ends: np.ndarray[Any, Any]) -> jax.Array:
    indptr = np.concatenate([np.zeros(1, np.int64), ends])
    return as_structure("indptr", indptr if indptr[-1] > LIMIT else indptr.astype(np.int32))


def _transpose(lists: jax.Array, rows: int) -> tuple[jax.Array, jax.Array]:
    """``(indices, indptr)`` by rows of entries that are listed by columns."""
    cols, length = lists.shape
    if isinstance(lists, jax.core.Tracer):
        col = jnp.repeat(jnp.arange(cols, dtype=jnp.int32), length, total_repeat_length=lists.size)
        row, col = jax.lax.sort((lists.reshape(-1), col), num_keys=2)
        begins = jnp.searchsorted(row, jnp.arange(rows + 1, dtype=row.dtype))
        return col, begins.astype(jnp.int32 if lists.size <= LIMIT else jnp.int64)
    # Row and column in one number: several times faster to sort than two of them.
    both = np.asarray(lists).astype(np.int64) << 32
    both |= np.arange(cols)[:, None]
    both = both.reshape(-1)
    both.sort()
    ends = np.searchsorted(both, np.arange(1, rows + 1, dtype=np.int64) << 32)
    return jnp.asarray((both & np.int64(LIMIT)).astype(np.int32)), _pointers(ends)
