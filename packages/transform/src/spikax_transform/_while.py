"""`while_loop`: condition and body are each traced once, and both may read and write States."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import lax

from . import _compat
from ._carry import promote, same_strength
from ._entry import Inputs, store, union
from ._errors import PredicateError
from ._run import FlatProgram, Leaves, run
from ._state import State
from ._trace import Traced, refuse_states, trace_once

Carry = TypeVar("Carry")


def while_loop(cond_fun: Callable[[Carry], Any], body_fun: Callable[[Carry], Carry], init: Carry) -> Carry:
    """`jax.lax.while_loop` for functions that read and write States: ``while cond_fun(c): c = body_fun(c)``.

    The Python of both functions runs on each call, once. Reverse-mode differentiation needs a known number of steps:
    see `bounded_while_loop`.

    Args:
        cond_fun: ``cond_fun(carry)`` is a boolean scalar; what it writes to States counts, too.
        body_fun: ``body_fun(carry)`` is the next carry, of the same structure, shapes and dtypes.
        init: the first carry, a pytree; `None` if the States say everything.

    Returns:
        The carry for which ``cond_fun`` is false.

    Raises:
        PredicateError: ``cond_fun`` does not return a scalar boolean.
        CarryTypeError: the functions change the structure, shape or dtype of the carry or of a State.

    >>> import jax.numpy as jnp
    >>> from spikax_transform import State, while_loop
    >>> steps = State(jnp.int32(0))
    >>> def halve(x):
    ...     steps.value += 1
    ...     return x / 2
    >>> while_loop(lambda x: x > 1, halve, jnp.float32(20))
    Array(0.625, dtype=float32)
    >>> int(steps.value)
    5
    """
    loop = Loop("while_loop", cond_fun, body_fun, init)
    out = run(_make, loop.jaxprs, loop.spec, loop.consts, loop.carry, loop.constants)
    result: Carry = loop.finish(out)
    return result


@dataclass(frozen=True)
class Part:
    """How condition or body takes leaves: its constants, the carry, and States that are carried or constant."""

    consts: int
    sources: tuple[tuple[bool, int], ...]
    writes: tuple[int, ...]  # which leaves of the whole carry its State outputs are


@dataclass(frozen=True)
class LoopParts:
    """A while loop's program besides the two jaxprs."""

    cond: Part
    body: Part
    user_carry: int
    bound: tuple[int, int] | None = None  # most steps and base of a loop that is bounded

    def test(self, jaxpr: _compat.Jaxpr, consts: Leaves, carry: Leaves, constants: Leaves) -> tuple[Any, Leaves]:
        """``(whether to go on, the carry with what the condition wrote)``."""
        out = self._call(jaxpr, self.cond, consts, carry, constants)
        return out[self.user_carry], _updated(carry, self.cond.writes, out[self.user_carry + 1 :])

    def step(self, jaxpr: _compat.Jaxpr, consts: Leaves, carry: Leaves, constants: Leaves) -> Leaves:
        """The next carry."""
        out = self._call(jaxpr, self.body, consts, carry, constants)
        places = (*range(self.user_carry), *self.body.writes)
        return _updated(carry, places, out)

    def _call(self, jaxpr: _compat.Jaxpr, part: Part, consts: Leaves, carry: Leaves, constants: Leaves) -> Leaves:
        reads = [carry[i] if carried else constants[i] for carried, i in part.sources]
        return _compat.eval_jaxpr(jaxpr, [*consts, *carry[: self.user_carry], *reads])


def _updated(carry: Leaves, places: Sequence[int], values: Leaves) -> Leaves:
    following = list(carry)
    for place, value in zip(places, values, strict=True):
        following[place] = same_strength(value, carry[place])
    return following


class Loop:
    """One call of a loop: both functions traced, with their operands by role."""

    def __init__(
        self,
        name: str,
        cond_fun: Callable[[Any], Any],
        body_fun: Callable[[Any], Any],
        init: Any,
        bound: tuple[int, int] | None = None,
    ) -> None:
        self._traces = self._trace(name, cond_fun, body_fun, init)
        cond, body = self._traces
        self._inputs = Inputs(self._traces, self._starts)
        self._written = union(self._traces)
        self.jaxprs = [cond.jaxpr, body.jaxpr]
        self.consts = [list(cond.consts), list(body.consts)]
        carried = [place for state in self._written for place in self._inputs.places(state)]
        fixed = [place for place in range(len(self._inputs.leaves)) if place not in set(carried)]
        roles = {place: (True, len(self._first) + i) for i, place in enumerate(carried)}
        roles |= {place: (False, i) for i, place in enumerate(fixed)}
        self.carry: Leaves = [*self._first, *(self._inputs.leaves[place] for place in carried)]
        self.constants: Leaves = [self._inputs.leaves[place] for place in fixed]
        self.spec = LoopParts(self._part(cond, roles), self._part(body, roles), len(self._first), bound)

    def _trace(
        self, name: str, cond_fun: Callable[[Any], Any], body_fun: Callable[[Any], Any], init: Any
    ) -> tuple[Traced, Traced]:
        self._first, self._tree = jax.tree.flatten(init)
        refuse_states(self._first, name, "passed to")
        self._first = [jnp.asarray(leaf) for leaf in self._first]
        self._starts: dict[State[Any], Any] = {}
        in_tree = jax.tree.structure(((init,), {}))
        while True:
            avals = [_compat.aval_of(leaf) for leaf in self._first]
            cond = trace_once(lambda c: (c, cond_fun(c)), in_tree, avals, name=name, starts=self._starts)
            _check_predicate(name, cond, len(avals))
            body = trace_once(lambda c: (body_fun(c), None), in_tree, avals, name=name, starts=self._starts)
            changed = [promote(name, traced, self._first, self._tree, self._starts) for traced in (cond, body)]
            if not any(changed):
                return cond, body

    def _part(self, traced: Traced, roles: dict[int, tuple[bool, int]]) -> Part:
        writes = tuple(roles[place][1] for state in traced.writes for place in self._inputs.places(state))
        return Part(len(traced.consts), tuple(roles[place] for place in self._inputs.sources(traced)), writes)

    def finish(self, leaves: Leaves) -> Any:
        """Write the States, and return the last carry."""
        size = len(self._first)
        store(self._written, leaves[size:], self._inputs)
        return jax.tree.unflatten(self._tree, leaves[:size])


def _make(jaxprs: Sequence[_compat.Jaxpr], spec: LoopParts) -> FlatProgram:
    cond, body = jaxprs

    def program(consts: list[Leaves], carry: Leaves, constants: Leaves) -> Leaves:
        def test(carry: Leaves) -> tuple[Any, Leaves]:
            return spec.test(cond, consts[0], carry, constants)

        def step(carry: Leaves) -> Leaves:
            return spec.step(body, consts[1], carry, constants)

        if not spec.cond.writes:
            return lax.while_loop(lambda carry: test(carry)[0], step, carry)
        # what the condition writes is carried, so that the test comes after the step
        return lax.while_loop(lambda tested: tested[0], lambda tested: test(step(tested[1])), test(carry))[1]

    return program


def _check_predicate(name: str, cond: Traced, carry: int) -> None:
    avals = cond.out_avals[carry : cond.out_tree.num_leaves]
    if len(avals) != 1 or avals[0].shape or avals[0].dtype != jnp.bool_:
        got = ", ".join(aval.str_short(True) for aval in avals) or "None"
        raise PredicateError(
            f"{name}: cond_fun returned {got}; expected one boolean scalar, bool[]. Compare, or use .any() or .all()."
        )
