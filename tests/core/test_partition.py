"""Operators that say how they may be divided: nothing large moves, and results are those of one device."""

import re
import threading
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax.sharding import AxisType

from spikax_core import (
    BackendFallbackWarning,
    BackendRefusedError,
    NoBackendError,
    ParameterError,
    RuleOutputError,
    UnknownBackendError,
    XLACustomKernel,
    use_backend,
)
from spikax_core._compat import count_compilations
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


@pytest.fixture
def square(kind: AxisType) -> jax.sharding.Mesh:
    return mesh_of(kind, SQUARE)


def counted(**options: Any) -> XLACustomKernel:
    """``vecmat`` with kernels ``"plus1"``, ``"plus2"`` ... that add that number on each device."""
    operator = divisible("counted", product, "i, i k -> k", reduce="sum", **options)
    for n in (1, 2, 3):
        operator.def_kernel(f"plus{n}", "cpu", lambda i, o, n=n: lambda x, w: x @ w + n)
    return operator


def added(out: Any) -> int:
    """The sum of the numbers that the kernels of :func:`counted` added, on all devices that were summed over."""
    numbers = np.unique(np.rint(np.asarray(out) - X @ W))
    assert numbers.size == 1
    return int(numbers[0])


# Where a matrix is cut.


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_sharded_matrix_is_left_in_place_and_the_product_is_right(kind: AxisType, layout: str) -> None:
    axes, x_spec, w_spec, out_spec = LAYOUTS[layout]
    mesh, operator = mesh_of(kind, axes), vecmat()
    x, w = put(mesh, (X, x_spec), (W, w_spec))
    compiled = jax.jit(operator).lower(x, w).compile()
    left_in_place(compiled, W)
    for out in (operator(x, w), compiled(x, w)):
        agree(out, X @ W)
        spec = [*out.sharding.spec]
        assert tuple(spec[: len(spec) - spec[::-1].index(next(filter(None, spec)))] if any(spec) else ()) == out_spec


@pytest.mark.parametrize("axes", [("a",), ("b",), (("a", "b"),), (None, "a"), (None, ("b", "a"))], ids=str)
def test_a_fixed_number_matrix_sharded_by_rows_is_left_in_place(kind: AxisType, axes: tuple[Any, ...]) -> None:
    def scatter(indices: jax.Array, weights: jax.Array, spikes: jax.Array, *, n: int) -> jax.Array:
        return jnp.zeros(n, weights.dtype).at[indices].add(jnp.where(spikes[:, None], weights, 0))

    operator = divisible("fixed_number", scatter, "i k, i k, i -> n", reduce="sum")
    indices, spikes = rng.integers(0, 5, (16, 12)).astype(np.int32), rng.random(16) < 0.5
    weights, mesh = rng.normal(size=(16, 12)).astype(np.float32), mesh_of(kind, SQUARE)
    placed = put(mesh, (indices, P(*axes)), (weights, P(*axes)), (spikes, P("b")))
    compiled = jax.jit(operator, static_argnames="n").lower(*placed, n=5).compile()
    left_in_place(compiled, weights)
    expected = np.zeros(5, np.float32)
    np.add.at(expected, indices[spikes], weights[spikes])
    agree(compiled(*placed), expected)


@pytest.mark.parametrize(
    ("axes", "x_spec", "w_spec"),
    [(LINE, P("d"), P()), (SQUARE, P("a"), P("b")), (SQUARE, P("a"), P(None, "b")), (SQUARE, P("a", "b"), P("b"))],
    ids=["batch", "batch and rows", "batch and columns", "all"],
)
def test_a_sharded_batch_is_left_in_place(kind: AxisType, axes: Any, x_spec: Any, w_spec: Any) -> None:
    batch = rng.normal(size=(64, 8)).astype(np.float32)
    left_in_place(check(mesh_of(kind, axes), matmat(), product, (batch, x_spec), (W[:, :2], w_spec)), batch)


# What a rule can say.


def summary(x: jax.Array, w: jax.Array) -> tuple[jax.Array, ...]:
    """Five results of four dtypes, of which each lacks other dimensions."""
    return x @ w, w.sum(1), (w > 1).astype(jnp.int32).sum(0), (w > 0).astype(jnp.float16), (w * x[:, None]).sum()


@pytest.mark.parametrize(("axes", "w_spec"), [(LINE, P("d")), (LINE, P(None, "d")), (SQUARE, P("b", "a"))], ids=str)
def test_each_result_is_reduced_over_the_axes_that_cut_what_it_lacks(kind: AxisType, axes: Any, w_spec: Any) -> None:
    operator = divisible("summary", summary, "i, i k -> k, i, k, i k,", reduce="sum")
    left_in_place(check(mesh_of(kind, axes), operator, summary, (X, P()), (W, w_spec)), W)


REDUCTIONS: dict[str, tuple[Any, Function]] = {
    "sum": ("sum", jnp.sum),
    "max": ("max", jnp.max),
    "min": ("min", jnp.min),
    "a function that JAX knows to give the same everywhere": (lambda x, axes: jax.lax.psum(x, axes), jnp.sum),
    "any function": (lambda x, axes: jnp.prod(jax.lax.all_gather(x, axes), 0), jnp.prod),
}


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_results_are_reduced_as_declared(line: jax.sharding.Mesh, reduction: str, dtype: Any) -> None:
    reduce, function = REDUCTIONS[reduction]
    operator = divisible("reduced", lambda w: function(w, 0), "i k -> k", reduce=reduce)
    check(line, operator, lambda w: function(w, 0), ((3 * W).round().astype(dtype), P("d")))


def test_bools_are_reduced(line: jax.sharding.Mesh) -> None:
    check(
        line,
        divisible("any", lambda w: (w > 1).any(0), "i k -> k", reduce="max"),
        lambda w: (w > 1).any(0),
        (W, P("d")),
    )


@pytest.mark.parametrize("spec", [P("d"), P(None, "d")], ids=str)
def test_without_a_reduction_what_a_result_lacks_is_kept_whole(line: jax.sharding.Mesh, spec: Any) -> None:
    compiled = check(line, divisible("whole", product, "i, i k -> k"), product, (X, P("d")), (W, spec))
    assert ("all-gather", W.size) in collectives(compiled) or spec != P("d")
    assert all(what == "all-gather" for what, _ in collectives(compiled))


@pytest.mark.parametrize("spec", [P("d"), P(None, "d")], ids=str)
def test_a_dimension_named_by_an_underscore_is_kept_whole(line: jax.sharding.Mesh, spec: Any) -> None:
    operator = divisible("running", lambda w: jnp.cumsum(w, 0), "_ k -> _ k", reduce="sum")
    compiled = check(line, operator, lambda w: jnp.cumsum(w, 0), (W, spec))
    assert bool(collectives(compiled)) == (spec == P("d"))


def test_a_rule_may_depend_on_types_and_params(line: jax.sharding.Mesh) -> None:
    def function(x: jax.Array, *, sign: int) -> Any:
        return sign * jnp.cumsum(x, 0)

    def rule(x: jax.core.ShapedArray, *, sign: int) -> str:
        asked.append((x.shape, x.dtype, sign))
        return "_ k -> _ k" if x.ndim == 2 else "_ -> _"

    asked: list[Any] = []
    operator = divisible("ruled", function, rule)
    for array, spec in ((W, P(None, "d")), (X, P("d"))):
        check(line, lambda x: operator(x, sign=-1), lambda x: -jnp.cumsum(x, 0), (array, spec))
    assert set(asked) == {(W.shape, W.dtype, -1), (X.shape, X.dtype, -1)}


SCALARS: dict[str, tuple[Function, str, tuple[Placed, ...]]] = {
    "an operand": (lambda a, x: a * x, ", i -> i", ((np.float32(3), P()), (X, P("d")))),
    "a result": (lambda x: x.max(), "i ->", ((X, P("d")),)),
    "both": (lambda a, x: (a + x.max(), a * x), ", i -> , i", ((np.float32(3), P()), (X, P("d")))),
    "all": (lambda a, b: a * b, ", -> ", ((np.float32(3), P()), (np.float32(2), P()))),
    "no result": (lambda x: (), "i ->", ((X, P("d")),)),
}


@pytest.mark.parametrize("name", SCALARS)
def test_scalars_are_divided_too(line: jax.sharding.Mesh, name: str) -> None:
    function, rule, placed = SCALARS[name]
    check(line, divisible("scalars", function, rule, reduce="max"), function, *placed)


# Loops, as under `vmap` the generator "rbg" makes of each key what depends on the others.
RANDOM: dict[str, tuple[Function, str]] = {
    "numbers from keys": (lambda keys: jax.lax.map(lambda key: jax.random.normal(key, (3,)), keys), "i -> i j"),
    "keys from keys": (lambda keys: jax.lax.map(lambda key: jax.random.fold_in(key, 7), keys), "i -> i"),
    "a sum over keys": (lambda keys: jax.lax.map(jax.random.normal, keys).sum(), "i ->"),
}


@pytest.mark.parametrize("name", RANDOM)
@pytest.mark.parametrize("generator", ["threefry2x32", "rbg"])
def test_random_keys_are_divided_too(line: jax.sharding.Mesh, name: str, generator: str) -> None:
    function, rule = RANDOM[name]
    keys = jax.random.split(jax.random.key(3, impl=generator), 64)
    operator = divisible("random", function, rule, reduce="sum")

    operands = put(line, (keys, P("d")))
    with jax.set_mesh(line):
        compiled = jax.jit(operator).lower(*operands).compile()
        got = compiled(*operands)
    left_in_place(compiled, keys)
    expected = function(keys)
    if jnp.issubdtype(expected.dtype, jax.dtypes.prng_key):
        assert got.dtype == expected.dtype
        got, expected = jax.random.key_data(got), jax.random.key_data(expected)
    agree(got, expected)


EMPTY: dict[str, tuple[tuple[int, int], tuple[int, int], Any, Any]] = {
    "no rows": ((4, 0), (0, 8), P(None, "d"), P("d")),
    "no columns": ((4, 8), (8, 0), P(None, "d"), P("d")),
    "columns of no length": ((4, 8), (8, 0), P(), P(None, "d")),
    "no batch": ((0, 8), (8, 4), P("d"), P()),
    "no batch, and rows": ((0, 8), (8, 4), P(None, "d"), P("d")),
    "nothing at all": ((0, 0), (0, 0), P("d"), P(None, "d")),
}


@pytest.mark.parametrize("name", EMPTY)
def test_empty_arrays_are_divided_too(kind: AxisType, line: jax.sharding.Mesh, name: str) -> None:
    if jax.__version_info__ < (0, 10) and kind is AxisType.Explicit and name in ("columns of no length", "no batch"):
        pytest.skip("JAX 0.9 itself loses how an empty result is sharded")
    x_shape, w_shape, x_spec, w_spec = EMPTY[name]
    placed = (np.ones(x_shape, np.float32), x_spec), (np.ones(w_shape, np.float32), w_spec)
    check(line, matmat(), product, *placed)


# Where operands want different things.


def test_of_operands_that_are_cut_differently_the_larger_one_stays(line: jax.sharding.Mesh) -> None:
    long = rng.normal(size=(64, 16)).astype(np.float32)
    for x, w in ((long[:, :4].T, long), (np.tile(XS, (64, 1)), W)):
        larger = max(x, w, key=np.size)
        left_in_place(check(line, matmat(), product, (x, P("d")), (w, P("d"))), larger)


def test_the_same_array_twice_and_cut_in_two_ways_is_right(square: jax.sharding.Mesh) -> None:
    operator = divisible("difference", jnp.subtract, "i k, i k -> i k")
    for spec in (P("b", "a"), P(None, "a"), P(("a", "b"))):
        check(square, operator, jnp.subtract, (W, P("a", "b")), (2 * W, spec))


@pytest.mark.parametrize("w_spec", [P("d"), P(None, "d"), P()], ids=str)
def test_a_result_is_where_it_is_asked_to_be(w_spec: Any) -> None:
    mesh, operator = mesh_of(AxisType.Auto, LINE), vecmat()
    wanted = jax.NamedSharding(mesh, P("d"))
    operands = put(mesh, (X, P()), (W, w_spec))

    def constrained(x: jax.Array, w: jax.Array) -> Any:
        return jax.lax.with_sharding_constraint(operator(x, w), wanted)

    for jitted in (jax.jit(operator, out_shardings=wanted), jax.jit(constrained)):
        compiled = jitted.lower(*operands).compile()
        out = compiled(*operands)
        agree(out, X @ W)
        assert out.sharding == wanted
        left_in_place(compiled, W)


def test_operands_are_where_in_shardings_puts_them() -> None:
    mesh = mesh_of(AxisType.Auto, LINE)
    places = (jax.NamedSharding(mesh, P()), jax.NamedSharding(mesh, P("d")))
    compiled = jax.jit(vecmat(), in_shardings=places).lower(X, W).compile()
    agree(compiled(X, W), X @ W)
    left_in_place(compiled, W)


@pytest.mark.parametrize("spec", [P("d"), P(None, "d"), P(("a", "b"), None), P("a", "b")], ids=str)
def test_a_length_that_devices_do_not_divide_is_right(spec: Any) -> None:
    mesh = mesh_of(AxisType.Auto, LINE if "d" in str(spec) else SQUARE)
    operator, x, w = vecmat(), X[:6], W[:6, :7]

    def cut(x: jax.Array, w: jax.Array) -> Any:
        return operator(x, jax.lax.with_sharding_constraint(w, jax.NamedSharding(mesh, spec)))

    agree(jax.jit(cut)(x, w), x @ w)


def test_an_array_that_is_cut_by_a_part_of_an_axis_is_right() -> None:
    """A reshape divides the mesh axis between two dimensions, and the parts have no name."""
    mesh = mesh_of(AxisType.Auto, LINE)
    operator = divisible("double", lambda x: 2 * x, "i j -> i j")
    (x,) = put(mesh, (X, P("d")))
    for shape in ((2, 4), (4, 2)):
        agree(jax.jit(lambda x, shape=shape: operator(x.reshape(shape)))(x), 2 * X.reshape(shape))
        agree(jax.jit(lambda x, shape=shape: operator(x.reshape(shape)).reshape(8))(x), 2 * X)
        twice = jax.jit(lambda x, shape=shape: operator(operator(x.reshape(shape)).T))
        agree(twice(x), 4 * X.reshape(shape).T)


# What a device computes.


def test_a_device_computes_on_its_piece_with_the_kernel_that_was_asked_for(kind: AxisType) -> None:
    operator = counted()
    for axes, spec, devices in ((LINE, P("d"), 4), (LINE, P(None, "d"), 1), (SQUARE, P("a", "b"), 2)):
        x, w = put(mesh_of(kind, axes), (X, P()), (W, spec))
        jitted = jax.jit(operator, static_argnames="backend")
        assert added(jitted(x, w)) == added(operator(x, w)) == devices
        assert added(jitted(x, w, backend="plus3")) == added(operator(x, w, backend="plus3")) == 3 * devices
        with use_backend("plus2"):
            assert added(jitted(x, w)) == added(operator(x, w)) == 2 * devices
            assert added(jitted(x, w, backend="reference")) == 0
            lowered = jitted.lower(x, w)
        assert added(lowered.compile()(x, w)) == 2 * devices
        operator.set_default("cpu", "plus3")
        assert added(jitted(x, w)) == added(operator(x, w)) == 3 * devices
        operator.set_default("cpu", None)
        assert added(jitted(x, w)) == devices


def test_threads_compile_the_same_function_each_for_its_own_backend(line: jax.sharding.Mesh) -> None:
    jitted, operands = jax.jit(counted()), put(line, (X, P()), (W, P("d")))
    seen: dict[int, int] = {}
    together = threading.Barrier(3)

    def work(number: int) -> None:
        with use_backend(f"plus{number}"):
            together.wait()
            seen[number] = added(jitted(*operands))

    threads = [threading.Thread(target=work, args=(number,)) for number in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {1: 4, 2: 8, 3: 12}


def test_a_computation_of_ones_own_runs_on_each_device_and_only_where_the_call_is_divided(line: Any) -> None:
    def function(x: jax.Array, w: jax.Array, *, by: int) -> Any:
        return by * (x @ w)

    def compute(x: jax.Array, w: jax.Array, *, by: int) -> Any:
        shapes.append((x.shape, w.shape))
        return by * (x @ w) + 1

    shapes: list[Any] = []
    operator = divisible("own", function, "i, i k -> k", reduce="sum", compute=compute)
    agree(jax.jit(operator, static_argnames="by")(X, W, by=2), 2 * (X @ W))
    assert not shapes
    check(line, lambda x, w: operator(x, w, by=2), lambda x, w: 2 * (x @ w) + 4, (X, P()), (W, P("d")))
    assert set(shapes) == {((2,), (2, 32))}


def test_a_computation_of_ones_own_hands_the_backend_down(line: jax.sharding.Mesh) -> None:
    inner = counted()
    operator = counted(compute=lambda x, w: inner(x, w))
    x, w = put(line, (X, P()), (W, P("d")))
    assert added(jax.jit(operator)(x, w)) == 4
    assert added(jax.jit(lambda x, w: operator(x, w, backend="plus2"))(x, w)) == 8
    with use_backend("plus3"):
        lowered = jax.jit(operator).lower(x, w)
    assert added(lowered.compile()(x, w)) == 12


WRONG: dict[str, tuple[Function, str]] = {
    "shape": (lambda x, w: (x @ w)[:1], r"partition of own, result 0 on one device: got f32\[1\]; expected f32\[32\]"),
    "dtype": (lambda x, w: (x @ w).astype(jnp.float16), r"result 0 on one device: got f16\[32\]; expected f32\[32\]"),
    "structure": (lambda x, w: (x @ w, x), r"result 0 on one device: got tuple; expected f32\[32\]"),
    "nothing": (lambda x, w: None, r"partition of own.*: got NoneType; expected"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_computation_that_returns_another_type_is_an_error(line: jax.sharding.Mesh, kind: Any, name: str) -> None:
    """What is raised while XLA divides a program reaches the caller as text."""
    compute, message = WRONG[name]
    operator = divisible("own", product, "i, i k -> k", reduce="sum", compute=compute)
    expected = jax.errors.JaxRuntimeError if kind == AxisType.Auto else RuleOutputError
    with pytest.raises(expected, match=message):
        jax.jit(operator)(*put(line, (X, P()), (W, P("d"))))


def test_a_refused_request_and_several_refusals_are_errors_with_the_reasons(line: Any, kind: AxisType) -> None:
    poor = XLACustomKernel("poor")
    poor.def_shape_rule(lambda x, w: jax.ShapeDtypeStruct(w.shape[1:], w.dtype))
    poor.def_partition("i, i k -> k", reduce="sum")
    poor.def_kernel("plus1", "cpu", lambda i, o: product, supports=lambda ins: f"it wants more than {ins[0].size} rows")
    operands = put(line, (X, P()), (W, P("d")))
    causes: list[tuple[str | None, type[Exception], str]] = [
        ("plus1", BackendRefusedError, "'plus1' does not serve poor: it wants more than 2 rows"),
        ("plus2", UnknownBackendError, "'plus2' does not serve poor: it has no such kernel"),
        (None, NoBackendError, r"poor has no kernel for \(f32\[2\], f32\[2,32\]\) on cpu"),
    ]
    for backend, error, message in causes:
        expected = jax.errors.JaxRuntimeError if kind == AxisType.Auto else error
        with pytest.raises(expected, match=message):
            jax.jit(lambda x, w, backend=backend: poor(x, w, backend=backend))(*operands)


def test_a_backend_that_refuses_a_piece_falls_through_with_a_warning(line: jax.sharding.Mesh) -> None:
    operator = counted()
    operator.def_kernel(
        "whole", "cpu", lambda i, o: product, supports=lambda ins: ins[0].size == 8 or "it wants it all"
    )
    operands = put(line, (X, P()), (W, P("d")))
    with use_backend("whole"):
        agree(operator(X, W), X @ W)
        with pytest.warns(BackendFallbackWarning, match="'whole' does not serve counted: it wants it all"):
            assert added(operator(*operands)) == 4


# What is declared wrongly.


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("i, i k", r"partition rule 'i, i k' of wrong: expected operands, '->' and results"),
        ("i, i -> k", r"partition rule 'i, i -> k' of wrong, operand 1: got 1 names, 'i'; expected 2, as \(8, 32\)"),
        ("i, k i -> k", r"operand 1: got 'i' of length 32; expected 8"),
        (lambda x, w: 3, "partition rule of wrong: got int; expected a string"),
        (lambda x, w: None, "partition rule of wrong: got NoneType; expected a string"),
    ],
)
def test_a_rule_that_does_not_fit_is_an_error_where_it_is_used(
    line: jax.sharding.Mesh, rule: Any, message: str
) -> None:
    operator = divisible("wrong", product, rule, reduce="sum")
    agree(operator(X, W), X @ W)  # one device needs no rule
    for call in (operator, jax.jit(operator)):
        with pytest.raises(ParameterError, match=message):
            call(*put(line, (X, P()), (W, P("d"))))


@pytest.mark.parametrize("reduce", ["mean", 3, "SUM"])
def test_an_unknown_reduction_is_an_error(reduce: Any) -> None:
    with pytest.raises(
        ParameterError, match=rf"def_partition of wrong: got reduce={reduce!r}; expected None, a fun.*'max'"
    ):
        divisible("wrong", product, "i, i k -> k", reduce=reduce)


def test_a_partition_needs_a_shape_rule(line: jax.sharding.Mesh) -> None:
    operator = XLACustomKernel("ruleless", reference=lambda x, w, outs: x @ w)
    operator.def_partition("i, i k -> k", reduce="sum")
    struct = jax.ShapeDtypeStruct((32,), np.float32)
    agree(operator(X, W, outs=struct), X @ W)
    with pytest.raises(ParameterError, match="ruleless: def_partition needs a shape rule"):
        operator(*put(line, (X, P()), (W, P("d"))), outs=struct)


# Meshes.


def test_a_mixed_mesh_and_an_axis_that_nothing_uses_are_right() -> None:
    mesh = jax.make_mesh((2, 1, 2), ("a", "unused", "b"), axis_types=(AxisType.Auto, AxisType.Auto, AxisType.Explicit))
    for spec in (P("a", "b"), P("b", "a"), P(("b", "a")), P("b"), P("a")):
        check(mesh, vecmat(), product, (X, P()), (W, spec))


@pytest.mark.parametrize("devices", [slice(None, None, -1), slice(2), slice(1, 3)], ids=str)
def test_devices_in_another_order_and_some_of_them_are_right(kind: AxisType, devices: slice) -> None:
    chosen = np.array(jax.devices()[devices])
    mesh = jax.sharding.Mesh(chosen.reshape(-1, 2), ("a", "b"), axis_types=(kind, kind))
    for spec in (P("a", "b"), P(("b", "a"))):
        left_in_place(check(mesh, vecmat(), product, (X, P("b")), (W, spec)), W)


def test_functions_that_see_a_mesh_may_be_what_a_device_computes(kind: AxisType) -> None:
    """Under ``jax.set_mesh`` many functions of ``jax.numpy`` ask how their results are to be sharded."""
    mesh = mesh_of(kind, LINE)
    operator = divisible("outer", jnp.outer, "i, k -> i k", compute=lambda x, y: jnp.outer(x, y))
    for x_spec, y_spec in ((P(), P()), (P("d"), P()), (P(), P("d"))):
        check(mesh, operator, jnp.outer, (X, x_spec), (X[:4], y_spec))


def test_donated_operands_are_given_up(line: jax.sharding.Mesh) -> None:
    operator = divisible("scaled", lambda x, w: x[:, None] * w, "i, i k -> i k")
    x, w = put(line, (X, P()), (W, P("d")))
    agree(jax.jit(operator, donate_argnums=1)(x, w), X[:, None] * W)
    assert w.is_deleted()


# What is compiled, and how often.


def test_a_function_is_traced_and_compiled_once(line: jax.sharding.Mesh) -> None:
    operator, traces = vecmat(), []

    @jax.jit
    def jitted(x: jax.Array, w: jax.Array) -> Any:
        traces.append(x)
        return operator(x, w)

    operands = put(line, (X, P()), (W, P("d")))
    jitted(*operands), operator(*operands)
    with count_compilations() as compiled:
        jitted(*operands), operator(*operands)
        assert (len(traces), compiled()) == (1, 0)


def test_on_one_device_a_program_is_the_same_as_without_a_partition() -> None:
    one = jax.make_mesh((1,), ("d",), axis_types=(AxisType.Auto,), devices=jax.devices()[:1])
    for operands in ([X, W], put(one, (X, P("d")), (W, P("d")))):
        texts = [jax.jit(f).lower(*operands).as_text() for f in (vecmat(), kernel("vecmat", product))]
        assert texts[0] == texts[1]
        assert "custom_call" not in texts[0]


def test_an_operator_without_a_partition_is_not_divided() -> None:
    operands = put(mesh_of(AxisType.Auto, LINE), (X, P()), (W, P("d")))
    assert "custom_call" not in jax.jit(kernel("vecmat", product)).lower(*operands).as_text()
    assert "custom_call" in jax.jit(vecmat()).lower(*operands).as_text()


def test_programs_that_run_different_kernels_can_be_told_apart_on_disk() -> None:
    """JAX writes a partition into a program as an address, which another one may have in another run."""
    operator, operands = counted(), put(mesh_of(AxisType.Auto, LINE), (X, P()), (W, P("d")))
    texts = [
        jax.jit(operator, static_argnames="backend").lower(*operands, backend=f"plus{i}").as_text() for i in (1, 2)
    ]
    bare = [re.sub(r'backend_config = "\d+"', "", text) for text in texts]
    assert bare[0] != texts[0]
    assert bare[0] != bare[1]


def test_a_program_over_sharded_arrays_can_be_exported(line: jax.sharding.Mesh) -> None:
    operands = put(line, (X, P()), (W, P("d")))
    exported = export.export(jax.jit(vecmat()))(*operands)
    assert exported.nr_devices == 4
    assert "CustomSPMDPartitioning" not in exported.mlir_module()
    agree(exported.call(*operands), X @ W)
