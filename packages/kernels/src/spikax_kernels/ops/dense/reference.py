"""The specification of ``dense``."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from spikax_kernels.ops._reference import accumulator, contribution


def reference(weights: jax.Array, x: jax.Array, *, transpose: bool, binary: bool) -> jax.Array:
    """``y[c]`` is the sum of ``weights[r, c] * x[r]`` over ``r`` with ``x[r]`` active; of the transpose likewise."""
    events = jnp.expand_dims(x, -2 if transpose else -1)
    values = contribution(weights.astype(accumulator(weights.dtype)), events, binary)
    return values.sum(-1 if transpose else -2).astype(weights.dtype)
