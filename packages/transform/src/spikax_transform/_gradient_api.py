"""The public gradient transforms. Their precise types, one for each structure of the result, are in the stub beside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ._derivatives import GRAD, JACREV, VECTOR_GRAD, make
from ._gradient import GradientOptions


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
    options = GradientOptions(
        grad_states, argnums, has_aux, return_value, holomorphic, allow_int, unit_aware, check_states
    )
    return make(GRAD, fun, options)


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
    options = GradientOptions(
        grad_states, argnums, has_aux, return_value, holomorphic, allow_int, unit_aware, check_states
    )
    return make(VECTOR_GRAD, fun, options)


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
    options = GradientOptions(
        grad_states, argnums, has_aux, return_value, holomorphic, allow_int, unit_aware, check_states
    )
    return make(JACREV, fun, options)


jacobian = jacrev
