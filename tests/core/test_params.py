"""Static params: they may have any name, and are told apart exactly, by what is compiled for them too."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikax_core import XLACustomKernel, defjvp, general_batching_rule
from spikax_core._compat import Primitive, set_batching
from tests.core.operators import Function, caller, plain, same

X = jnp.arange(1.0, 4.0)

# Arguments of functions, of JAX and of this package, to which params could be handed on as keywords.
NAMES = [
    "name", "primitive", "rule", "rules", "primals", "tangents", "cotangents", "linear", "args", "axes", "dims", "vals",
    "chunk", "independent", "folds", "otherwise", "call", "params", "spikax_call", "ctx", "prim", "_", "__", "platform",
    "target", "in_avals", "out_avals", "ins", "kernels", "wide", "mesh", "factors", "backends", "jaxpr", "f", "fun",
]  # fmt: skip


NAMED: dict[str, Any] = dict.fromkeys(NAMES, 3)


def scaled(x: jax.Array, /, **params: float) -> jax.Array:
    """``x`` times the sum of the params."""
    return sum(params.values()) * x


def operator(derivative: str) -> XLACustomKernel:
    """``scaled``, whose derivative and batches call a kernel with the same params."""
    made = XLACustomKernel("scaled", reference=scaled)
    made.def_shape_rule(lambda x, /, **params: x)
    made.def_kernel("own", "cpu", lambda ins, outs, /, **params: functools.partial(scaled, **params))
    if derivative == "linear":
        made.def_linear({0: lambda ct, x, /, **params: made(ct, **params)})
        return made
    if derivative == "rule2":
        made.def_jvp_rule2(lambda t, x, /, **params: made(t, **params))
    else:
        made.def_jvp_rule(lambda xs, ts, /, **params: (made(*xs, **params), made(*ts, **params)))
    made.def_transpose_rule(lambda ct, x, /, **params: [made(ct, **params)])
    return made


def batched(made: XLACustomKernel, batch: str) -> XLACustomKernel:
    if batch == "rule":
        made.def_batching_rule(lambda size, args, axes, /, **params: (made(*args, **params), axes[0]))
    if batch == "fold":
        made.def_fold(0, made)
    return made


def transforms(f: Function) -> list[Any]:
    """What each transformation makes of a function of one array."""
    return [
        f(X),
        jax.jit(f)(X),
        jax.jvp(f, (X,), (X,)),
        jax.grad(lambda x: (f(x) ** 2).sum())(X),
        jax.vmap(f)(jnp.stack([X, -X])),
        jax.vmap(jax.grad(lambda x: f(x).sum()))(jnp.stack([X, -X])),
    ]


@pytest.mark.parametrize(("derivative", "batch"), [("linear", "general"), ("rule2", "rule"), ("rule", "fold")])
def test_a_param_may_have_any_name(derivative: str, batch: str) -> None:
    made = batched(operator(derivative), batch)
    check(lambda x: made(x, **NAMED), 3 * len(NAMES))


def test_a_param_of_a_primitive_may_have_any_name_that_jax_allows() -> None:
    names = ["axes", "args", "rules", "linear", "primals", "tangents_in", "tree", "outs"]
    primitive: Primitive = plain("scaled_p", scaled)
    set_batching(primitive, functools.partial(general_batching_rule, primitive))
    defjvp(primitive, lambda t, x, /, **params: scaled(t, **params))
    check(lambda x: caller(primitive)(x, **dict.fromkeys(names, 3)), 3 * len(names))


def check(f: Function, by: int) -> None:
    for got, expected in zip(transforms(f), transforms(lambda x: by * x), strict=True):
        same(got, expected)


def test_a_param_may_have_any_name_where_the_call_is_divided() -> None:
    made = operator("linear")
    made.def_partition("i -> i")
    for kind in (jax.sharding.AxisType.Auto, jax.sharding.AxisType.Explicit):
        mesh = jax.make_mesh((4,), ("d",), axis_types=(kind,))
        with jax.set_mesh(mesh):
            x = jax.device_put(jnp.arange(8.0), jax.NamedSharding(mesh, jax.P("d")))
            out = jax.jit(lambda x: made(x, **NAMED))(x)
        np.testing.assert_array_equal(out, 3 * len(NAMES) * np.arange(8.0))


def kinds() -> XLACustomKernel:
    """An operator of which each backend, and the shape rule, sees the type and the sign of its param."""

    def number(by: Any) -> float:
        (value,) = by if isinstance(by, (tuple, frozenset)) else (by,)
        return float([bool, int, float, np.float32].index(type(value))) + (10 if np.signbit(value) else 0)

    made = XLACustomKernel("kinds", reference=lambda x, *, by: 0 * x + number(by))
    made.def_shape_rule(lambda x, *, by: x)
    return made


EQUAL: dict[str, tuple[list[Any], list[float]]] = {
    "types": ([1, True, 1.0, np.float32(1)], [1, 0, 2, 3]),
    "signs": ([0.0, -0.0, 0], [2, 12, 1]),
    "in a tuple": ([(1,), (1.0,), (True,), (-0.0,), (0.0,)], [1, 2, 0, 12, 2]),
    "in a set": ([frozenset({1}), frozenset({True})], [1, 0]),
}


@pytest.mark.parametrize("name", EQUAL)
def test_params_that_python_takes_to_be_equal_are_told_apart(name: str) -> None:
    made, (values, expected) = kinds(), EQUAL[name]

    def each(x: jax.Array) -> list[jax.Array]:
        return [made(x, by=by) for by in values]

    for outs in (each(X), jax.jit(each)(X), jax.jit(lambda x: jax.vmap(each)(x[None]))(X)):
        assert [float(out.ravel()[0]) for out in outs] == expected


def test_two_params_that_are_not_a_number_are_one_and_compiled_once() -> None:
    built = []

    def build(in_avals: Any, out_avals: Any, *, by: float) -> Function:
        built.append(by)
        return lambda x: x * by

    made = XLACustomKernel("fill")
    made.def_shape_rule(lambda x, *, by: x)
    made.def_kernel("own", "cpu", build)
    for _ in range(2):
        assert np.isnan(made(X, by=float("nan"))).all()
    assert len(built) == 1


def test_the_order_of_params_does_not_matter() -> None:
    made = XLACustomKernel("both", reference=lambda x, *, a, b: a * x + b)
    made.def_shape_rule(lambda x, *, a, b: x)
    jaxprs = [jax.make_jaxpr(f)(X) for f in (lambda x: made(x, a=2, b=1), lambda x: made(x, b=1, a=2))]
    first, second = (jaxpr.eqns[0].params for jaxpr in jaxprs)
    assert first == second
    assert first != jax.make_jaxpr(lambda x: made(x, a=1, b=2))(X).eqns[0].params
