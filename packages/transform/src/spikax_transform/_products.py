"""`vjp`, `jvp` and `linearize`: products with a Jacobian over States. Their precise types are in the stub beside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from ._errors import GradStatesError
from ._pure_call import PureCall
from ._state import format_avals
from ._targets import targets_of
from ._trace import refuse_states


def vjp(
    f: Callable[..., Any],
    *primals: Any,
    grad_states: Any = None,
    has_aux: bool = False,
    check_states: bool = True,
) -> Any:
    """`jax.vjp` for a function that reads and writes States.

    Args:
        f: the function.
        *primals: its arguments, all of which are differentiated.
        grad_states: a State, or lists, tuples and dicts of States, to differentiate with respect to as well.
        has_aux: ``f`` returns a pair ``(result, anything)``.
        check_states: raise if a State of ``grad_states`` is never read; else its cotangent is zero.

    Returns:
        ``(result, pullback)``, and the auxiliary data if asked for. ``pullback(cotangent)``, of a cotangent with the
        structure, shapes and dtypes of the result, gives the cotangents of the arguments, a tuple; with ``grad_states``
        the pair ``(of the States, of the arguments)``. ``f`` has run once, and what it wrote to States is kept; the
        pullback runs none of its Python and touches no State.

    Raises:
        UnreadStateError: a State of ``grad_states`` is never read.
        GradStatesError: ``grad_states`` holds something else than States.
        AuxError: ``has_aux=True`` and the function did not return a pair.

    >>> import jax.numpy as jnp
    >>> from spikax_transform import ParamState, vjp
    >>> w = ParamState(jnp.array([1.0, 2.0]))
    >>> out, pullback = vjp(lambda x: w.value * x, jnp.float32(3), grad_states=w)
    >>> out
    Array([3., 6.], dtype=float32)
    >>> pullback(jnp.array([1.0, 10.0]))
    (Array([ 3., 30.], dtype=float32), (Array(21., dtype=float32),))
    """
    call = _call("vjp", f, primals, grad_states, has_aux, check_states, many=grad_states is not None)
    out, pullback, tracers = jax.vjp(call.pure, *call.primals(), has_aux=True)
    return _finished(call, out, pullback, tracers)


def jvp(
    f: Callable[..., Any],
    primals: tuple[Any, ...] | list[Any],
    tangents: tuple[Any, ...] | list[Any],
    *,
    grad_states: Any = None,
    state_tangents: Any = None,
    has_aux: bool = False,
    check_states: bool = True,
) -> Any:
    """`jax.jvp` for a function that reads and writes States.

    Args:
        f: the function.
        primals: its arguments.
        tangents: their tangents, of the same structure, shapes and dtypes.
        grad_states: a State, or lists, tuples and dicts of States, that have tangents as well.
        state_tangents: these, in the same structure.
        has_aux: ``f`` returns a pair ``(result, anything)``.
        check_states: raise if a State of ``grad_states`` is never read.

    Returns:
        ``(result, tangent)``, and the auxiliary data if asked for. What ``f`` writes to States is kept, without its
        tangent.

    Raises:
        UnreadStateError: a State of ``grad_states`` is never read.
        GradStatesError: ``grad_states`` holds something else than States, or ``state_tangents`` does not fit it.
        AuxError: ``has_aux=True`` and the function did not return a pair.

    >>> import jax.numpy as jnp
    >>> from spikax_transform import HiddenState, jvp
    >>> v = HiddenState(jnp.float32(2))
    >>> def step(x):
    ...     v.value = v.value * x
    ...     return v.value
    >>> jvp(step, (jnp.float32(3),), (jnp.float32(0),), grad_states=v, state_tangents=jnp.float32(1))
    (Array(6., dtype=float32), Array(3., dtype=float32))
    """
    for what, given in (("primals", primals), ("tangents", tangents)):
        if not isinstance(given, tuple | list):
            raise TypeError(f"jvp got {what} of type {type(given).__name__}; expected a tuple with all arguments of f.")
    call = _call("jvp", f, tuple(primals), grad_states, has_aux, check_states)
    given = (*_state_tangents(call, state_tangents), *tangents)
    out, tangent, tracers = jax.jvp(call.pure, call.primals(), given, has_aux=True)
    return _finished(call, out, tangent, tracers)


def linearize(
    f: Callable[..., Any],
    *primals: Any,
    grad_states: Any = None,
    has_aux: bool = False,
    check_states: bool = True,
) -> Any:
    """`jax.linearize` for a function that reads and writes States: `jvp` at one point, for many tangents.

    Arguments and errors are those of `vjp`.

    Returns:
        ``(result, pushforward)``, and the auxiliary data if asked for. ``pushforward(*tangents)``, with ``grad_states``
        ``pushforward(state_tangents, *tangents)``, gives the tangent of the result; it runs none of the Python of ``f``
        and touches no State.

    >>> import jax.numpy as jnp
    >>> from spikax_transform import ParamState, linearize
    >>> w = ParamState(jnp.float32(2))
    >>> out, pushforward = linearize(lambda x: w.value * x**2, jnp.float32(3), grad_states=w)
    >>> out, pushforward(jnp.float32(1), jnp.float32(0)), pushforward(jnp.float32(0), jnp.float32(1))
    (Array(18., dtype=float32), Array(9., dtype=float32), Array(12., dtype=float32))
    """
    call = _call("linearize", f, primals, grad_states, has_aux, check_states)
    out, pushforward, tracers = jax.linearize(call.pure, *call.primals(), has_aux=True)
    return _finished(call, out, pushforward, tracers)


def _call(
    name: str,
    f: Callable[..., Any],
    primals: tuple[Any, ...],
    grad_states: Any,
    has_aux: bool,
    check_states: bool,
    many: bool = False,
) -> PureCall:
    if not callable(f):
        raise TypeError(f"{name} got a {type(f).__name__} as its first argument; expected a function.")
    if not primals and grad_states is None:
        raise TypeError(f"{name} got neither arguments nor grad_states; expected something to differentiate.")
    refuse_states(jax.tree.leaves(primals), name, "passed to")
    targets = None if grad_states is None else targets_of(grad_states, name)
    return PureCall(name, f, primals, {}, targets, tuple(range(len(primals))), many, has_aux, check_states)


def _state_tangents(call: PureCall, state_tangents: Any) -> tuple[Any, ...]:
    """The tangent of the first primal, if that is the States: checked, because JAX cannot name them."""
    if call.targets is None:
        if state_tangents is not None:
            raise GradStatesError("jvp got state_tangents but no grad_states; expected the States that they belong to.")
        return ()
    try:
        tangents = call.targets.tree.flatten_up_to(state_tangents)
    except ValueError as error:
        raise GradStatesError(
            f"jvp got state_tangents of the structure {jax.tree.structure(state_tangents)}; expected that of "
            f"grad_states, {call.targets.tree}, with one tangent for each State."
        ) from error
    values = call.targets.tree.flatten_up_to(call.primals()[0])
    for state, value, tangent in zip(call.targets.leaves, values, tangents, strict=True):
        if _shapes(tangent) != _shapes(value):
            raise GradStatesError(
                f"jvp got the tangent {format_avals(tangent)} for {state.describe()}; expected "
                f"{format_avals(value)}, the shape of its value."
            )
    return (state_tangents,)


def _shapes(value: Any) -> Any:
    leaves, tree = jax.tree.flatten(value)
    return tree, [np.shape(leaf) for leaf in leaves]


def _finished(call: PureCall, out: Any, derivative: Any, tracers: Any) -> Any:
    _, aux = call.finish(tracers)
    return (out, derivative, aux) if call.has_aux else (out, derivative)
