"""A traced loop body as a program over plain leaves, found again by structure so that nothing compiles twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
from jax import lax

from . import _compat
from ._carry import same_strength
from ._checkpointed import checkpointed_steps
from ._intern import Interned, UnkeyableError, jaxpr_key
from ._progress import Meter, run_blocks

Leaves: TypeAlias = list[Any]
Program: TypeAlias = Callable[[Leaves, Leaves, Leaves], tuple[Leaves, Leaves]]


@dataclass(frozen=True)
class LoopSpec:
    """What a loop's program depends on besides its body's jaxpr.

    ``sources`` says for each State leaf that the body reads whether it is a constant or part of the carry, and where.
    """

    consts: int
    length: int
    reverse: bool
    unroll: int  # never a bool, because `True` would equal 1
    user_carry: int
    xs: int
    sources: tuple[tuple[bool, int], ...]
    ys: int
    meter: Meter | None
    base: int | None = None  # of a loop that is computed again block by block in the backward pass


# Enough for any model, small enough that a program that makes loops without end stays bounded.
_programs = Interned[Program](capacity=512)


def run_loop(
    jaxpr: _compat.Jaxpr, spec: LoopSpec, body_consts: Sequence[Any], consts: Leaves, carry: Leaves, xs: Leaves
) -> tuple[Leaves, Leaves]:
    """Run the loop: inlined if something around is being staged, else as one compiled, remembered program."""
    operands = [*body_consts, *consts]
    if _compat.under_staging() or _compat.jit_disabled():
        return _make(jaxpr, spec)(operands, carry, xs)
    try:
        key = (jaxpr_key(jaxpr), spec)
    except UnkeyableError:
        return _make(jaxpr, spec)(operands, carry, xs)
    return _programs.get(key, lambda: jax.jit(_make(jaxpr, spec)))(operands, carry, xs)


def _make(jaxpr: _compat.Jaxpr, spec: LoopSpec) -> Program:

    def loop(operands: Leaves, carry: Leaves, xs: Leaves) -> tuple[Leaves, Leaves]:
        body_consts, consts = operands[: spec.consts], operands[spec.consts :]

        def step(carry: Leaves, x: Leaves) -> tuple[Leaves, Leaves]:
            reads = [carry[i] if is_carry else consts[i] for is_carry, i in spec.sources]
            out = _compat.eval_jaxpr(jaxpr, [*body_consts, *carry[: spec.user_carry], *x, *reads])
            following, ys = out[: spec.user_carry], out[spec.user_carry : spec.user_carry + spec.ys]
            following += out[spec.user_carry + spec.ys :]
            return [same_strength(leaf, before) for leaf, before in zip(following, carry, strict=True)], ys

        plain = spec.base is None and spec.meter is None
        if plain and (done := _as_it_was_traced(jaxpr, spec, operands, carry, xs)) is not None:
            return done
        if spec.base is not None:
            return checkpointed_steps(step, carry, xs, spec.length, spec.base, reverse=spec.reverse)
        if spec.meter is None:
            return lax.scan(step, carry, xs, length=spec.length, reverse=spec.reverse, unroll=spec.unroll)
        return run_blocks(step, carry, xs, spec.meter, reverse=spec.reverse, unroll=spec.unroll)

    return loop


def _as_it_was_traced(
    jaxpr: _compat.Jaxpr, spec: LoopSpec, operands: Leaves, carry: Leaves, xs: Leaves
) -> tuple[Leaves, Leaves] | None:
    """The loop with the body's program as it is, so that JAX does not trace it a second time; `None` if it has to."""
    end = spec.consts + spec.user_carry
    body_consts, user_carry = jaxpr.invars[: spec.consts], jaxpr.invars[spec.consts : end]
    x_vars, reads = jaxpr.invars[end : end + spec.xs], jaxpr.invars[end + spec.xs :]
    consts: list[Any] = [None] * (len(operands) - spec.consts)
    carried: list[Any] = [*user_carry, *[None] * (len(carry) - spec.user_carry)]
    for var, (is_carry, place) in zip(reads, spec.sources, strict=True):
        (carried if is_carry else consts)[place] = var
    outs, ys = jaxpr.outvars, spec.user_carry + spec.ys
    following = [*outs[: spec.user_carry], *outs[ys:]]
    return _compat.scan_jaxpr(
        jaxpr,
        ([*body_consts, *consts], carried, x_vars),
        (following, outs[spec.user_carry : ys]),
        (operands, carry, xs),
        length=spec.length,
        reverse=spec.reverse,
        unroll=spec.unroll,
    )
