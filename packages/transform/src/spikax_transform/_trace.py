"""Run a function once, symbolically, and write down the States it touches: the heart of every staged transform."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax

from . import _compat, _overlay
from ._errors import StateArgumentError
from ._state import State


@dataclass(frozen=True)
class Traced:
    """A function as a jaxpr whose inputs are constants, its arguments, and then the States that it reads.

    The outputs are the function's own and then the values of the States that it writes, created ones last.
    """

    jaxpr: _compat.Jaxpr
    consts: Sequence[Any]
    in_avals: Sequence[_compat.Aval]
    reads: Mapping[State[Any], tuple[Any, Sequence[_compat.Aval]]]
    writes: Mapping[State[Any], Any]
    created: Mapping[State[Any], Any]  # alive when the function returned
    consulted: frozenset[State[Any]]
    out_tree: Any

    @property
    def out_avals(self) -> list[_compat.Aval]:
        """The avals of all outputs."""
        return [var.aval for var in self.jaxpr.outvars]

    def replay(self, leaves: Sequence[Any], read_leaves: Sequence[Any]) -> list[Any]:
        """Run the program in the current trace, without the user's Python."""
        return _compat.eval_jaxpr(self.jaxpr, [*self.consts, *leaves, *read_leaves])


def trace_once(
    fun: Callable[..., Any],
    in_tree: Any,
    in_avals: Sequence[_compat.Aval],
    *,
    name: str,
    starts: Mapping[State[Any], Any] | None = None,
    keep_created: bool = False,
) -> Traced:
    """Trace `fun`, which takes the leaves of ``(args, kwargs)``, running its Python exactly once.

    Args:
        fun: the user's function.
        in_tree: tree definition of ``(args, kwargs)``.
        in_avals: an aval for each leaf.
        name: the transform, for messages.
        starts: values that States start with, where those differ from what they hold.
        keep_created: make States created inside, and alive at the end, outputs of the program.
    """
    frame = _overlay.Frame(staged=True, starts=dict(starts or {}))
    result: dict[str, Any] = {}

    def flat(*leaves: Any) -> list[Any]:
        args, kwargs = jax.tree.unflatten(in_tree, leaves)
        with _overlay.entered(frame):
            out = fun(*args, **kwargs)
            del args, kwargs
            out_leaves, result["out_tree"] = jax.tree.flatten(out)
            refuse_states(out_leaves, name, "returned from")
            del out
            born = _collect_created(frame, keep_created)
            result["created"] = {state: tree for state, (_, tree) in born.items()}
            writes = {state: jax.tree.flatten(frame.values[state]) for state in frame.writes}
            result["writes"] = {state: tree for state, (_, tree) in writes.items()}
            result["consulted"] = frozenset(frame.consulted)
            return [*out_leaves, *(leaf for leaves, _ in [*writes.values(), *born.values()] for leaf in leaves)]

    jaxpr, consts = _compat.trace_flat(flat, in_avals, name)
    return Traced(
        jaxpr=_compat.as_inputs(jaxpr, frame.input_count),
        consts=consts,
        in_avals=in_avals,
        reads=frame.reads,
        **result,
    )


def refuse_states(leaves: Sequence[Any], name: str, how: str) -> None:
    """Raise if a State is among the leaves that a transformed function takes or returns."""
    for leaf in leaves:
        if isinstance(leaf, State):
            raise StateArgumentError(
                f"{leaf.describe()} was {how} a function transformed by {name}. Close over the State instead "
                f"(as an attribute, a global or a local of the enclosing function), or pass its .value."
            )


def _collect_created(frame: _overlay.Frame, keep: bool) -> dict[State[Any], Any]:
    """The States created in `frame` that something outside still refers to, with their flattened values."""
    if not keep:
        for state in frame.created:
            frame.writes.pop(state, None)
        return {}
    values = [(weakref.ref(state), frame.values.pop(state)) for state in frame.created]
    for state in frame.created:
        frame.writes.pop(state, None)
        frame.consulted.discard(state)
        frame.overwritten.discard(state)
        del state
    frame.created.clear()
    alive = [(reference(), value) for reference, value in values]
    return {state: jax.tree.flatten(value) for state, value in alive if state is not None}
