"""RandomState: a State that holds a typed random key and hands out new ones."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._errors import RandomKeyError
from ._state import State


class RandomState(State[jax.Array]):
    """A typed PRNG key that advances each time a part of it is split off.

    Args:
        seed: an integer, a typed key (``key<fry>[]``), or a raw key (``u32[2]``).
        name: for messages.
        tag: a free label.
        frozen: refuse keys of another implementation.
        **metadata: anything else to remember.

    Raises:
        RandomKeyError: if ``seed`` is none of the three.

    >>> import jax
    >>> from spikax_transform import RandomState
    >>> rng = RandomState(0)
    >>> jax.random.normal(rng.split_key(), (3,)).shape
    (3,)
    """

    __slots__ = ()

    def __init__(
        self,
        seed: int | jax.Array | np.ndarray[Any, Any],
        name: str | None = None,
        tag: str | None = None,
        *,
        frozen: bool = False,
        **metadata: Any,
    ) -> None:
        super().__init__(_as_key(seed), name, tag, frozen=frozen, **metadata)

    def split_key(self, count: int | None = None) -> jax.Array:
        """Split off a new key, or ``count`` of them as ``key<fry>[count]``, and advance.

        >>> from spikax_transform import RandomState
        >>> RandomState(0).split_key(4).shape
        (4,)
        """
        keys = jax.random.split(self.value, 2 if count is None else count + 1)
        self.value = keys[0]
        return keys[1] if count is None else keys[1:]

    def seed(self, seed: int | jax.Array | np.ndarray[Any, Any]) -> None:
        """Start again from a seed or key."""
        self.value = _as_key(seed)


def _as_key(seed: int | jax.Array | np.ndarray[Any, Any]) -> jax.Array:
    if isinstance(seed, int | np.integer) and not isinstance(seed, bool):
        return jax.random.key(int(seed))
    dtype = getattr(seed, "dtype", None)
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key):
        return jnp.asarray(seed)
    if dtype is not None and dtype == np.uint32 and np.ndim(seed) == 1:
        key: jax.Array = jax.random.wrap_key_data(jnp.asarray(seed))
        return key
    if dtype is not None and jnp.issubdtype(dtype, jnp.integer) and np.ndim(seed) == 0:
        return jax.random.key(seed)
    raise RandomKeyError(
        f"RandomState got a seed of type {type(seed).__name__}{f' and dtype {dtype}' if dtype is not None else ''}; "
        f"expected an integer, a key of jax.random.key, or the u32[2] of jax.random.PRNGKey."
    )
