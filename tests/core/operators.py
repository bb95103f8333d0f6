"""Operators that the tests of this suite share, each beside the plain JAX function that says what is right."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spikax_core import XLACustomKernel, defjvp, general_batching_rule
from spikax_core._compat import Primitive, UndefinedPrimal, bind, set_batching, set_lowering

Function = Callable[..., Any]
FLOAT0 = jax.dtypes.float0


def same(got: Any, expected: Any, *, rtol: float = 1e-6) -> None:
    """Assert that two pytrees agree in structure, shapes, dtypes and (to rounding) values."""
    assert str(jax.tree.structure(got)) == str(jax.tree.structure(expected))
    for g, e in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert (g.shape, g.dtype) == (e.shape, e.dtype)
        if e.dtype != FLOAT0:
            np.testing.assert_allclose(g, e, rtol=rtol, atol=rtol)


def product(x: jax.Array, y: jax.Array) -> jax.Array:
    """Elementwise, with one result."""
    return x * y


def step(v: jax.Array, current: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """One step of a leaky neuron that resets: potential, spikes and a count, of three dtypes."""
    above = v * 0.5 + current * current
    spikes = above > 1
    return jnp.where(spikes, 0, above), spikes, jnp.where(spikes, 2, 1).astype(jnp.int32)


def _step_v(t: jax.Array, v: jax.Array, current: jax.Array) -> tuple[jax.Array | None, ...]:
    return jnp.where(v * 0.5 + current * current > 1, 0, t * 0.5), None, None


def _step_current(t: jax.Array, v: jax.Array, current: jax.Array) -> list[jax.Array | None]:
    return [jnp.where(v * 0.5 + current * current > 1, 0, 2 * current * t), None, None]


def plain(name: str, function: Function, *, multiple_results: bool = False) -> Primitive:
    """A JAX primitive as one would write it by hand, without any of this package's care."""
    primitive = Primitive(name)
    primitive.multiple_results = multiple_results
    primitive.def_impl(function)

    def avals(*ins: jax.core.ShapedArray, **params: Any) -> Any:
        structs = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in ins]
        outs = jax.eval_shape(lambda *xs: function(*xs, **params), *structs)
        return jax.tree.map(lambda out: jax.core.ShapedArray(out.shape, out.dtype), outs)

    primitive.def_abstract_eval(avals)
    set_lowering(primitive, None, lambda i, o, params, _: lambda *ins: jax.tree.leaves(function(*ins, **params)))
    return primitive


def caller(operator: Primitive | XLACustomKernel) -> Function:
    """What to call to bind it."""
    if isinstance(operator, XLACustomKernel):
        return operator
    return lambda *ins, **params: bind(operator, ins, params)


def kernel(name: str, function: Function) -> XLACustomKernel:
    """An operator with ``function`` as its reference, and the shapes that follow from it."""
    operator = XLACustomKernel(name, reference=function)
    operator.def_shape_rule(lambda *ins, **params: jax.eval_shape(lambda *xs: function(*xs, **params), *ins))
    return operator


def matvec() -> XLACustomKernel:
    """The product of a matrix and a vector, whose rules call the operator itself, as a kernel's do."""
    operator = kernel("matvec", lambda w, x: w @ x)
    outer = kernel("outer", jnp.outer)
    transposed = kernel("matvec_transposed", lambda ct, w: ct @ w)
    operator.def_jvp_rule2(lambda t, w, x: operator(t, x), lambda t, w, x: operator(w, t))

    def transpose(ct: jax.Array, w: Any, x: Any) -> tuple[jax.Array | None, jax.Array | None]:
        if isinstance(w, UndefinedPrimal):
            return outer(ct, x), None
        return None, transposed(ct, w)

    operator.def_transpose_rule(transpose)
    outer.def_jvp_rule2(lambda t, ct, x: jnp.outer(t, x), lambda t, ct, x: jnp.outer(ct, t))
    transposed.def_jvp_rule2(lambda t, ct, w: t @ w, lambda t, ct, w: ct @ t)
    return operator


def single_primitive() -> Function:
    """``product`` as a primitive with one result."""
    primitive = plain("product_p", product)
    set_batching(primitive, functools.partial(general_batching_rule, primitive))
    defjvp(primitive, lambda t, x, y: t * y, lambda t, x, y: x * t)
    return caller(primitive)


def multiple_primitive() -> Function:
    """``step`` as a primitive with several results."""
    primitive = plain("step_p", step, multiple_results=True)
    set_batching(primitive, functools.partial(general_batching_rule, primitive))
    defjvp(primitive, _step_v, _step_current)
    return lambda v, current: tuple(bind(primitive, (v, current), {}))


def single_kernel() -> Function:
    """``product`` as an operator with one result."""
    operator = kernel("product", product)
    defjvp(operator, lambda t, x, y: t * y, lambda t, x, y: x * t)
    return operator


def multiple_kernel() -> Function:
    """``step`` as an operator with several results."""
    operator = kernel("step", step)
    operator.def_jvp_rule2(_step_v, _step_current)
    return operator


DIFFERENTIABLE = {
    "primitive, one result": (single_primitive, product),
    "primitive, several results": (multiple_primitive, step),
    "operator, one result": (single_kernel, product),
    "operator, several results": (multiple_kernel, step),
}
"""Name, maker of an operator with per-input JVP rules, and the same function in plain JAX."""
