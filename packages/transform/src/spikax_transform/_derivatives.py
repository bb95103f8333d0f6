"""`grad`, `jacrev` and their like: each is one of JAX's derivatives, put into the common mechanism."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from . import _compat
from ._gradient import GradientOptions, GradientTransform, Kind


def _grad(pure: Callable[..., Any], argnums: int | tuple[int, ...], options: GradientOptions) -> Callable[..., Any]:
    return jax.grad(pure, argnums, has_aux=True, holomorphic=options.holomorphic, allow_int=options.allow_int)


def _jacrev(pure: Callable[..., Any], argnums: int | tuple[int, ...], options: GradientOptions) -> Callable[..., Any]:
    return jax.jacrev(pure, argnums, has_aux=True, holomorphic=options.holomorphic, allow_int=options.allow_int)


def _vector_grad(
    pure: Callable[..., Any], argnums: int | tuple[int, ...], options: GradientOptions
) -> Callable[..., Any]:
    wanted = jnp.complexfloating if options.holomorphic else jnp.floating

    def require(leaf: Any, what: str) -> None:
        dtype = _compat.aval_of(leaf).dtype
        if not jnp.issubdtype(dtype, wanted) and not (what == "inputs" and options.allow_int):
            raise TypeError(f"vector_grad got {what} of dtype {dtype}; expected {wanted.__name__}.")

    def derivative(*primals: Any) -> tuple[Any, Any]:
        jax.tree.map(lambda leaf: require(leaf, "inputs"), primals)
        out, pullback, aux = jax.vjp(pure, *primals, has_aux=True)
        jax.tree.map(lambda leaf: require(leaf, "outputs"), out)
        grads = pullback(jax.tree.map(jnp.ones_like, out))
        return (grads[0] if argnums == 0 else grads), aux

    return derivative


GRAD = Kind("grad", _grad, per_output=False)
VECTOR_GRAD = Kind("vector_grad", _vector_grad, per_output=False)
JACREV = Kind("jacrev", _jacrev, per_output=True)


def make(kind: Kind, fun: Callable[..., Any] | None, grad_states: Any, argnums: Any, rest: dict[str, Any]) -> Any:
    """The transform of `fun`, or a decorator if `fun` is left out."""
    options = GradientOptions(grad_states, argnums, **rest)
    if fun is None:
        return lambda fun: GradientTransform(kind, fun, options)
    if not callable(fun):
        raise TypeError(f"{kind.name} got a {type(fun).__name__} as its first argument; expected a function.")
    return GradientTransform(kind, fun, options)


def grad(
    fun: Callable[..., Any] | None = None,
    grad_states: Any = None,
    argnums: int | Sequence[int] | None = None,
    has_aux: bool | None = None,
    return_value: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
    unit_aware: bool = False,
    check_states: bool = True,
) -> Any:
    """The gradient of a function with a scalar result, with respect to States, arguments, or both.

    Args:
        fun: the function; left out, `grad` is a decorator.
        grad_states: a State, or lists, tuples and dicts of States, to differentiate with respect to.
        argnums: which positional arguments to differentiate with respect to; 0 if there are no ``grad_states``.
        has_aux: ``fun`` returns a pair ``(result, anything)``.
        return_value: return the result as well.
        holomorphic: ``fun`` is promised to be holomorphic.
        allow_int: integers among the inputs get a derivative of dtype ``float0``.
        unit_aware: not supported yet.
        check_states: raise if a State of ``grad_states`` is never read; else its gradient is zero.

    Returns:
        A function that returns ``gradients``, and then the value and the auxiliary data if asked for. The gradients
        are those of the arguments if there are no ``grad_states``, those of the States if there are no ``argnums``,
        or else the pair ``(of the States, of the arguments)``. The derivative is taken at the values that the States
        hold on entry; what the function writes to States is kept.

    Raises:
        UnreadStateError: a State of ``grad_states`` is never read.
        GradStatesError: ``grad_states`` holds something else than States of floating-point numbers.
        ArgumentNumberError: ``argnums`` names an argument that the call does not have.
        AuxError: ``has_aux=True`` and the function did not return a pair.

    >>> import jax.numpy as jnp
    >>> from spikax_transform import ParamState, grad
    >>> w = ParamState(jnp.float32(3))
    >>> def loss(x):
    ...     return (w.value * x) ** 2
    >>> grad(loss, w)(jnp.float32(2))
    Array(24., dtype=float32)
    >>> grad(loss, {"w": w}, argnums=0, return_value=True)(jnp.float32(2))
    (({'w': Array(24., dtype=float32)}, Array(36., dtype=float32)), Array(36., dtype=float32))
    """
    rest = _settings(has_aux, return_value, holomorphic, allow_int, unit_aware, check_states)
    return make(GRAD, fun, grad_states, argnums, rest)


def vector_grad(
    fun: Callable[..., Any] | None = None,
    grad_states: Any = None,
    argnums: int | Sequence[int] | None = None,
    has_aux: bool | None = None,
    return_value: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
    unit_aware: bool = False,
    check_states: bool = True,
) -> Any:
    """The gradient of the sum of all outputs: `grad` for a function with any result.

    Arguments, result and errors are those of `grad`.

    >>> import jax.numpy as jnp
    >>> from spikax_transform import vector_grad
    >>> vector_grad(jnp.square)(jnp.arange(3.0))
    Array([0., 2., 4.], dtype=float32)
    """
    rest = _settings(has_aux, return_value, holomorphic, allow_int, unit_aware, check_states)
    return make(VECTOR_GRAD, fun, grad_states, argnums, rest)


def jacrev(
    fun: Callable[..., Any] | None = None,
    grad_states: Any = None,
    argnums: int | Sequence[int] | None = None,
    has_aux: bool | None = None,
    return_value: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
    unit_aware: bool = False,
    check_states: bool = True,
) -> Any:
    """The Jacobian of a function, row by row in reverse mode, with respect to States, arguments, or both.

    Arguments, errors and the order of the result are those of `grad`. Each block has the shape of an output followed
    by the shape of the value that it is differentiated with respect to; if the output is a pytree, so is the Jacobian,
    with such blocks at its leaves.

    >>> import jax.numpy as jnp
    >>> from spikax_transform import HiddenState, jacrev
    >>> h = HiddenState(jnp.array([1.0, 2.0]))
    >>> def step(x):
    ...     h.value = 0.5 * h.value + x
    ...     return h.value
    >>> jacobian, value = jacrev(step, h, return_value=True)(jnp.ones(2))
    >>> jacobian
    Array([[0.5, 0. ],
           [0. , 0.5]], dtype=float32)
    >>> h.value
    Array([1.5, 2. ], dtype=float32)
    """
    rest = _settings(has_aux, return_value, holomorphic, allow_int, unit_aware, check_states)
    return make(JACREV, fun, grad_states, argnums, rest)


jacobian = jacrev


def _settings(
    has_aux: bool | None, return_value: bool, holomorphic: bool, allow_int: bool, unit_aware: bool, check_states: bool
) -> dict[str, Any]:
    return {
        "has_aux": has_aux,
        "return_value": return_value,
        "holomorphic": holomorphic,
        "allow_int": allow_int,
        "unit_aware": unit_aware,
        "check_states": check_states,
    }
