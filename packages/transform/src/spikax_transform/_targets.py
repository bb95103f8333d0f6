"""What a gradient is taken with respect to: States in any nesting, and arguments by number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from . import _compat
from ._errors import ArgumentNumberError, GradStatesError
from ._state import State


@dataclass(frozen=True)
class Targets:
    """The States of ``grad_states``, in the order of its leaves; a State may be there twice."""

    leaves: tuple[State[Any], ...]
    tree: Any

    def starts(self, values: Any) -> dict[State[Any], Any]:
        """The value of each State; of one that occurs twice, one that depends on both occurrences."""
        starts: dict[State[Any], Any] = {}
        for state, value in zip(self.leaves, self.tree.flatten_up_to(values), strict=True):
            starts[state] = jax.tree.map(_joined, starts[state], value) if state in starts else value
        return starts


def targets_of(grad_states: Any, name: str) -> Targets:
    """The States of ``grad_states``, for the transform `name`."""
    leaves, tree = jax.tree.flatten(grad_states)
    for leaf in leaves:
        if not isinstance(leaf, State):
            raise GradStatesError(
                f"{name} got grad_states with a {type(leaf).__name__}; expected a State, or lists, tuples and dicts "
                f"of States. A model's States are found by states(model)."
            )
    return Targets(tuple(leaves), tree)


def check_argnums(argnums: Any) -> None:
    """Raise unless `argnums` is an integer or a sequence of integers."""
    numbers = argnums if isinstance(argnums, Sequence) else (argnums,)
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, int | np.integer):
            raise ArgumentNumberError(f"argnums got {argnums!r}; expected an integer or a sequence of integers.")


def resolve_argnums(argnums: Any, targets: Targets | None, count: int, name: str) -> tuple[int, ...] | None:
    """Positions of the differentiated arguments, `None` if there are none."""
    if argnums is None:
        if targets is not None:
            return None
        argnums = 0
    numbers = tuple(argnums) if isinstance(argnums, Sequence) else (argnums,)
    resolved = []
    for number in map(int, numbers):
        if not -count <= number < count:
            raise ArgumentNumberError(
                f"{name} got argnums={argnums}, but the call has {count} positional arguments (self is not counted). "
                f"Pass the arguments to differentiate by position, or choose another number."
            )
        resolved.append(number % count)
    if len(set(resolved)) != len(resolved) or not resolved:
        raise ArgumentNumberError(
            f"{name} got argnums={argnums}, {'which name an argument twice' if resolved else 'no number'}; expected at "
            f"least one, each once."
        )
    return tuple(resolved)


@jax.custom_jvp
def _same(first: Any, second: Any) -> Any:
    return first


@_same.defjvp
def _same_jvp(primals: tuple[Any, Any], tangents: tuple[Any, Any]) -> tuple[Any, Any]:
    return _same(*primals), tangents[0] + tangents[1]  # not primals[0]: a second derivative goes through both, too


def _joined(first: Any, second: Any) -> Any:
    """The value of `first`, with a derivative in both: exact also for infinities, as ``a + (b - b)`` is not."""
    return _same(first, second) if jnp.issubdtype(_compat.aval_of(first).dtype, jnp.inexact) else first
