"""What the specifications of all operators have in common: the row of each entry, and what an event contributes."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def rows_of(indptr: jax.Array, entries: int, rows: int) -> jax.Array:
    """The row of each entry, ``[entries]`` in the dtype of ``indptr``: -1 before the first row, n after the last."""
    if indptr.shape[0] == 0:
        return jnp.arange(entries, dtype=indptr.dtype) // max(entries // max(rows, 1), 1)
    return jnp.searchsorted(indptr, jnp.arange(entries, dtype=indptr.dtype), side="right").astype(indptr.dtype) - 1


def take(x: jax.Array, at: jax.Array) -> jax.Array:
    """``x[at]``, and zero where ``at`` is out of range (also where it is negative)."""
    values = x.at[at].get(mode="fill", fill_value=0)
    return jnp.where(at >= 0, values, jnp.zeros((), x.dtype))


def add_at(size: int, at: jax.Array, values: jax.Array) -> jax.Array:
    """Zeros of shape ``[size]`` with ``values`` added at ``at``; places out of range, negative too, are dropped."""
    safe = jnp.where(at < 0, jnp.asarray(size, at.dtype), at)
    return jnp.zeros(size, values.dtype).at[safe].add(values, mode="drop")


def is_active(x: jax.Array) -> jax.Array:
    """Where ``x`` is ``True``, or a number that is not zero; NaN is active."""
    return x.astype(jnp.bool_)


def contribution(data: jax.Array, x: jax.Array, binary: bool) -> jax.Array:
    """``data * x`` (``data`` where events are binary) where ``x`` is active, else zero, whatever ``data`` holds."""
    product = data if binary else data * x.astype(data.dtype)
    return jnp.where(is_active(x), product, jnp.zeros((), data.dtype))


def accumulator(dtype: jax.typing.DTypeLike) -> jax.typing.DTypeLike:
    """The dtype to sum in: half precision adds up in float32."""
    half = jnp.issubdtype(dtype, jnp.floating) and jnp.dtype(dtype).itemsize < 4
    return jnp.float32 if half else dtype
