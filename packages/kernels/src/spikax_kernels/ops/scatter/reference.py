"""The specification of ``scatter``."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from spikax_kernels.ops._lanes import as_list
from spikax_kernels.ops._reference import accumulator, add_at, contribution, rows_of, take


def reference(
    data: jax.Array, indices: jax.Array, indptr: jax.Array, x: jax.Array, *, cols: int, binary: bool
) -> jax.Array:
    """``y[c]`` is the sum of ``data[k] * x[r]`` over entries ``k`` (row ``r``, column ``c``) with ``x[r]`` active."""

    @functools.partial(jnp.vectorize, signature="(d),(k),(p),(r)->(c)")
    def lane(data: jax.Array, indices: jax.Array, indptr: jax.Array, x: jax.Array) -> jax.Array:
        events = take(x, rows_of(indptr, indices.shape[0], x.shape[0]))
        values = contribution(data.astype(accumulator(data.dtype)), events, binary)
        return add_at(cols, indices, values).astype(data.dtype)

    y: jax.Array = lane(as_list(data, indptr), as_list(indices, indptr), indptr, x)
    return y
