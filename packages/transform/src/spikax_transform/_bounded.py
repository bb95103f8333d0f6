"""`bounded_while_loop`: a while loop of at most so many steps, which reverse mode can go through."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import lax

from . import _compat
from ._errors import LoopLengthError
from ._run import FlatProgram, Leaves, run
from ._while import Loop, LoopParts

Carry = TypeVar("Carry")


def bounded_while_loop(
    cond_fun: Callable[[Carry], Any],
    body_fun: Callable[[Carry], Carry],
    init: Carry,
    *,
    max_steps: int,
    base: int = 16,
) -> Carry:
    """`while_loop` of at most ``max_steps`` steps, which can be differentiated in reverse mode.

    The steps are the leaves of a tree with ``base`` branches at each node. A branch in which nothing is to be done is
    skipped, and the backward pass computes one branch again at a time: memory grows with ``base * log(max_steps)``.
    Under `vmap` no lane is skipped before all have ended; the ones that have keep their values and get no gradient of
    further steps.

    Args:
        cond_fun: ``cond_fun(carry)`` is a boolean scalar.
        body_fun: ``body_fun(carry)`` is the next carry, of the same structure, shapes and dtypes.
        init: the first carry, a pytree.
        max_steps: the loop ends after so many steps even if the condition is still true.
        base: larger is faster and takes more memory.

    Returns:
        The last carry.

    Raises:
        LoopLengthError: ``max_steps`` is negative, or ``base`` is less than 2.
        PredicateError: ``cond_fun`` does not return a scalar boolean.
        CarryTypeError: the functions change the structure, shape or dtype of the carry or of a State.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> from spikax_transform import bounded_while_loop
    >>> def double(x):
    ...     return bounded_while_loop(lambda x: x < 10, lambda x: 2 * x, x, max_steps=100)
    >>> double(3.0), jax.grad(double)(3.0)
    (Array(12., dtype=float32, weak_type=True), Array(4., dtype=float32, weak_type=True))
    """
    if max_steps < 0:
        raise LoopLengthError(f"bounded_while_loop got max_steps={max_steps}; expected zero or more steps.")
    if base < 2:
        raise LoopLengthError(f"bounded_while_loop got base={base}; expected 2 or more.")
    loop = Loop("bounded_while_loop", cond_fun, body_fun, init, (int(max_steps), int(base)))
    out = run(_make, loop.jaxprs, loop.spec, loop.consts, loop.carry, loop.constants)
    result: Carry = loop.finish(out)
    return result


def _make(jaxprs: Sequence[_compat.Jaxpr], spec: LoopParts) -> FlatProgram:
    assert spec.bound is not None  # made by `bounded_while_loop` only
    cond, body = jaxprs
    max_steps, base = spec.bound

    def program(consts: list[Leaves], carry: Leaves, constants: Leaves) -> Leaves:
        def step(whole: Any) -> Any:
            going, carry, safe = whole
            # A lane that has ended takes part in the steps of the others under `vmap`. What it computes is not used,
            # but the derivative of it is multiplied by zero, and zero times infinity is not a number. So such a lane
            # repeats its last real step.
            given = jax.tree.map(lambda now, last: jnp.where(going, now, last), carry, safe)
            still, following = spec.test(cond, consts[0], spec.step(body, consts[1], given, constants), constants)
            following = [jnp.where(going, new, old) for new, old in zip(following, carry, strict=True)]
            return going & still, following, lax.stop_gradient(given)

        going, carry = spec.test(cond, consts[0], carry, constants)
        last = _tree(step, max_steps, base)((going, carry, lax.stop_gradient(carry)))
        return last[1]  # type: ignore[no-any-return]

    return program


def _tree(step: Callable[[Any], Any], steps: int, base: int) -> Callable[[Any], Any]:
    """A function that does `steps` steps, or as many as are needed."""
    if steps == 0:
        return lambda whole: whole
    if steps == 1:
        return _while_going(step)
    block = 1
    while block * base < steps:
        block *= base
    count, rest = divmod(steps, block)
    inner = _while_going(jax.checkpoint(_tree(step, block, base), prevent_cse=False))
    tail = _while_going(jax.checkpoint(_tree(step, rest, base), prevent_cse=False))

    def many(whole: Any) -> Any:
        return tail(lax.scan(lambda carry, _: (inner(carry), None), whole, length=count)[0])

    return many


def _while_going(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda whole: lax.cond(whole[0], function, lambda same: same, whole)
