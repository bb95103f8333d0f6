"""`unvmap`: one answer for all lanes of a `vmap`, for instance whether any of them needs what comes next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap

_REDUCTIONS: dict[str, Callable[[Any], Any]] = {"any": jnp.any, "all": jnp.all, "max": jnp.max, "min": jnp.min}


def unvmap(x: Any, op: Literal["any", "all", "max", "min"] = "any") -> jax.Array:
    """Reduce an array over its elements and over all lanes of the `vmap` around, whose lanes then agree.

    The result is not mapped, so that `cond` with it stays a choice between two programs. It has no derivative.

    Args:
        x: an array of any shape.
        op: ``"any"`` or ``"all"`` of booleans, ``"max"`` or ``"min"`` of numbers.

    Returns:
        A scalar.

    Raises:
        ValueError: ``op`` is none of the four.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> from spikax_transform import unvmap
    >>> jax.vmap(lambda x: x + unvmap(x, "max"))(jnp.array([1.0, 2.0]))
    Array([3., 4.], dtype=float32)
    """
    if op not in _REDUCTIONS:
        raise ValueError(f"unvmap got op={op!r}; expected one of {', '.join(map(repr, _REDUCTIONS))}.")
    result: jax.Array = _reducers[op](lax.stop_gradient(jnp.asarray(x)))
    return result


def _reducer(reduce: Callable[[Any], Any]) -> Any:
    @custom_vmap
    def over_lanes(x: Any) -> Any:
        return reduce(x)

    @over_lanes.def_vmap
    def _(size: int, mapped: Any, x: Any) -> tuple[Any, bool]:
        return over_lanes(x), False

    return over_lanes


_reducers = {name: _reducer(reduce) for name, reduce in _REDUCTIONS.items()}
