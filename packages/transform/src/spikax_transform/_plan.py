"""What `jit` knows of a function: which States go in and out, and one `jax.jit` of the pure function between."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, TypeAlias

import jax

from . import _compat, _overlay
from ._options import Options, like
from ._signature import Signature, sign, split
from ._state import State, creation_count
from ._trace import Traced

References: TypeAlias = list[weakref.ref[State[Any]]]


class DiscoveredError(Exception):
    """Carries a trace out of `jax.jit` when it does not fit the plan that was tried."""

    def __init__(self, signature: Signature) -> None:
        super().__init__("internal to spikax_transform")
        self.signature = signature


class JitDisabledError(Exception):
    """Says that `jax.jit` called the pure function itself, because the user disabled it."""


class Audit:
    """Which signatures of a plan were traced, with which States, and which were checked since States were made."""

    def __init__(self) -> None:
        self._touched: dict[Hashable, tuple[frozenset[int], ...]] = {}
        self._verified: set[Hashable] = set()
        self._calls: set[Hashable] = set()
        self._since = creation_count()

    def record(self, signature: Signature) -> None:
        """Remember a signature that is part of the plan."""
        self._touched[signature.key] = signature.touched
        self._verified.add(signature.key)

    def begin(self) -> None:
        """If States were made since the last check, everything has to be checked again."""
        if self._since != creation_count():
            self._verified.clear()
            self._calls.clear()
            self._since = creation_count()

    def knows(self, call: Hashable | None) -> bool:
        """Whether a call like this was checked already."""
        return call is not None and call in self._calls

    def changed(self, signature: Signature) -> bool:
        """Whether the function now touches other States than when this signature was traced."""
        self._since = creation_count()  # the check itself may have made some
        if signature.traced.created:
            return True
        return self._touched.get(signature.key, signature.touched) != signature.touched

    def confirm(self, call: Hashable | None, signature: Signature) -> bool:
        """Note that a signature is as it was; returns whether it had been traced before."""
        if call is not None:
            self._calls.add(call)
        if signature.key not in self._touched:
            return False
        self._verified.add(signature.key)
        return True

    @property
    def complete(self) -> bool:
        """Whether every traced signature was checked."""
        return self._verified >= self._touched.keys()


class Plan:
    """The States of a function by role, as weak references, and its compiled form."""

    def __init__(
        self, fun: Callable[..., Any], options: Options, positional: int, first: Signature, other: Plan | None
    ) -> None:
        traced = first.traced
        reads, outputs = dict.fromkeys(traced.reads), dict.fromkeys([*traced.writes, *traced.created])
        write_only = [state for state in outputs if state not in reads]
        if other is not None:
            # one plan for all signatures: a State that only some of them write passes unchanged through the others
            write_only = [state for state in write_only if state not in other.alive()]
            reads |= dict.fromkeys(state for state in other.alive() if state not in write_only)
            outputs |= dict.fromkeys(_dereferenced(other.outputs))
        self.written: References = [weakref.ref(state) for state in outputs if state not in write_only]
        self.write_only: References = [weakref.ref(state) for state in write_only]
        self.outputs: References = [*self.written, *self.write_only]
        self.read_only: References = [weakref.ref(state) for state in reads if state not in outputs]
        created = [reference for reference in self.outputs if reference() in traced.created]
        self._required = [r for r in (*self.outputs, *self.read_only) if r not in created]
        self._checks_outputs = not created
        self.name: str = getattr(fun, "__qualname__", repr(fun))
        self.audit: Audit = Audit()
        self.count: int = creation_count()
        self.primed: Signature | None = first
        # Each State is an argument by itself: a list of them would have to be made and taken apart at each call.
        keywords = options.for_jax(fun, positional, len(self.written), len(self.read_only))
        self.compiled: Any = jax.jit(self._pure(fun), **keywords)

    def alive(self) -> dict[State[Any], None]:
        """All States of the plan that still exist."""
        return dict.fromkeys([*_dereferenced(self.outputs), *_dereferenced(self.read_only)])

    def any_died(self) -> bool:
        """Whether a State that the function touched when it was traced does not exist any more."""
        return any(reference() is None for reference in self._required)

    def write_only_died(self, outputs: list[State[Any] | None]) -> bool:
        """Whether one of the States that are only written does not exist any more, given all outputs."""
        return self._checks_outputs and None in outputs

    def mark_lost(self) -> None:
        """After a call that failed: States whose buffers it had already taken have no value any more."""
        for state in _dereferenced(self.written):
            leaves = jax.tree.leaves(state._value)
            if any(isinstance(leaf, jax.Array) and not _compat.trace_of(leaf) and leaf.is_deleted() for leaf in leaves):
                state._value = _overlay.Missing(
                    f"was donated to a call of jit({self.name}) that failed", "restore it before using it again"
                )

    def accepts(self, signature: Signature) -> bool:
        """Whether a trace fits the States of this plan."""
        traced = signature.traced
        inputs = {*_dereferenced(self.written), *_dereferenced(self.read_only)}
        write_only = _dereferenced(self.write_only)
        return (
            not traced.created
            and inputs >= traced.reads.keys()
            and set(_dereferenced(self.outputs)) >= traced.writes.keys()
            and all(state in traced.writes for state in write_only)
        )

    def gather(self) -> list[Any]:
        """The values of the States that go in, as the calling thread sees them: those first that are written."""
        return [_read(reference) for reference in (*self.written, *self.read_only)]

    def scatter(self, values: list[Any]) -> None:
        """Write back the values of the States that come out."""
        states = [reference() for reference in self.outputs]
        _overlay.write_all((s, value) for s, value in zip(states, values, strict=True) if s is not None)

    def _pure(self, fun: Callable[..., Any]) -> Callable[..., Any]:
        reference = weakref.ref(self)  # the plan owns the compiled function, so that must not own the plan
        states = len(self.written) + len(self.read_only)

        def pure(*given: Any, **kwargs: Any) -> tuple[Any, list[Any]]:
            values, args = given[:states], given[states:]
            plan = reference()
            assert plan is not None  # its own `compiled` is running
            if _compat.jit_disabled():
                raise JitDisabledError
            known, plan.primed = plan.primed, None
            before = creation_count()
            signature = sign(fun, args, kwargs, known)
            if signature is not known and not plan.accepts(signature):
                raise DiscoveredError(signature)
            if plan.count == before:
                plan.count = creation_count()  # the States that this trace itself made are no news
            plan.audit.record(signature)
            return plan._replay(signature.traced, values, args, kwargs)

        return like(fun, pure, states)

    def _replay(self, traced: Traced, values: Sequence[Any], args: Any, kwargs: Any) -> tuple[Any, list[Any]]:
        given = dict(zip(_dereferenced([*self.written, *self.read_only]), values, strict=True))
        state_leaves = [leaf for state in traced.reads for leaf in jax.tree.leaves(given[state])]
        dynamic, _ = split(jax.tree.leaves((args, kwargs)))
        flat = traced.replay(dynamic, state_leaves)
        size = traced.out_tree.num_leaves
        out = jax.tree.unflatten(traced.out_tree, flat[:size])
        produced: dict[State[Any], Any] = {}
        for state, tree in [*traced.writes.items(), *traced.created.items()]:
            produced[state] = jax.tree.unflatten(tree, flat[size : size + tree.num_leaves])
            size += tree.num_leaves
        states = _dereferenced(self.outputs)
        return out, [produced[state] if state in produced else given[state] for state in states]


def _dereferenced(references: Iterable[weakref.ref[State[Any]]]) -> list[State[Any]]:
    return [state for reference in references if (state := reference()) is not None]


def _read(reference: weakref.ref[State[Any]]) -> Any:
    state = reference()
    if state is None:
        raise ReferenceError
    return _overlay.read(state)
