"""The specification of ``coo``."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from spikax_kernels.ops._reference import accumulator, add_at, contribution, take


def reference(data: jax.Array, row: jax.Array, col: jax.Array, x: jax.Array, *, size: int, binary: bool) -> jax.Array:
    """``y[col[k]]`` gets the sum of ``data[k] * x[row[k]]`` over the entries ``k`` with ``x[row[k]]`` active."""

    @functools.partial(jnp.vectorize, signature="(d),(k),(k),(r)->(c)")
    def lane(data: jax.Array, row: jax.Array, col: jax.Array, x: jax.Array) -> jax.Array:
        values = contribution(data.astype(accumulator(data.dtype)), take(x, row), binary)
        return add_at(size, col, values).astype(data.dtype)

    y: jax.Array = lane(data, row, col, x)
    return y
