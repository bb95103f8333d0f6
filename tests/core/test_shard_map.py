"""Over several devices: ``shard_map`` with its default flags, and sharded arrays on Auto and Explicit mesh axes."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from spikax_core import defjvp
from tests.core.operators import DIFFERENTIABLE, Function, caller, kernel, matvec, plain, product, same

W = jnp.arange(32.0).reshape(8, 4) / 10
X = jnp.array([0.3, -1.2, 2.5, 0.7])
P = jax.P


@pytest.fixture(params=[AxisType.Auto, AxisType.Explicit], ids=str)
def mesh(request: pytest.FixtureRequest) -> jax.sharding.Mesh:
    return jax.make_mesh((4,), ("d",), axis_types=(request.param,))


def local(array: jax.Array) -> Any:
    """The values alone, without the mesh that they are on."""
    return np.asarray(array)


def put(mesh: jax.sharding.Mesh, array: jax.Array, spec: Any) -> jax.Array:
    placed: jax.Array = jax.device_put(array, jax.NamedSharding(mesh, spec))
    return placed


def agree(got: Any, expected: Any) -> None:
    same(jax.tree.map(local, got), jax.tree.map(local, expected), rtol=1e-5)


def test_the_default_mesh_has_explicit_axes_and_works() -> None:
    mesh = jax.make_mesh((4,), ("d",))
    mapped = jax.shard_map(matvec(), mesh=mesh, in_specs=(P("d"), P()), out_specs=P("d"))
    agree(mapped(put(mesh, W, P("d")), X), W @ X)


@pytest.mark.parametrize(
    ("specs", "out"),
    [((P("d"), P()), P("d")), ((P(), P()), P()), ((P(None, None), P(None)), P())],
    ids=["rows sharded", "all replicated", "all replicated, in full"],
)
@pytest.mark.parametrize("jit", [False, True], ids=["eager", "jit"])
def test_values_and_gradients_are_right(mesh: jax.sharding.Mesh, specs: Any, out: Any, jit: bool) -> None:
    operator = jax.shard_map(matvec(), mesh=mesh, in_specs=specs, out_specs=out)

    def loss(f: Function) -> Function:
        return lambda w, x: jnp.sum(jnp.sin(f(w, x)))

    wrap: Function = jax.jit if jit else lambda f: f
    w, x = put(mesh, W, specs[0]), put(mesh, X, specs[1])
    with jax.set_mesh(mesh):
        agree(wrap(operator)(w, x), W @ X)
        agree(wrap(jax.grad(loss(operator), (0, 1)))(w, x), jax.grad(loss(jnp.matmul), (0, 1))(W, X))
        agree(jax.jvp(operator, (w, x), (w * 2, x + 1)), jax.jvp(jnp.matmul, (W, X), (W * 2, X + 1)))


def test_columns_sharded_and_summed_over_devices_are_right(mesh: jax.sharding.Mesh) -> None:
    operator = matvec()
    mapped: Function = jax.shard_map(
        lambda w, x: jax.lax.psum(operator(w, x), "d"), mesh=mesh, in_specs=(P(None, "d"), P("d")), out_specs=P()
    )
    w, x = put(mesh, W, P(None, "d")), put(mesh, X, P("d"))
    with jax.set_mesh(mesh):
        agree(mapped(w, x), W @ X)
        got = jax.grad(lambda w, x: jnp.sum(jnp.sin(mapped(w, x))), (0, 1))(w, x)
    agree(got, jax.grad(lambda w, x: jnp.sum(jnp.sin(w @ x)), (0, 1))(W, X))


def test_the_gradient_taken_inside_of_a_replicated_operand_is_the_sum_over_devices(mesh: jax.sharding.Mesh) -> None:
    operator = matvec()
    mapped: Function = jax.shard_map(
        lambda w, x: jax.grad(lambda x: jnp.sum(operator(w, x)))(x), mesh=mesh, in_specs=(P("d"), P()), out_specs=P()
    )
    with jax.set_mesh(mesh):
        agree(mapped(put(mesh, W, P("d")), X), W.sum(0))


def test_a_plain_primitive_loses_that_sum_or_fails() -> None:
    """What would happen without this package: the gradient of one device's part passes for the whole."""
    mesh = jax.make_mesh((4,), ("d",))
    y = jnp.arange(4.0) + 1

    def gradients(operator: Any) -> Any:
        defjvp(operator, lambda t, x, y: t * y, lambda t, x, y: x * t)
        call = caller(operator)
        mapped: Function = jax.shard_map(
            lambda x, y: jax.grad(lambda x: call(x, y).sum())(x)[None],
            mesh=mesh,
            in_specs=(P(), P("d")),
            out_specs=P("d"),
        )
        with jax.set_mesh(mesh):
            return mapped(jnp.float32(2), put(mesh, y, P("d")))

    agree(gradients(kernel("product", product)), jnp.full(4, y.sum()))
    with pytest.raises((AssertionError, ValueError, TypeError)):
        agree(gradients(plain("product_p", product)), jnp.full(4, y.sum()))


@pytest.mark.parametrize("name", [name for name in DIFFERENTIABLE if name.startswith("operator")])
def test_operands_partly_replicated_over_two_axes_are_right(name: str) -> None:
    make, oracle = DIFFERENTIABLE[name]
    mesh = jax.make_mesh((2, 2), ("a", "b"))
    v, current = jnp.linspace(-1, 1, 16).reshape(4, 4), jnp.linspace(0, 2, 16).reshape(4, 4)
    row = current[:1]

    def spread(f: Function) -> Function:
        return lambda v, row: f(v, jnp.broadcast_to(row, v.shape))

    def loss(f: Function) -> Function:
        return lambda v, row: jnp.sum(jnp.sin(jax.tree.leaves(f(v, row))[0]))

    for specs in ((P("a", "b"), P(None, "b")), (P("a"), P()), (P(None, "b"), P(None, "b"))):
        inner = jax.shard_map(spread(make()), mesh=mesh, in_specs=specs, out_specs=specs[0])
        ins = put(mesh, v, specs[0]), put(mesh, row, specs[1])
        with jax.set_mesh(mesh):
            agree(inner(*ins), spread(oracle)(v, row))
            got = jax.grad(loss(inner), (0, 1))(*ins)
        agree(got, jax.grad(loss(spread(oracle)), (0, 1))(v, row))


BATCHES: dict[str, Callable[[Function], Function]] = {
    "vmap": lambda f: jax.vmap(f, (None, 0)),
    "nested vmap": lambda f: lambda w, xs: jax.vmap(jax.vmap(f, (None, 0)), (None, 0))(w, xs[None])[0],
    "scan": lambda f: lambda w, xs: jax.lax.scan(lambda c, x: (c, f(w, x)), None, xs)[1],
}


@pytest.mark.parametrize("batch", BATCHES)
def test_batches_inside_keep_gradients_of_a_replicated_operand_right(mesh: jax.sharding.Mesh, batch: str) -> None:
    xs = jnp.linspace(-1, 1, 32).reshape(8, 4)
    mapped = jax.shard_map(BATCHES[batch](matvec()), mesh=mesh, in_specs=(P(), P("d")), out_specs=P("d"))
    oracle, sharded = BATCHES[batch](jnp.matmul), put(mesh, xs, P("d"))
    with jax.set_mesh(mesh):
        agree(mapped(W, sharded), oracle(W, xs))
        got = jax.grad(lambda w, xs: jnp.sum(jnp.sin(mapped(w, xs))), (0, 1))(W, sharded)
    agree(got, jax.grad(lambda w, xs: jnp.sum(jnp.sin(oracle(w, xs))), (0, 1))(W, xs))


@pytest.mark.parametrize("independent", [(), (1,)])
@pytest.mark.parametrize("size", [0, 3])
def test_independent_results_and_empty_batches_work_inside(independent: tuple[int, ...], size: int) -> None:
    operator = kernel("both", lambda x, y: (x * y, y + 1))
    operator.register_general_batching(independent=independent)
    batch: Function = jax.vmap(operator, (0, None), out_axes=(0, None if independent else 0))
    xs, mesh = jnp.ones((size, 4)), jax.make_mesh((4,), ("d",))

    def totals(xs: jax.Array, y: jax.Array) -> Any:
        return jax.lax.psum(jnp.stack([part.sum() for part in batch(xs, y)]), "d")

    mapped = jax.jit(jax.shard_map(totals, mesh=mesh, in_specs=(P(None, "d"), P("d")), out_specs=P()))
    second = (X + 1).sum() * (1 if independent else size)
    agree(mapped(put(mesh, xs, P(None, "d")), put(mesh, X, P("d"))), jnp.stack([(xs * X).sum(), second]))


def test_rules_that_return_constants_are_right_inside() -> None:
    operator = kernel("total", lambda x: x.sum())
    linear = kernel("linear", lambda t: 2 * t.sum())
    operator.def_jvp_rule(lambda primals, tangents: (operator(*primals), linear(tangents[0])))
    linear.def_transpose_rule(lambda ct, t: (np.full(1, 2, np.float32),))  # a numpy array knows of no mesh
    mesh = jax.make_mesh((4,), ("d",))
    x = put(mesh, X, P("d"))
    gradient: Function = jax.shard_map(lambda x: jax.grad(operator)(x), mesh=mesh, in_specs=P("d"), out_specs=P("d"))
    with jax.set_mesh(mesh):
        agree(gradient(x), jnp.full(4, 2.0))
    operator.def_jvp_rule2(lambda t, x: np.float32(3))
    tangent: Function = jax.shard_map(
        lambda x: jax.jvp(operator, (x,), (x,))[1][None], mesh=mesh, in_specs=P("d"), out_specs=P("d")
    )
    with jax.set_mesh(mesh):
        agree(tangent(x), jnp.full(4, 3.0))


INSIDE: dict[str, Function] = {
    "scan": lambda f: lambda x: jax.lax.scan(lambda c, _: (f(c), None), x, None, length=2)[0],
    "cond": lambda f: lambda x: jax.lax.cond(x.sum() > 0, f, lambda x: x, x),
    "psum": lambda f: lambda x: jax.lax.psum(f(x), "d"),
}


@pytest.mark.parametrize("inside", INSIDE)
def test_a_tangent_that_is_a_constant_varies_as_its_result_does(inside: str) -> None:
    operator, mesh = kernel("sign", jnp.sign), jax.make_mesh((4,), ("d",))
    defjvp(operator, lambda t, x: np.zeros(x.shape, np.float32))  # a numpy array knows of no mesh
    f, out = INSIDE[inside](operator), P() if inside == "psum" else P("d")
    mapped: Function = jax.shard_map(lambda x: jax.jvp(f, (x,), (x,)), mesh=mesh, in_specs=P("d"), out_specs=(out, out))
    expected = jnp.full(1, 4.0) if inside == "psum" else jnp.ones(4)
    with jax.set_mesh(mesh):
        agree(mapped(put(mesh, X + 2, P("d"))), (expected, 0 * expected))


def test_values_are_right_without_the_check_of_varying_axes() -> None:
    mesh = jax.make_mesh((4,), ("d",))
    mapped = jax.shard_map(matvec(), mesh=mesh, in_specs=(P("d"), P()), out_specs=P("d"), check_vma=False)
    agree(mapped(put(mesh, W, P("d")), X), W @ X)


def test_a_reference_may_loop_over_constants() -> None:
    """A loop whose carry starts from a constant would not be of one type, were its operands to vary over devices."""
    operator = kernel("loop", lambda x: jax.lax.fori_loop(0, 3, lambda i, total: total + x, jnp.zeros_like(x[:1])))
    mesh = jax.make_mesh((4,), ("d",))
    mapped = jax.shard_map(operator, mesh=mesh, in_specs=P("d"), out_specs=P("d"))
    agree(mapped(put(mesh, X, P("d"))), 3 * X)


# Sharded arrays without shard_map.


@pytest.mark.parametrize("w_spec", [P("d"), P(None, "d"), P()], ids=str)
@pytest.mark.parametrize("x_spec", [P("d"), P()], ids=str)
@pytest.mark.parametrize("jit", [False, True], ids=["eager", "jit"])
def test_sharded_arrays_give_right_values_and_gradients(
    mesh: jax.sharding.Mesh, w_spec: P, x_spec: P, jit: bool
) -> None:
    w, x = put(mesh, W, w_spec), put(mesh, X, x_spec)
    operator = matvec()
    wrap: Function = jax.jit if jit else lambda f: f
    with jax.set_mesh(mesh):
        agree(wrap(operator)(w, x), W @ X)
        agree(wrap(lambda w, x: jnp.sin(operator(w, x)) + 1)(w, x), jnp.sin(W @ X) + 1)
        got = wrap(jax.grad(lambda w, x: jnp.sum(jnp.sin(operator(w, x))), (0, 1)))(w, x)
    agree(got, jax.grad(lambda w, x: jnp.sum(jnp.sin(w @ x)), (0, 1))(W, X))


@pytest.mark.parametrize("jit", [False, True], ids=["eager", "jit"])
def test_a_batch_sharded_over_devices_is_right(mesh: jax.sharding.Mesh, jit: bool) -> None:
    xs = jnp.linspace(-1, 1, 32).reshape(8, 4)
    sharded = put(mesh, xs, P("d"))
    mapped = jax.vmap(matvec(), (None, 0))
    wrap: Function = jax.jit if jit else lambda f: f
    with jax.set_mesh(mesh):
        agree(wrap(mapped)(W, sharded), xs @ W.T)
        got = wrap(jax.grad(lambda w, xs: jnp.sum(jnp.sin(mapped(w, xs))), (0, 1)))(W, sharded)
    agree(got, jax.grad(lambda w, xs: jnp.sum(jnp.sin(xs @ w.T)), (0, 1))(W, xs))
