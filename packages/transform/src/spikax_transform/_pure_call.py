"""One call of a function over States as a pure function of the values that are differentiated, and what it leaves."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from . import _compat, _overlay
from ._errors import AuxError, GradStatesError, OverwrittenStateWarning, UnreadStateError
from ._state import State
from ._targets import Targets
from ._trace import refuse_states


class _Kept:
    """Carries any Python objects past a JAX transform, of which only the tracers are shown to JAX."""

    def __init__(self) -> None:
        self._leaves: list[Any] = []
        self._tree: Any = None
        self._traced: list[int] = []

    def keep(self, value: Any) -> list[Any]:
        """Take the tracers out of `value` and return them."""
        leaves, self._tree = jax.tree.flatten(value)
        self._traced = [i for i, leaf in enumerate(leaves) if isinstance(leaf, _compat.Tracer)]
        tracers = [leaves[i] for i in self._traced]
        self._leaves = [None if isinstance(leaf, _compat.Tracer) else leaf for leaf in leaves]
        return tracers

    def restore(self, primals: Sequence[Any]) -> Any:
        """The value, with what became of the tracers in their places."""
        for place, primal in zip(self._traced, primals, strict=True):
            self._leaves[place] = primal
        return jax.tree.unflatten(self._tree, self._leaves)


@dataclass
class PureCall:
    """``fun(*args, **kwargs)`` for the transform `name`; JAX calls `pure` with `primals`, or values like them.

    ``targets`` are the States and ``numbers`` the positions of the arguments that are differentiated; ``many`` says
    whether these arguments are one primal, a tuple, or each is one.
    """

    name: str
    fun: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    targets: Targets | None
    numbers: tuple[int, ...] | None
    many: bool
    has_aux: bool
    check_states: bool
    _kept: _Kept = field(init=False, default_factory=_Kept)
    _consulted: set[State[Any]] = field(init=False, default_factory=set)
    _overwritten: set[State[Any]] = field(init=False, default_factory=set)

    def primals(self) -> tuple[Any, ...]:
        """The values to differentiate at: the States as they are now, then the arguments."""
        primals: list[Any] = []
        if self.targets is not None:
            entry = [_overlay.read(state, False) for state in self.targets.leaves]
            primals.append(jax.tree.unflatten(self.targets.tree, entry))
        if self.numbers is not None:
            chosen = tuple(self.args[i] for i in self.numbers)
            primals += [chosen] if self.many else chosen
        return tuple(primals)

    def pure(self, *primals: Any) -> tuple[Any, Any]:
        """The output, and all that is not differentiated: of that JAX sees only the tracers."""
        given = list(primals)
        starts = {} if self.targets is None else self.targets.starts(given.pop(0))
        args = list(self.args)
        if self.numbers is not None:
            for number, value in zip(self.numbers, given[0] if self.many else given, strict=True):
                args[number] = value
        frame = _overlay.Frame(staged=False, starts=starts)
        with _overlay.entered(frame):
            out, aux = self._split(self.fun(*args, **self.kwargs))
            refuse_states(jax.tree.leaves((out, aux)), self.name, "returned from")
            writes = [(state, frame.values[state]) for state in frame.writes if state not in frame.created]
            self._consulted, self._overwritten = set(frame.consulted), set(frame.overwritten)
        return out, self._kept.keep((out, aux, writes))

    def finish(self, tracers: Sequence[Any]) -> tuple[Any, Any]:
        """``(out, aux)``, given what became of the tracers; the States are then as the function left them."""
        out, aux, writes = self._kept.restore(tracers)
        self._report_unread()  # before anything is written: a call that raises changes no State
        _overlay.note_reads(self._consulted - self._overwritten)
        _overlay.write_all(writes)
        _overlay.note_reads(self._consulted)
        return out, aux

    def require_inexact(self, entry: Any) -> None:
        """Raise for a State of integers, given the value of all States."""
        assert self.targets is not None  # only called with targets
        for state, value in zip(self.targets.leaves, self.targets.tree.flatten_up_to(entry), strict=True):
            for aval in map(_compat.aval_of, jax.tree.leaves(value)):
                if not jnp.issubdtype(aval.dtype, jnp.inexact):
                    raise GradStatesError(
                        f"{self.name} with respect to {state.describe()}: got {aval.str_short(True)}, expected "
                        f"floating-point numbers. Leave it out of grad_states, or pass allow_int=True."
                    )

    def _split(self, result: Any) -> tuple[Any, Any]:
        if not self.has_aux:
            return result, None
        if not isinstance(result, tuple | list) or len(result) != 2:
            size = f" of {len(result)} items" if isinstance(result, tuple | list) else ""
            raise AuxError(
                f"{self.name} with has_aux=True got a function that returned a {type(result).__name__}{size}; "
                f"expected a pair (output, aux). Return a pair, or leave has_aux=False."
            )
        return result[0], result[1]

    def _report_unread(self) -> None:
        states = () if self.targets is None else tuple(dict.fromkeys(self.targets.leaves))
        unread = [state for state in states if state not in self._consulted]
        if unread and self.check_states:
            raise UnreadStateError(
                f"{self.name} got States in grad_states that the function never reads: "
                f"{'; '.join(state.describe() for state in unread)}. Remove them, or pass check_states=False for zeros."
            )
        for state in states:
            if state in self._overwritten and state not in unread:
                warnings.warn(
                    f"{self.name}: {state.describe()} is overwritten before it is read, so its gradient is zero.",
                    OverwrittenStateWarning,
                    stacklevel=5,  # this, finish, the transform, what called it there, the user
                )
