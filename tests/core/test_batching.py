"""``vmap``: by the general rule, by a rule of one's own, nested, and never with copies of what is not batched."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikax_core import ParameterError, RuleOutputError, XLACustomKernel, general_batching_rule
from spikax_core._compat import Primitive, set_batching
from tests.core.operators import DIFFERENTIABLE, Function, caller, kernel, matvec, plain, product, same, step

X = jnp.arange(12.0).reshape(4, 3) / 5
Y = jnp.array([0.4, 1.5, -0.2])


def batched_primitive(name: str = "batched", **options: Any) -> Primitive:
    primitive = plain(name, product)
    set_batching(primitive, functools.partial(general_batching_rule, primitive, **options))
    return primitive


def test_it_batches_a_primitive_with_one_result() -> None:
    same(jax.vmap(caller(batched_primitive()), (0, None))(X, Y), X * Y)


def test_it_batches_a_primitive_with_several_results() -> None:
    primitive = plain("step_p", step, multiple_results=True)
    set_batching(primitive, functools.partial(general_batching_rule, primitive))
    same(tuple(jax.vmap(caller(primitive), (0, None))(X, Y)), jax.vmap(step, (0, None))(X, Y))


def test_it_batches_a_primitive_whose_params_are_named_as_its_own_arguments() -> None:
    primitive = plain("sum_p", lambda x, *, axes, args: args * x.sum(axes))
    out, axis = general_batching_rule(primitive, (X,), (0,), axes=(0,), args=2)
    same(out, 2 * X.sum(1))
    assert axis == 0


def test_it_batches_an_operator_and_any_callable() -> None:
    for call in (kernel("product", product), product):
        out, axis = general_batching_rule(call, (X, Y), (0, None))
        same(out, X * Y)
        assert axis == 0


def test_it_passes_params_on() -> None:
    out, _ = general_batching_rule(lambda x, *, by: x * by, (X,), (0,), by=3.0)
    same(out, X * 3)


def test_results_keep_their_structure() -> None:
    out, axes = general_batching_rule(lambda x: {"a": x, "b": (x.sum(),)}, (X,), (0,))
    same(out, {"a": X, "b": (X.sum(1),)})
    assert axes == {"a": 0, "b": (0,)}


@pytest.mark.parametrize("axes", [(0, 0), (0, None), (None, 0), (1, 0), (0, 1), (1, -1), (-1, None), (None, 1)])
def test_any_axis_of_any_operand_can_be_the_batch(axes: tuple[int | None, int | None]) -> None:
    operator, square = kernel("product", product), jnp.arange(9.0).reshape(3, 3)
    ins = [Y if axis is None else square + i for i, axis in enumerate(axes)]
    same(jax.vmap(operator, axes)(*ins), jax.vmap(product, axes)(*ins))
    same(jax.vmap(operator, axes, out_axes=1)(*ins), jax.vmap(product, axes, out_axes=1)(*ins))


def test_without_a_batched_operand_nothing_is_batched() -> None:
    out, axes = general_batching_rule(product, (Y, Y), (None, None))
    same(out, Y * Y)
    assert axes is None


@pytest.mark.parametrize("chunk", [None, 1, 2, 3, 4, 7])
@pytest.mark.parametrize("size", [0, 1, 4])
def test_chunks_of_any_size_give_the_same(chunk: int | None, size: int) -> None:
    out, _ = general_batching_rule(kernel("product", product), (X[:size], Y), (0, None), chunk=chunk)
    same(out, X[:size] * Y)


ANYTHING: dict[str, Callable[[], Any]] = {
    "primitive": batched_primitive,
    "operator": lambda: kernel("product", product),
    "callable": lambda: product,
}


@pytest.mark.parametrize("name", ANYTHING)
@pytest.mark.parametrize("chunk", [None, 1, 3])
def test_lanes_run_one_after_the_other_or_in_chunks_on_request(name: str, chunk: int | None) -> None:
    def batch(x: jax.Array, y: jax.Array) -> Any:
        return general_batching_rule(ANYTHING[name](), (x, y), (0, None), chunk=chunk)[0]

    loops = [e for e in equations(jax.make_jaxpr(batch)(X, Y).jaxpr) if e.primitive.name == "scan"]
    assert [(loop.params["length"], loop.params["unroll"]) for loop in loops] == [(4, chunk or 1)]
    (body,) = loops[0].params["jaxpr"].eqns
    assert [v.aval.shape for v in body.invars] == [(3,), (3,)]


@pytest.mark.parametrize("chunk", [0, -1, 1.5, True])
def test_a_chunk_that_is_no_positive_integer_is_an_error(chunk: Any) -> None:
    with pytest.raises(ParameterError, match=f"chunk: got {chunk!r}; expected a positive integer or None"):
        general_batching_rule(product, (X, Y), (0, None), chunk=chunk)


def test_an_operator_can_ask_for_chunks() -> None:
    operator = kernel("product", product)
    operator.register_general_batching(chunk=2)
    same(jax.vmap(operator, (0, None))(X, Y), X * Y)
    assert "unroll=2" in str(jax.make_jaxpr(jax.vmap(operator, (0, None)))(X, Y))


@pytest.mark.parametrize("jit", [False, True])
def test_a_batch_of_size_zero_works(jit: bool) -> None:
    for make, oracle in DIFFERENTIABLE.values():
        batch = jax.vmap(make(), (0, None))
        same((jax.jit(batch) if jit else batch)(X[:0], Y), jax.vmap(oracle, (0, None))(X[:0], Y))


@hypothesis.given(
    sizes=st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2)),
    axes=st.tuples(st.sampled_from([0, 1, 2, None]), st.sampled_from([0, 1, 2, None])),
)
@hypothesis.settings(max_examples=25)
def test_vmap_equals_that_of_plain_jax_for_any_shape(
    sizes: tuple[int, int, int], axes: tuple[int | None, int | None]
) -> None:
    hypothesis.assume(axes != (None, None))
    ins = []
    for i, axis in enumerate(axes):
        shape = list(sizes[1:])
        if axis is not None:
            shape.insert(axis, sizes[0])
        ins.append(jnp.arange(np.prod(shape), dtype=jnp.float32).reshape(shape) + i)
    same(jax.vmap(PRODUCT, axes)(*ins), jax.vmap(product, axes)(*ins))


PRODUCT = kernel("product", product)


@pytest.mark.parametrize("size", [0, 4])
def test_results_declared_independent_stay_unbatched(size: int) -> None:
    def both(x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        return x * y, y + 1, x

    calls: list[Function] = [both, kernel("both", both)]
    for call in calls:
        outs, axes = general_batching_rule(call, (X[:size], Y), (0, None), independent=(1,))
        same(outs, (X[:size] * Y, Y + 1, X[:size]))
        assert axes == (0, None, 0)
        assert general_batching_rule(call, (X[:size], Y), (0, None), independent=(-1, 1))[1] == (0, None, None)
    operator = kernel("both", both)
    operator.register_general_batching(independent=(1,))
    same(jax.vmap(operator, (0, None), out_axes=(0, None, 0))(X[:size], Y), (X[:size] * Y, Y + 1, X[:size]))


def test_independent_results_may_be_all_of_them() -> None:
    outs, axes = general_batching_rule(lambda x, y: (y, y * 2), (X, Y), (0, None), independent=(0, 1))
    same(outs, (Y, Y * 2))
    assert axes == (None, None)


def test_an_index_of_an_independent_result_out_of_range_is_an_error() -> None:
    for index in (2, -3):
        with pytest.raises(ParameterError, match=f"independent: got index {index}; expected one of the 2 results"):
            general_batching_rule(lambda x: (x, x), (X,), (0,), independent=(index,))


def test_nested_vmap_works() -> None:
    operator, stack = kernel("product", product), jnp.stack([X, X + 1])
    same(jax.vmap(jax.vmap(operator, (0, None)), (0, 0))(stack, X[:2]), stack * X[:2, None])
    same(jax.vmap(jax.vmap(operator, (None, 0)), (0, None))(X, X), X[:, None] * X)
    same(jax.vmap(jax.vmap(jax.vmap(operator)))(stack[None], stack[None]), (stack * stack)[None])


def test_vmap_of_jvp_jvp_of_vmap_and_vmap_of_grad_work() -> None:
    operator = matvec()
    w, xs = jnp.arange(12.0).reshape(4, 3), X

    def directional(f: Any) -> Any:
        return jax.vmap(lambda x, t: jax.jvp(functools.partial(f, w), (x,), (t,)))(xs, xs + 1)

    same(directional(operator), directional(jnp.matmul))
    same(jax.vmap(jax.grad(lambda w, x: operator(w, x).sum(), (0, 1)), (None, 0))(w, xs), _grads(jnp.matmul, w, xs))
    got = jax.grad(lambda w, x: (jax.vmap(operator, (None, 0))(w, x) ** 2).sum(), (0, 1))(w, xs)
    same(got, jax.grad(lambda w, x: (jax.vmap(jnp.matmul, (None, 0))(w, x) ** 2).sum(), (0, 1))(w, xs))


def _grads(f: Any, w: jax.Array, xs: jax.Array) -> Any:
    return jax.vmap(jax.grad(lambda w, x: f(w, x).sum(), (0, 1)), (None, 0))(w, xs)


def test_spmd_axis_name_works() -> None:
    mesh = jax.make_mesh((4,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
    sharded = jax.device_put(X, jax.NamedSharding(mesh, jax.P("d")))
    with jax.set_mesh(mesh):
        mapped = jax.vmap(kernel("product", product), (0, None), spmd_axis_name="d")
        same(jax.jit(mapped)(sharded, Y), X * Y)
        same(mapped(sharded, Y), X * Y)


def test_spmd_axis_name_divides_the_batch_of_what_is_mapped_over_other_devices() -> None:
    auto = (jax.sharding.AxisType.Auto,) * 2
    mesh = jax.make_mesh((2, 2), ("batch", "rows"), axis_types=auto)
    operator, w = matvec(), jnp.arange(12.0).reshape(4, 3) / 10
    rows = jax.shard_map(operator, mesh=mesh, in_specs=(jax.P("rows"), jax.P()), out_specs=jax.P("rows"))

    def loss(f: Function, **options: Any) -> Function:
        mapped: Function = jax.vmap(f, (None, 0), **options)
        return lambda w, xs: (jnp.sin(mapped(w, xs)).sum(), mapped(w, xs))

    with jax.set_mesh(mesh):
        spread = jax.jit(jax.grad(loss(rows, spmd_axis_name="batch"), (0, 1), has_aux=True))
        gradients, out = spread(w, jax.device_put(X, jax.NamedSharding(mesh, jax.P("batch"))))
    same((gradients, out), jax.grad(loss(jnp.matmul), (0, 1), has_aux=True)(w, X), rtol=1e-5)
    assert out.sharding.spec == jax.P("batch", "rows")


def test_vmap_with_an_axis_name_works() -> None:
    mapped: Function = jax.vmap(lambda x: jax.lax.psum(PRODUCT(x, Y), "lanes"), axis_name="lanes")
    same(mapped(X), jnp.broadcast_to((X * Y).sum(0), (4, 3)))


def test_batched_random_keys_and_integers_work() -> None:
    operator = kernel("draw", lambda key, n: jax.random.uniform(key, (2,)) * n)
    keys = jax.random.split(jax.random.key(1), 3)
    same(jax.vmap(operator, (0, None))(keys, 2.0), jax.vmap(lambda key: jax.random.uniform(key, (2,)) * 2)(keys))


def equations(jaxpr: Any) -> list[Any]:
    """Every equation of a jaxpr, those of inner jaxprs included."""
    found = []
    for equation in jaxpr.eqns:
        found.append(equation)
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                found += equations(inner)
    return found


def lookup(table: jax.Array, i: jax.Array) -> tuple[jax.Array, jax.Array]:
    return table[i], table


LOOKUPS: dict[str, Callable[[], Any]] = {
    "primitive": lambda: plain("lookup", lookup, multiple_results=True),
    "operator": lambda: kernel("lookup", lookup),
    "callable": lambda: jax.jit(lookup),
}


@pytest.mark.parametrize("independent", [(), (1,)])
@pytest.mark.parametrize("name", LOOKUPS)
def test_unbatched_operands_are_never_repeated_per_lane(name: str, independent: Sequence[int]) -> None:
    def batch(table: jax.Array, i: jax.Array) -> jax.Array:
        (out, _), _ = general_batching_rule(LOOKUPS[name](), (table, i), (None, 0), independent=independent)
        return jnp.asarray(out)

    table, indices = jnp.arange(100.0), jnp.arange(7)
    found = equations(jax.make_jaxpr(batch)(table, indices).jaxpr)
    assert {"scan"} < {equation.primitive.name for equation in found}
    for equation in found:
        assert all(getattr(v.aval, "shape", ()) != (7, 100) for v in equation.invars)
        if equation.primitive.name == "scan":
            assert [v.aval.shape for v in equation.invars] == [(100,), (7,)]
    same(batch(table, indices), table[:7])


def test_an_unbatched_operand_is_not_repeated_by_vmap_nor_by_a_gradient_in_a_batch() -> None:
    operator, w, xs = matvec(), jnp.ones((5, 6)), jnp.ones((7, 6))
    outer = jax.vmap(jax.vmap(jax.grad(lambda x, w: operator(w, x).sum()), (0, None)), (0, None))
    found = equations(jax.make_jaxpr(outer)(jnp.stack([xs, xs]), w).jaxpr)
    assert {"matvec", "matvec_transposed"} <= {equation.primitive.name for equation in found}
    for equation in found:
        assert all(getattr(v.aval, "shape", ())[-2:] != (5, 6) or v.aval.shape == (5, 6) for v in equation.invars)


def test_an_eager_vmap_of_the_same_types_traces_the_operator_once() -> None:
    traces = []

    def reference(x: jax.Array) -> jax.Array:
        traces.append(x)
        return x * 2

    operator = XLACustomKernel("counted", reference=reference)
    operator.def_shape_rule(lambda x: x)
    jax.vmap(operator)(X)
    before = len(traces)
    same(jax.vmap(operator)(X + 1), (X + 1) * 2)
    assert len(traces) == before


def test_a_batching_rule_of_ones_own_gets_the_size_the_operands_and_their_axes() -> None:
    seen: list[Any] = []
    operator = kernel("scaled", lambda x, y, *, by: x * y * by)

    def rule(size: int, args: Any, axes: Any, **params: Any) -> tuple[jax.Array, int]:
        seen.append((size, axes, params))
        x, y = args
        return jnp.moveaxis(x, axes[0], -1) * y[:, None] * params["by"], -1

    operator.def_batching_rule(rule)
    same(jax.vmap(lambda x: operator(x, Y, by=2.0), in_axes=0)(X), X * Y * 2)
    assert seen == [(4, (0, None), {"by": 2.0})]


def test_a_batching_rule_may_leave_results_unbatched() -> None:
    operator = kernel("both", lambda x, y: (x, y))
    operator.def_batching_rule(lambda size, args, axes: (args, [0, None]))
    same(jax.vmap(operator, (0, None), out_axes=(0, None))(X, Y), (X, Y))


def test_later_batching_rules_replace_earlier_ones() -> None:
    operator = kernel("product", product)
    operator.def_batching_rule(lambda size, args, axes: (args[0] * 0, 0))
    operator.register_general_batching()
    same(jax.vmap(operator, (0, None))(X, Y), X * Y)


def test_an_operator_that_a_batch_folds_into_needs_a_shape_rule() -> None:
    operator = XLACustomKernel("ruleless", reference=lambda x, outs: 2 * x)
    operator.def_fold(0, operator)
    batch = jax.vmap(functools.partial(operator, outs=jax.ShapeDtypeStruct((3,), jnp.float32)))
    with pytest.raises(ParameterError, match="ruleless has no shape rule"):
        batch(X)
    operator.def_shape_rule(lambda x: x)
    operator.def_reference(lambda x: 2 * x)
    same(batch(X), 2 * X)


WRONG: dict[str, tuple[Function, str]] = {
    "no pair": (lambda x: x, r"got f32\[4,3\]; expected a pair"),
    "structure": (lambda x: ((x,), (0, 0)), r"got tuple of 1; expected a tuple of 2"),
    "axes": (lambda x: ((x, x), 0), r"got int; expected a tuple of 2"),
    "size": (lambda x: ((x, x[:2]), (0, 0)), r"result 1: got f32\[2,3\]; expected f32\[4,3\]"),
    "axis": (lambda x: ((x, x), (1, 0)), r"result 0: got f32\[4,3\]; expected f32\[3,4\]"),
    "axis out of range": (
        lambda x: ((x, x), (2, 0)),
        r"result 0: got the batch axis 2; expected None or an integer in",
    ),
    "unbatched": (lambda x: ((x, x), (0, None)), r"result 1: got f32\[4,3\]; expected f32\[3\]"),
    "dtype": (lambda x: ((x, x.astype(int)), (0, 0)), r"result 1: got i32\[4,3\]; expected f32\[4,3\]"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_batched_result_is_an_error_that_names_the_operator(wrong: str) -> None:
    result, message = WRONG[wrong]
    operator = kernel("wrong", lambda x: (x, x))
    operator.def_batching_rule(lambda size, args, axes: result(args[0]))
    with pytest.raises(RuleOutputError, match=rf"batching rule of wrong.*{message}"):
        jax.vmap(operator)(X)
