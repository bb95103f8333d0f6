"""``assert_max_traces``, and the property that new values are no reason to trace or compile again."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

import jax

from spikax_core._compat import count_compilations
from spikax_core._describe import describe
from spikax_core._errors import ParameterError, SpikaxError

from ._compare import Check
from ._subject import Arrays, Subject

P = ParamSpec("P")
R = TypeVar("R")


class TooManyTracesError(SpikaxError, AssertionError):
    """A function was traced more often than allowed.

    The message has the types of the arguments at each trace. If they are alike, something that is not an array changed:
    a static argument, a closure, or a function made anew for each call.
    """


def assert_max_traces(function: Callable[P, R], most: int = 1) -> Callable[P, R]:
    """Let JAX trace ``function`` at most so many times.

    A trace costs a hundred times what a call of the compiled program costs, and gives no other sign.

    Args:
        function: The function to guard, before ``jax.jit``.
        most: How often it may be traced: once for each set of types of its arguments.

    Returns:
        ``function``, which raises once its Python code runs more than ``most`` times.

    Raises:
        ParameterError: ``most`` is not a positive integer.
        TooManyTracesError: Raised by the returned function.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from spikax_core.testing import assert_max_traces
        >>> double = jax.jit(assert_max_traces(lambda x: 2 * x))
        >>> double(jnp.arange(3)), double(jnp.arange(3) + 1)
        (Array([0, 2, 4], dtype=int32), Array([2, 4, 6], dtype=int32))
        >>> double(jnp.arange(4))
        Traceback (most recent call last):
          ...
        spikax_core.testing._traces.TooManyTracesError: <lambda>: got trace 2; expected at most 1...
    """
    if isinstance(most, bool) or not isinstance(most, int) or most < 1:
        raise ParameterError(f"most: got {most!r}; expected a positive integer")
    name, seen = getattr(function, "__name__", type(function).__name__), list[str]()

    @functools.wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        seen.append(", ".join(map(describe, jax.tree.leaves((args, kwargs)))))
        if len(seen) > most:
            raise TooManyTracesError(
                f"{name}: got trace {len(seen)}; expected at most {most}. Arguments at each trace:\n"
                + "\n".join(f"  {i}: ({types})" for i, types in enumerate(seen, 1))
            )
        return function(*args, **kwargs)

    return guarded


def retrace(subject: Subject) -> Iterator[Check]:
    """A second call, on operands of the same types and other values, compiles nothing."""
    yield Check("traces under jit, after a call with other values", lambda: _jitted(subject), lambda: 1)

    def gradient(*args: jax.Array) -> object:
        smooth = subject.smooth_at(args)
        return jax.vjp(smooth, *(args[i] for i in subject.argnums))[1](subject.cotangents)

    def tangent(*args: jax.Array) -> object:
        return jax.jvp(subject.smooth_at(args), tuple(args[i] for i in subject.argnums), subject.tangents)

    functions: dict[str, Callable[..., object]] = {"call": subject.call}
    if subject.args:
        functions["vmap"] = lambda *args: jax.vmap(subject.call)(*(arg[None] for arg in args))
    if subject.differentiable:
        functions |= {"jvp": tangent, "vjp": gradient}
    for name, function in functions.items():
        again = functools.partial(_compilations, function, subject.args, subject.lanes[-1])
        yield Check(f"compilations by an eager {name}, after one with other values", again, lambda: 0)


def _jitted(subject: Subject) -> int:
    """How often ``jit`` traces two calls with operands of the same types."""
    traces = 0

    def counted(*args: jax.Array) -> object:
        nonlocal traces
        traces += 1
        return subject.call(*args)

    function = jax.jit(counted)
    jax.block_until_ready((function(*subject.args), function(*subject.lanes[-1])))
    return traces


def _compilations(function: Callable[..., object], first: Arrays, second: Arrays) -> int:
    """How many programs the second call compiles."""
    jax.block_until_ready(function(*first))
    with count_compilations() as count:
        jax.block_until_ready(function(*second))
    return count()
