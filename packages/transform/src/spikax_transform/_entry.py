"""How the traces of one construct meet the States around it: values go in, and come out again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax

from . import _compat, _overlay
from ._state import State
from ._trace import Traced


class Inputs:
    """The values of States as a flat list of leaves, each State once."""

    def __init__(self, traces: Sequence[Traced], starts: Mapping[State[Any], Any] | None = None) -> None:
        self.leaves: list[Any] = []
        self.consulted: frozenset[State[Any]] = frozenset().union(*(traced.consulted for traced in traces))
        self._starts = starts or {}
        self._places: dict[State[Any], tuple[int, Any]] = {}
        for traced in traces:
            for state in traced.reads:
                self.places(state)

    def places(self, state: State[Any]) -> range:
        """Where the leaves of a State are; it is read if it was not yet."""
        if state not in self._places:
            value = _overlay.read(state, state in self.consulted)
            leaves, tree = jax.tree.flatten(self._starts.get(state, value))
            self._places[state] = (len(self.leaves), tree)
            self.leaves += leaves
        first, tree = self._places[state]
        return range(first, first + tree.num_leaves)

    def holds(self, state: State[Any]) -> bool:
        """Whether the value of a State goes in."""
        return state in self._places

    def tree(self, state: State[Any]) -> Any:
        """The structure of the value of a State."""
        self.places(state)
        return self._places[state][1]

    def sources(self, traced: Traced) -> tuple[int, ...]:
        """Which leaves the program of a trace takes after its arguments, in its order."""
        return tuple(place for state in traced.reads for place in self.places(state))

    def avals(self, state: State[Any]) -> list[_compat.Aval]:
        """The types of the leaves of a State."""
        return [_compat.aval_of(self.leaves[place]) for place in self.places(state)]


def union(traces: Iterable[Traced]) -> dict[State[Any], Any]:
    """The States that any of the traces writes, in the order of first sight, with the structure of the value."""
    written: dict[State[Any], Any] = {}
    for traced in traces:
        for state, tree in traced.writes.items():
            written.setdefault(state, tree)
    return written


def store(written: Mapping[State[Any], Any], leaves: Sequence[Any], inputs: Inputs) -> None:
    """Write the values that came out; a State whose value on entry may have come through was not overwritten."""
    position = 0
    values = []
    for state, tree in written.items():
        values.append((state, jax.tree.unflatten(tree, leaves[position : position + tree.num_leaves])))
        position += tree.num_leaves
    frame = _overlay.frames()[-1] if _overlay.frames() else None
    partial = [state for state in written if frame and state not in frame.overwritten and inputs.holds(state)]
    _overlay.write_all(values)
    if frame is not None:
        frame.overwritten.difference_update(partial)
    _overlay.note_reads(inputs.consulted)
