"""What is declared again, or only after a first call, holds from then on, also where JAX keeps what it traced."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from spikax_core import XLACustomKernel, defjvp
from tests.core.operators import Function, caller, plain, product, same

X = jnp.arange(1.0, 4.0)


def _whole(made: XLACustomKernel, n: float) -> None:
    made.def_jvp_rule(lambda xs, ts: (made(*xs), n * ts[0]))


def _linear(made: XLACustomKernel, n: float) -> None:
    made.def_linear({0: lambda ct, x: n * ct})


def _divided(made: XLACustomKernel, n: float) -> None:
    made.def_partition("i -> i", compute=lambda x: n * x)


def _gradient(f: Function) -> Function:
    return lambda x: jax.grad(lambda x: f(x).sum())(x) * x


def _sharded(x: jax.Array) -> Any:
    mesh = jax.make_mesh((4,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
    return jax.device_put(jnp.resize(x, (8,)), jax.NamedSharding(mesh, jax.P("d")))


Declaration = tuple[Callable[[XLACustomKernel, float], Any], Function, Function]
DECLARATIONS: dict[str, Declaration] = {
    "reference": (lambda made, n: made.def_reference(lambda x: n * x), lambda f: f, lambda x: x),
    "kernel": (
        lambda made, n: made.def_kernel("own", "cpu", lambda i, o: lambda x: n * x),
        lambda f: f,
        lambda x: x,
    ),
    "whole rule": (_whole, _gradient, lambda x: x),
    "rule per input": (lambda made, n: made.def_jvp_rule2(lambda t, x: n * t), _gradient, lambda x: x),
    "linear": (_linear, _gradient, lambda x: x),
    "batching rule": (
        lambda made, n: made.def_batching_rule(lambda size, args, axes: (n * args[0], axes[0])),
        jax.vmap,
        lambda x: x,
    ),
    "fold": (lambda made, n: made.def_fold(0, lambda x: n * x), jax.vmap, lambda x: x),
    "partition": (_divided, lambda f: f, _sharded),
}


@pytest.mark.parametrize("name", DECLARATIONS)
def test_a_declaration_that_replaces_another_holds_from_then_on(name: str) -> None:
    declare, transform, place = DECLARATIONS[name]
    made, x = XLACustomKernel("identity", reference=lambda x: x), place(X)
    made.def_shape_rule(lambda x: x)
    inside = jax.jit(lambda x: made(x))
    outside = jax.jit(transform(lambda x: made(x)))
    for n in (2.0, 3.0, 2.0):
        declare(made, n)
        for run in (transform(inside), outside, jax.jit(transform(inside))):
            same(run(x), n * x)


@pytest.mark.parametrize("name", ["kernel", "reference"])
def test_a_kernel_that_replaces_another_serves_eager_calls_at_once(name: str) -> None:
    made = XLACustomKernel("identity", reference=lambda x: x)
    made.def_shape_rule(lambda x: x)
    same(made(X), X)
    for n in (2.0, 3.0):
        DECLARATIONS[name][0](made, n)
        same(made(X), n * X)


def test_a_transpose_that_replaces_another_holds_from_then_on() -> None:
    made = XLACustomKernel("identity", reference=lambda x: x)
    made.def_shape_rule(lambda x: x)
    made.def_jvp_rule2(lambda t, x: made(t))
    inside = jax.jit(lambda x: made(x).sum())
    outside = jax.jit(jax.grad(lambda x: made(x).sum()))
    for n in (2.0, 3.0):
        made.def_transpose_rule(lambda ct, x, n=n: [n * ct])
        for run in (jax.grad(inside), outside):
            same(run(X), n * jnp.ones(3))


def test_a_shape_rule_that_replaces_another_holds_from_then_on() -> None:
    made = XLACustomKernel("counted", reference=lambda x: x)
    made.def_kernel("own", "cpu", lambda i, o: lambda x: jnp.resize(x, o[0].shape))
    jitted = jax.jit(lambda x: made(x))
    for n in (2, 5):
        made.def_shape_rule(lambda x, n=n: jax.ShapeDtypeStruct((n,), x.dtype))
        assert jitted(X).shape == made(X).shape == (n,)


def test_rules_of_a_primitive_that_replace_others_hold_from_then_on() -> None:
    primitive = plain("product_p", product)
    inside = jax.jit(lambda x: caller(primitive)(x, X).sum())
    outside = jax.jit(jax.grad(lambda x: caller(primitive)(x, X).sum()))
    for n in (2.0, 3.0):
        defjvp(primitive, lambda t, x, y, n=n: n * t, None)
        for run in (jax.grad(inside), outside):
            same(run(X), n * jnp.ones(3))


def test_a_declaration_before_the_first_call_lets_nothing_be_traced_again() -> None:
    traces = []

    @jax.jit
    def other(x: jax.Array) -> jax.Array:
        traces.append(x)
        return 2 * x

    other(X)
    for name, (declare, _, _) in DECLARATIONS.items():
        made = XLACustomKernel(name, reference=lambda x: x)
        made.def_shape_rule(lambda x: x)
        declare(made, 2.0)
        other(X)
    assert len(traces) == 1
