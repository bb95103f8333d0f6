"""Transformations of operators that are divided over devices: the results of one device, and nothing large moves."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from spikax_core import XLACustomKernel
from tests.core.divided import (
    KINDS,
    LAYOUTS,
    LINE,
    SQUARE,
    XS,
    P,
    Placed,
    W,
    X,
    agree,
    check,
    collectives,
    divisible,
    left_in_place,
    matmat,
    mesh_of,
    product,
    put,
    rng,
    vecmat,
)
from tests.core.operators import Function, kernel


@pytest.fixture(params=KINDS, ids=str)
def kind(request: pytest.FixtureRequest) -> AxisType:
    chosen: AxisType = request.param
    return chosen


@pytest.fixture
def line(kind: AxisType) -> jax.sharding.Mesh:
    return mesh_of(kind, LINE)


def compare(mesh: jax.sharding.Mesh, transform: Function, operator: Function, *placed: Placed) -> jax.stages.Compiled:
    """Check a transformation of an operator against the same one of the plain product."""
    return check(mesh, transform(operator), transform(product), *placed)


# Derivatives.


def sine(f: Function) -> Function:
    return lambda x, w: jnp.sum(jnp.sin(f(x, w)))


@pytest.mark.parametrize("layout", [name for name, (_, _, w_spec, _) in LAYOUTS.items() if any(w_spec)])
def test_derivatives_are_those_of_one_device_and_leave_the_matrix_in_place(kind: AxisType, layout: str) -> None:
    axes, x_spec, w_spec, _ = LAYOUTS[layout]

    def derivatives(f: Function) -> Function:
        return lambda x, w: (jax.grad(sine(f), (0, 1))(x, w), jax.jvp(f, (x, w), (2 * x, w + 1)))

    left_in_place(compare(mesh_of(kind, axes), derivatives, vecmat(), (X, x_spec), (W, w_spec)), W)


def test_gradients_without_jit_are_those_of_one_device(line: jax.sharding.Mesh) -> None:
    with jax.set_mesh(line):
        for w_spec in (P("d"), P(None, "d"), P()):
            got = jax.grad(sine(vecmat()), (0, 1))(*put(line, (X, P()), (W, w_spec)))
            agree(got, jax.grad(sine(product), (0, 1))(X, W))


@pytest.mark.parametrize(("x_spec", "w_spec"), [(P(), P("d")), (P("d"), P(None, "d"))], ids=["rows", "columns"])
def test_jacobians_and_second_derivatives_are_those_of_one_device(line: Any, x_spec: Any, w_spec: Any) -> None:
    def derivatives(f: Function) -> Function:
        curvature = jax.jacfwd(jax.grad(sine(f)))
        return lambda x, w: (jax.jacrev(f)(x, w), curvature(x, w), jax.linearize(f, x, w)[1](x + 1, w))

    compare(line, derivatives, vecmat(), (X, x_spec), (W[:, :4], w_spec))


def test_a_reduction_of_ones_own_has_a_gradient(line: jax.sharding.Mesh) -> None:
    operator = vecmat(reduce=lambda x, axes: jax.lax.all_gather(x, axes).sum(0))
    compare(line, lambda f: jax.grad(sine(f), (0, 1)), operator, (X, P()), (W, P("d")))


def maximum() -> XLACustomKernel:
    operator = divisible("maximum", lambda w: w.max(0), "i k -> k", reduce="max")
    operator.def_jvp_rule2(lambda t, w: jnp.take_along_axis(t, w.argmax(0)[None], 0)[0])
    return operator


def test_a_maximum_over_auto_axes_has_the_gradient_that_is_declared() -> None:
    mesh = mesh_of(AxisType.Auto, LINE)
    gradients = [jax.grad(lambda w, f=f: jnp.sum(f(w) * jnp.arange(32.0))) for f in (maximum(), lambda w: w.max(0))]
    check(mesh, gradients[0], gradients[1], (W, P("d")))


def test_over_explicit_axes_derivatives_are_those_of_the_pieces_and_of_their_reduction() -> None:
    """There the call is a ``shard_map``, which JAX differentiates: it has no derivative of a maximum over devices."""
    mesh = mesh_of(AxisType.Explicit, LINE)
    (w,) = put(mesh, (W, P("d")))
    with jax.set_mesh(mesh), pytest.raises(NotImplementedError, match="pmax"):
        jax.grad(lambda w: jnp.sum(maximum()(w)))(w)


# Loops.

CONTROL: dict[str, Callable[[Function], Function]] = {
    "scan": lambda f: lambda x, w: jax.lax.scan(lambda c, s: (c, f(c * s, w)), x, jnp.arange(3.0))[1],
    "fori_loop": lambda f: lambda x, w: jax.lax.fori_loop(0, 2, lambda i, c: f(c[:8] / 9, w), jnp.ones(32)),
    "cond": lambda f: lambda x, w: jax.lax.cond(x[0] > 9, lambda x, w: w.sum(0), f, x, w),
    "checkpoint": jax.checkpoint,
    "inner jit": lambda f: lambda x, w: jax.jit(f)(jax.jit(jnp.sin)(x), w),
}


@pytest.mark.parametrize("name", CONTROL)
def test_a_matrix_is_left_in_place_inside_control_flow(line: jax.sharding.Mesh, name: str) -> None:
    left_in_place(compare(line, CONTROL[name], vecmat(), (X, P()), (W, P("d"))), W)


def test_a_matrix_is_left_in_place_by_the_gradient_of_a_loop(line: jax.sharding.Mesh) -> None:
    def gradient(f: Function) -> Function:
        def loss(w: jax.Array, x: jax.Array) -> Any:
            return jax.lax.fori_loop(0, 3, lambda i, c: jnp.sin(f(c, w)[:8]), x).sum()

        return lambda x, w: jax.grad(loss)(w, x)

    left_in_place(compare(line, gradient, vecmat(), (X, P()), (W, P("d"))), W)


# Batches.


@pytest.mark.parametrize(("in_axis", "spec"), [(0, P("d")), (1, P(None, "d")), (-1, P(None, "d"))])
def test_a_fold_leaves_a_sharded_batch_in_place(line: jax.sharding.Mesh, in_axis: int, spec: Any) -> None:
    operator = vecmat()
    operator.def_fold(0, matmat())
    batch = rng.normal(size=(16, 8) if in_axis == 0 else (8, 16)).astype(np.float32)
    compiled = compare(line, lambda f: jax.vmap(f, (in_axis, None)), operator, (batch, spec), (W, P()))
    assert not collectives(compiled)


@pytest.mark.parametrize(
    ("x_spec", "w_spec"), [(P("d"), P()), (P(), P("d")), (P(None, "d"), P("d"))], ids=["batch", "rows", "both"]
)
def test_batches_without_a_fold_are_right(line: jax.sharding.Mesh, x_spec: Any, w_spec: Any) -> None:
    compare(line, lambda f: jax.vmap(f, (0, None)), vecmat(), (XS, x_spec), (W, w_spec))


def test_nested_batches_of_both_operands_are_right(line: jax.sharding.Mesh) -> None:
    def nested(f: Function) -> Function:
        return jax.vmap(jax.vmap(f, (0, None)), (None, 0))

    for x_spec, w_spec in ((P("d"), P()), (P(), P(None, "d")), (P(), P("d"))):
        compare(line, nested, vecmat(), (XS, x_spec), (np.stack([W, 2 * W, 3 * W, W]), w_spec))


def test_a_gradient_of_a_batch_is_right(line: jax.sharding.Mesh) -> None:
    compare(line, lambda f: jax.vmap(jax.grad(sine(f)), (0, None)), vecmat(), (XS, P()), (W, P("d")))


# Inside of shard_map.


@pytest.mark.parametrize("manual", [{"a"}, {"b"}, {"a", "b"}], ids=lambda axes: "".join(sorted(axes)))
@pytest.mark.parametrize("partitioned", [True, False], ids=["with a partition", "without"])
def test_shard_map_over_all_axes_or_some_is_right(kind: AxisType, manual: set[str], partitioned: bool) -> None:
    operator = vecmat() if partitioned else kernel("vecmat", product)
    rows, columns = ("a" if "a" in manual else None), ("b" if "b" in manual else None)

    def device(x: jax.Array, w: jax.Array) -> Any:
        out = operator(x, w)
        return jax.lax.psum(out, "a") if rows else out

    mesh = mesh_of(kind, SQUARE)
    specs = (P(rows), P(rows, columns))
    mapped = jax.shard_map(device, mesh=mesh, in_specs=specs, out_specs=P(columns), axis_names=manual)
    check(mesh, mapped, product, (X, P("a")), (W, P("a", "b")))


def test_a_gradient_inside_of_shard_map_over_some_axes_is_right(kind: AxisType) -> None:
    mesh = mesh_of(kind, SQUARE)
    gradient = jax.shard_map(
        jax.grad(sine(vecmat()), (0, 1)),
        mesh=mesh,
        in_specs=(P(), P(None, "b")),
        out_specs=(P(), P(None, "b")),
        axis_names={"b"},
    )
    check(mesh, gradient, jax.grad(sine(product), (0, 1)), (X, P()), (W, P("a", "b")))
