"""Random keys as the numbers that they are made of, which are all that XLA sees of them: one dimension more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ._compat import Array


def implementation(aval: Any) -> str | None:
    """The generator that keys of this type are for; ``None`` for other arrays."""
    if not _are_keys(aval):
        return None
    found: list[str] = []
    # JAX tells it of keys alone, not of their type.
    jax.eval_shape(lambda key: found.append(str(jax.random.key_impl(key))), jax.ShapeDtypeStruct((), aval.dtype))
    return found[0]


def numbers(arrays: Sequence[Array]) -> list[Array]:
    """``arrays`` with the numbers of keys in the place of keys."""
    return [jax.random.key_data(x) if _are_keys(x) else x for x in arrays]


def keys(arrays: Sequence[Array], implementations: Sequence[str | None]) -> list[Array]:
    """The reverse of :func:`numbers`."""
    pairs = zip(arrays, implementations, strict=True)
    return [x if name is None else jax.random.wrap_key_data(x, impl=name) for x, name in pairs]


def _are_keys(x: Any) -> bool:
    return bool(jnp.issubdtype(x.dtype, jax.dtypes.prng_key))
