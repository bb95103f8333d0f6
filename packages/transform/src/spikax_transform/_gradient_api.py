"""The public gradient transforms. Their precise types, one for each structure of the result, are in the stub beside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ._derivatives import FWD_GRAD, GRAD, HESSIAN, JACFWD, JACREV, VALUE_AND_GRAD, VECTOR_GRAD, make
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
        unit_aware: gradients carry the unit of the result over that of the input, by ``saiunit.autograd``.
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
        MissingExtraError: ``unit_aware=True`` and saiunit is not installed.

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


def value_and_grad(
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
    """The value of a function with a scalar result and its gradient, in the order of `jax.value_and_grad`.

    Arguments and errors are those of `grad`.

    Returns:
        A function that returns ``(value, gradients)``, or with ``has_aux=True`` ``((value, aux), gradients)``; with
        ``return_value=True`` what `grad` returns, ``(gradients, value)`` or ``(gradients, value, aux)``.

    >>> import jax.numpy as jnp
    >>> from spikax_transform import ParamState, value_and_grad
    >>> w = ParamState(jnp.float32(3))
    >>> value_and_grad(lambda x: w.value * x**2, w)(jnp.float32(2))
    (Array(12., dtype=float32), Array(4., dtype=float32))
    """
    options = GradientOptions(
        grad_states, argnums, has_aux, return_value, holomorphic, allow_int, unit_aware, check_states
    )
    return make(VALUE_AND_GRAD, fun, options)


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


def fwd_grad(
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
    """The gradient of a function with a scalar result in forward mode: the blocks of `grad`, found another way.

    It pushes one tangent forward for each number that is differentiated, all in one pass, and keeps nothing for the
    way back. So it is for few numbers and many steps, such as one time constant in a long simulation, and for loops
    that reverse mode refuses. Arguments, result and errors are those of `grad`.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> from spikax_transform import ParamState, fwd_grad
    >>> decay = ParamState(jnp.float32(0.5))
    >>> def loss(v):
    ...     factor = decay.value
    ...     return jax.lax.fori_loop(0, jnp.int32(3), lambda _, v: v * factor, v)
    >>> fwd_grad(loss, decay)(jnp.float32(8))
    Array(6., dtype=float32)
    """
    options = GradientOptions(
        grad_states, argnums, has_aux, return_value, holomorphic, allow_int, unit_aware, check_states
    )
    return make(FWD_GRAD, fun, options)


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
    with such blocks at its leaves. With ``allow_int=True`` the blocks of integers are zeros of their dtype, as in JAX.

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


def jacfwd(
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
    """The Jacobian of a function, column by column in forward mode: the blocks of `jacrev`, found another way.

    For outputs with more numbers than what is differentiated. Arguments, result and errors are those of `jacrev`.

    >>> import jax.numpy as jnp
    >>> from spikax_transform import ParamState, jacfwd
    >>> rate = ParamState(jnp.float32(2))
    >>> jacfwd(lambda times: jnp.exp(-rate.value * times), rate)(jnp.array([0.5, 1.0]))
    Array([-0.18393973, -0.13533528], dtype=float32)
    """
    options = GradientOptions(
        grad_states, argnums, has_aux, return_value, holomorphic, allow_int, unit_aware, check_states
    )
    return make(JACFWD, fun, options)


def hessian(
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
    """The second derivatives of a function, by forward mode over reverse mode.

    Arguments and errors are those of `grad`, and so is the order of the result. With States and arguments, the blocks
    are ``((H_ss, H_sa), (H_as, H_aa))``: ``H_sa`` has the structure of ``grad_states``, with that of the arguments at
    each of its leaves. The shape of a block is that of the output, of the first and of the second input. If the output
    is a pytree, each of the four is one, with such blocks at its leaves.

    >>> import jax.numpy as jnp
    >>> from spikax_transform import ParamState, hessian
    >>> w = ParamState(jnp.float32(3))
    >>> hessian(lambda x: w.value**2 * x, w)(jnp.float32(2))
    Array(4., dtype=float32)
    >>> (ww, wx), (xw, xx) = hessian(lambda x: w.value**2 * x, w, argnums=0)(jnp.float32(2))
    >>> float(ww), float(wx), float(xw), float(xx)
    (4.0, 6.0, 6.0, 0.0)
    """
    options = GradientOptions(
        grad_states, argnums, has_aux, return_value, holomorphic, allow_int, unit_aware, check_states
    )
    return make(HESSIAN, fun, options)


jacobian = jacrev
