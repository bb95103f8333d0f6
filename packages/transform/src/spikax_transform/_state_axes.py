"""Which States are mapped by a `vmap`, along which axis, and what one lane sees of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from . import _compat
from ._errors import StateAxesError
from ._overlay import Frame
from ._random_state import RandomState
from ._state import State

SPEC = "vmap_axes"
"""The metadata in which a State says itself along which axis the `vmap` of a name maps it."""


def state_axes(name: str, what: str, given: Any) -> dict[State[Any], int | None]:
    """The axis of each State of ``in_states`` or ``out_states``; `None` for one that is not to be mapped."""
    by_axis: Mapping[Any, Any] = {0: given}
    if isinstance(given, Mapping) and given and all(key is None or _is_axis(key) for key in given):
        by_axis = given
    axes: dict[State[Any], int | None] = {}
    for axis, group in by_axis.items():
        for leaf in jax.tree.leaves(group):
            if not isinstance(leaf, State):
                raise StateAxesError(
                    f"{name} got {what} with a {type(leaf).__name__}; expected States in any nesting, which are mapped "
                    f"along axis 0, or a dictionary {{axis: States}}."
                )
            number = None if axis is None else int(axis)
            if axes.setdefault(leaf, number) != number:
                raise StateAxesError(f"{name} got {leaf.describe()} under two axes of {what}; expected one.")
    return axes


def _is_axis(key: object) -> bool:
    return isinstance(key, int | np.integer) and not isinstance(key, bool)


class StateLanes:
    """The States of one call of a `vmap`: mapped ones by axis, random ones as they go on afterwards."""

    def __init__(
        self,
        name: str,
        inside: dict[State[Any], int | None],
        outside: dict[State[Any], int | None],
        axis_name: Any,
    ) -> None:
        self.name = name
        self.axis_name = axis_name
        self.inside = inside
        self.outside = inside | outside
        self.advanced: dict[State[Any], Any] = {}

    def maps(self, state: State[Any]) -> bool:
        """Whether each lane sees a slice of the State."""
        return self._axis(self.inside, state) is not None

    def out_axis(self, state: State[Any]) -> int | None:
        """The axis along which the values that the lanes write are put together, `None` if there is none."""
        return self._axis(self.outside, state)

    def _axis(self, declared: dict[State[Any], int | None], state: State[Any]) -> int | None:
        if state in declared:
            return declared[state]
        own: int | None = state.metadata.get(SPEC, {}).get(self.axis_name) if self.axis_name is not None else None
        return own

    def enter(self, frame: Frame, state: State[Any], value: Any) -> Any:
        """What a lane sees of the value of a State."""
        axis = self._axis(self.inside, state)
        size = _compat.lane_count(frame.trace)
        if axis is not None:
            value = jax.tree.map(lambda leaf: self._slices(frame, state, leaf, axis, size), value)
            frame.values[state] = value
        elif isinstance(state, RandomState) and state not in self.inside:
            keys = _split(value, size + 1)
            self.advanced[state] = keys[0]
            value = frame.values[state] = _compat.as_lanes(frame.trace, keys[1:], 0)
        return value

    def _slices(self, frame: Frame, state: State[Any], leaf: Any, axis: int, size: int) -> Any:
        array = leaf if isinstance(leaf, jax.Array) else jnp.asarray(leaf)
        aval = _compat.aval_of(array)
        if not -len(aval.shape) <= axis < len(aval.shape) or aval.shape[axis] != size:
            raise StateAxesError(
                f"{self.name} maps {state.describe()} along axis {axis}: got {aval.str_short(True)}, expected {size} "
                f"lanes along that axis. Choose the axis in in_states={{axis: States}}, or leave the State out of it."
            )
        return _compat.as_lanes(frame.trace, array, axis % len(aval.shape))


def _split(key: Any, count: int) -> Any:
    """Split each of the keys of an array; the new axis comes first."""

    def split(one: Any) -> Any:
        return jax.random.split(one, count)

    for _ in range(key.ndim):
        split = jax.vmap(split, out_axes=1)
    return split(key)
