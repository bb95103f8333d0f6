"""One call of a `vmap`: the function of a lane runs once, in a frame that knows what a lane sees of each State."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from . import _compat, _overlay
from ._errors import StateAxesError
from ._state import State
from ._state_axes import StateLanes
from ._trace import refuse_states

# `jax.vmap` maps keyword arguments along axis 0: the only way to say how many lanes there are if no argument does
_LANE = "_spikax_lane"


@dataclass(frozen=True)
class Axes:
    """The keywords of `jax.vmap`."""

    in_axes: Any
    out_axes: Any
    axis_name: Any
    axis_size: int | None
    spmd_axis_name: Any = None

    def maps_any(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether some argument is mapped."""
        return bool(jax.tree.leaves(kwargs) or (jax.tree.leaves(args) and jax.tree.leaves(self.in_axes)))

    def over(self, pure: Callable[..., Any], state_axes: dict[int, int]) -> Callable[..., Any]:
        """`jax.vmap` of a function that returns its result and the mapped values of States by axis."""
        return jax.vmap(
            pure,
            self.in_axes,
            (self.out_axes, state_axes),
            axis_name=self.axis_name,
            axis_size=self.axis_size,
            spmd_axis_name=self.spmd_axis_name,
        )


class MappedCall:
    """One call."""

    def __init__(self, lanes: StateLanes, fun: Callable[..., Any], axes: Axes, keep_created: bool = False) -> None:
        self.lanes, self.fun, self.axes, self.keep_created = lanes, fun, axes, keep_created
        self.created: list[State[Any]] = []
        self._consulted: set[State[Any]] = set()
        self._overwritten: set[State[Any]] = set()
        self._shared: dict[State[Any], Any] = {}  # what the States that are not mapped hold afterwards
        self._mapped: dict[int, list[State[Any]]] = {}  # the others, by axis

    def run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result for the whole batch; the States are then as the lanes left them."""
        refuse_states(jax.tree.leaves((args, kwargs)), self.lanes.name, "passed to")

        def pure(*args: Any, **kwargs: Any) -> Any:
            kwargs.pop(_LANE, None)
            return self._lane(args, kwargs)

        functools.update_wrapper(pure, self.fun, updated=())  # so that JAX's messages name the user's arguments
        if not self.axes.maps_any(args, kwargs):
            kwargs = {**kwargs, _LANE: jnp.arange(self._lane_count())}
        declared = {0, *(axis for axis in self.lanes.outside.values() if axis is not None)}
        out, values = self.axes.over(pure, {axis: axis for axis in declared})(*args, **kwargs)
        self._store(values)
        return out

    def _lane(self, args: Any, kwargs: Any) -> Any:
        frame = _overlay.Frame(staged=False)
        frame.lanes = self.lanes
        with _overlay.entered(frame):
            for state in self.lanes.inside:
                if self.lanes.maps(state):
                    _overlay.read(
                        state, False
                    )  # says now if its axis does not fit, also if the function never reads it
            out = self.fun(*args, **kwargs)
            refuse_states(jax.tree.leaves(out), self.lanes.name, "returned from")
            values = self._collect(frame)
        return out, values

    def _collect(self, frame: _overlay.Frame) -> dict[int, list[Any]]:
        """Sort what was written: values for `jax.vmap` to put together by axis, and those that all lanes share."""
        self._consulted, self._overwritten = set(frame.consulted), set(frame.overwritten)
        collected: dict[int, list[Any]] = {axis: [] for axis in {0, *self.lanes.outside.values()} if axis is not None}
        self._mapped = {axis: [] for axis in collected}
        undeclared = []
        for state in frame.writes:
            axis = self.lanes.out_axis(state)
            value = frame.values[state]
            if state in frame.created or (axis is None and state in self.lanes.advanced):
                continue
            if axis is not None:
                self._keep(state, value, axis, collected)
            elif any(_compat.trace_of(leaf) is frame.trace for leaf in jax.tree.leaves(value)):
                undeclared.append(state)
            else:
                self._shared[state] = value
        self._refuse(undeclared)
        if self.keep_created:
            self.created = list(frame.created)
            for state in self.created:
                self._keep(state, frame.values[state], 0, collected)
        return collected

    def _keep(self, state: State[Any], value: Any, axis: int, collected: dict[int, list[Any]]) -> None:
        place = axis if axis in collected else 0  # an axis that the State says itself is put there afterwards
        self._mapped[place].append(state)
        collected[place].append(value)

    def _refuse(self, states: list[State[Any]]) -> None:
        if states:
            raise StateAxesError(
                f"{self.lanes.name} got writes of values that differ between lanes, to States that are not declared to "
                f"be mapped: {'; '.join(state.describe() for state in states)}. Declare them in out_states (or in "
                f"in_states, if they are mapped already), or reduce the values over the lanes first."
            )

    def _store(self, values: dict[int, list[Any]]) -> None:
        created = set(self.created)
        written: dict[State[Any], Any] = {}
        _overlay.note_reads(self._consulted - self._overwritten)
        for place, states in self._mapped.items():
            for state, value in zip(states, values[place], strict=True):
                if state in created:
                    _overlay.create(state, value)
                    continue
                axis = self.lanes.out_axis(state)
                if axis != place:
                    value = jax.tree.map(lambda leaf, axis=axis: jnp.moveaxis(leaf, 0, axis), value)
                written[state] = value
        _overlay.write_all((self._shared | self.lanes.advanced | written).items())
        _overlay.note_reads(self._consulted)

    def _lane_count(self) -> int:
        """The number of lanes where no argument is mapped."""
        if self.axes.axis_size is not None:
            return self.axes.axis_size
        for state, axis in self.lanes.inside.items():
            if axis is None:
                continue
            for leaf in jax.tree.leaves(_overlay.peek(state, len(_overlay.frames()))):
                shape = _compat.aval_of(leaf).shape
                if -len(shape) <= axis < len(shape):
                    return int(shape[axis])
        raise StateAxesError(
            f"{self.lanes.name} got neither a mapped argument, nor mapped in_states, nor an axis_size; expected one of "
            f"them to tell the number of lanes."
        )
