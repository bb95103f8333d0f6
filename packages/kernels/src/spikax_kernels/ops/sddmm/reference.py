"""The specification of ``sddmm``."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from spikax_kernels.ops._lanes import as_list, fit
from spikax_kernels.ops._reference import accumulator, contribution, is_active, rows_of, take


def reference(
    y: jax.Array,
    x: jax.Array,
    indices: jax.Array,
    indptr: jax.Array,
    *,
    dtype: jax.typing.DTypeLike,
    lanes: tuple[int, ...],
    binary: tuple[bool, bool],
) -> jax.Array:
    """``z[k] = y[r] * x[c]`` for the entry ``k`` (row ``r``, column ``c``) if both are active, summed to ``lanes``."""

    @functools.partial(jnp.vectorize, signature="(r),(c),(k),(p)->(k)")
    def lane(y: jax.Array, x: jax.Array, indices: jax.Array, indptr: jax.Array) -> jax.Array:
        one = jnp.ones((), accumulator(dtype))
        row, column = take(y, rows_of(indptr, indices.shape[0], y.shape[0])), take(x, indices)
        product = contribution(contribution(one, row, binary[0]), column, binary[1])
        return jnp.where(is_active(row), product, jnp.zeros((), product.dtype))

    z = fit(lane(y, x, as_list(indices, indptr), indptr), (*lanes, *as_list(indices, indptr).shape[-1:]))
    return z.reshape(*lanes, *indices.shape[len(lanes) :]).astype(dtype)
