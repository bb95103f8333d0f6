"""The specification of ``gather``."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from spikax_kernels.ops._lanes import as_list
from spikax_kernels.ops._reference import accumulator, add_at, contribution, rows_of, take


def reference(
    data: jax.Array, indices: jax.Array, indptr: jax.Array, x: jax.Array, *, rows: int, binary: bool
) -> jax.Array:
    """``y[r]`` is the sum of ``data[k] * x[c]`` over entries ``k`` (row ``r``, column ``c``) with ``x[c]`` active."""

    @functools.partial(jnp.vectorize, signature="(d),(k),(p),(c)->(r)")
    def lane(data: jax.Array, indices: jax.Array, indptr: jax.Array, x: jax.Array) -> jax.Array:
        values = contribution(data.astype(accumulator(data.dtype)), take(x, indices), binary)
        row = rows_of(indptr, indices.shape[0], rows)
        return add_at(rows, row, values).astype(data.dtype)

    y: jax.Array = lane(as_list(data, indptr), as_list(indices, indptr), indptr, x)
    return y
