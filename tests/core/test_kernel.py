"""``XLACustomKernel``: declared once, it is called like a function and passes through what JAX does to functions."""

import functools
import math
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikax_core import OutputMismatchError, ParameterError, RuleOutputError, XLACustomKernel
from spikax_core._compat import UndefinedPrimal, is_zero
from tests.core.operators import DIFFERENTIABLE, Function, kernel, matvec, product, same, step

X = jnp.array([0.3, -1.2, 2.5, 0.7])
Y = jnp.array([0.4, 1.5, -0.2, 0.6])
F32 = jax.ShapeDtypeStruct((4,), jnp.float32)
I32 = jax.ShapeDtypeStruct((4,), jnp.int32)


# Calling it.


@pytest.mark.parametrize(
    ("outs", "function"),
    [
        (F32, lambda x: x * 2),
        ((F32,), lambda x: (x * 2,)),
        ([F32, I32], lambda x: [x, x.astype(int)]),
        ({"b": F32, "a": (I32, F32)}, lambda x: {"a": (x.astype(int), x + 1), "b": x}),
        ((), lambda x: ()),
    ],
)
def test_the_result_has_the_structure_of_outs(outs: Any, function: Function) -> None:
    operator = XLACustomKernel("structured", reference=lambda x, outs: function(x))
    same(operator(X, outs=outs), function(X))
    same(jax.jit(functools.partial(operator, outs=outs))(X), function(X))


def test_outs_may_be_left_out_when_there_is_a_shape_rule() -> None:
    same(kernel("product", product)(X, Y), X * Y)


def test_without_outs_and_a_shape_rule_the_call_is_an_error() -> None:
    with pytest.raises(ParameterError, match="double has no shape rule; pass outs="):
        XLACustomKernel("double", reference=lambda x: 2 * x)(X)


def test_outs_are_checked_against_the_shape_rule() -> None:
    operator = kernel("product", product)
    same(operator(X, Y, outs=F32), X * Y)
    for outs, text in ((I32, r"\(i32\[4\]\)"), ((F32, F32), r"\(f32\[4\], f32\[4\]\)"), ((F32,), r"\(f32\[4\]\)")):
        with pytest.raises(OutputMismatchError, match=rf"product: outs= says {text}, the shape rule \(f32\[4\]\)"):
            operator(X, Y, outs=outs)


def test_something_else_than_a_struct_in_outs_is_an_error() -> None:
    with pytest.raises(ParameterError, match=r"declared result: got 3; expected a jax.ShapeDtypeStruct"):
        XLACustomKernel("double", reference=lambda x: 2 * x)(X, outs=(3, 4))


def test_a_shape_rule_gets_the_types_of_the_inputs_and_the_params() -> None:
    operator = XLACustomKernel("tile", reference=lambda x, *, times: jnp.tile(x, times))
    operator.def_shape_rule(lambda x, *, times: jax.ShapeDtypeStruct((x.size * times,), x.dtype))
    same(operator(X, times=2), jnp.tile(X, 2))
    same(operator(X.astype(jnp.int8), times=3), jnp.tile(X.astype(jnp.int8), 3))


def test_a_shape_rule_may_return_the_type_of_an_input() -> None:
    operator = XLACustomKernel("double", reference=lambda x: 2 * x)
    operator.def_shape_rule(lambda x: x)
    same(operator(X), 2 * X)


def test_a_shape_rule_tells_params_of_equal_value_but_other_type_apart() -> None:
    operator = XLACustomKernel("typed", reference=lambda x, *, by: jnp.full((), by))
    operator.def_shape_rule(lambda x, *, by: jax.ShapeDtypeStruct((), jnp.result_type(type(by))))
    assert [operator(X, by=by).dtype for by in (1, 1.0, True)] == [jnp.int32, jnp.float32, jnp.bool]


def test_a_shape_rule_follows_the_width_of_types() -> None:
    operator = kernel("count", lambda x: jnp.arange(x.size))
    assert operator(X).dtype == jnp.int32
    with jax.enable_x64(True):
        assert operator(X).dtype == jnp.int64
    assert operator(X).dtype == jnp.int32


def test_a_shape_rule_can_be_replaced() -> None:
    operator = XLACustomKernel("arange", reference=lambda x: jnp.arange(4, dtype=jnp.int32))
    operator.def_shape_rule(lambda x: F32)
    with pytest.raises(OutputMismatchError):
        operator(X)
    operator.def_shape_rule(lambda x: I32)
    same(operator(X), jnp.arange(4))


def test_an_operator_without_a_shape_rule_hands_outs_to_its_reference_and_rules() -> None:
    seen: list[Any] = []

    def reference(x: jax.Array, *, outs: Any) -> jax.Array:
        seen.append(outs)
        return x.astype(outs.dtype)

    def rule(t: jax.Array, x: jax.Array, *, outs: Any) -> jax.Array:
        seen.append(outs)
        return t.astype(outs.dtype)

    operator = XLACustomKernel("cast", reference=reference)
    operator.def_jvp_rule2(rule)
    half = jax.ShapeDtypeStruct((4,), jnp.float16)
    same(jax.jvp(lambda x: operator(x, outs=half), (X,), (Y,)), (X.astype(jnp.float16), Y.astype(jnp.float16)))
    assert [(o.shape, o.dtype) for o in seen] == [((4,), jnp.float16)] * 2


@pytest.mark.parametrize("value", [[1, 2], {"a": 1}, {1}, np.zeros(2), jnp.zeros(2), bytearray()], ids=type)
def test_a_param_that_cannot_be_hashed_is_named(value: Any) -> None:
    operator = kernel("scale", lambda x, *, n, by: x * by)
    with pytest.raises(TypeError, match=rf"scale: param 'by' is a {type(value).__name__}, which cannot be hashed"):
        operator(X, n=1, by=value)


def test_a_traced_param_is_named() -> None:
    operator = kernel("scale", lambda x, *, by: x * by)
    with pytest.raises(ParameterError, match=r"scale: param 'by' is a \w*Tracer"):
        jax.jit(lambda by: operator(X, by=by))(2.0)


@pytest.mark.parametrize("by", [math.nan, -0.0, math.inf, (1, (2.0, "x")), None, "name", jnp.float32, max])
def test_any_hashable_param_works(by: Any) -> None:
    operator = kernel("repeat", lambda x, *, by: x * 2)
    same(operator(X, by=by), X * 2)
    same(jax.jit(functools.partial(operator, by=by))(X), X * 2)


def test_nan_reaches_the_kernel() -> None:
    operator = kernel("fill", lambda x, *, by: x * by)
    assert np.isnan(operator(X, by=float("nan"))).all()


def test_a_shape_rule_that_forgets_to_return_is_an_error() -> None:
    operator = XLACustomKernel("silent", reference=lambda x: x)
    operator.def_shape_rule(lambda x: None)
    with pytest.raises(ParameterError, match="shape rule of silent: got None; expected a pytree"):
        operator(X)


DECLARATIONS: dict[str, Function] = {
    "def_shape_rule of product": lambda o: o.def_shape_rule(3),
    "def_reference of product": lambda o: o.def_reference(3),
    "def_jvp_rule of product": lambda o: o.def_jvp_rule(3),
    "def_transpose_rule of product": lambda o: o.def_transpose_rule(3),
    "def_batching_rule of product": lambda o: o.def_batching_rule(3),
    "def_benchmark_data of product": lambda o: o.def_benchmark_data(3),
    "product: build of 'own'": lambda o: o.def_kernel("own", "cpu", 3),
    "product: supports of 'own'": lambda o: o.def_kernel("own", "cpu", lambda *_: product, supports=3),
    "def_numba_kernel of product": lambda o: o.def_numba_kernel(3),
    "def_warp_kernel of product": lambda o: o.def_warp_kernel(3),
    "def_pallas_kernel of product": lambda o: o.def_pallas_kernel(3, "cpu"),
}


@pytest.mark.parametrize("where", DECLARATIONS)
def test_a_number_in_the_place_of_a_function_is_an_error_where_it_is_declared(where: str) -> None:
    operator = kernel("product", product)
    with pytest.raises(ParameterError, match=f"{where}: got int; expected a function"):
        DECLARATIONS[where](operator)
    same(operator(X, Y), X * Y)


def test_a_build_that_returns_no_function_is_an_error() -> None:
    operator = kernel("product", product)
    operator.def_kernel("own", "cpu", lambda in_avals, out_avals: None)  # type: ignore[arg-type, return-value]
    with pytest.raises(ParameterError, match="build of 'own' of product returned: got NoneType; expected a function"):
        operator(X, Y)


def test_an_error_in_a_shape_rule_is_left_as_it_is() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'by'"):
        kernel("product", product)(X, Y, by=3)


def test_an_input_that_is_no_array_is_jaxs_error() -> None:
    with pytest.raises(TypeError, match="not a valid JAX type"):
        kernel("product", product)([1.0], X)


@pytest.mark.parametrize("x", [2.0, np.float32(2), np.array([1.0, 2.0], np.float32), jnp.asarray(2.0), 3, True])
def test_numpy_arrays_and_python_scalars_are_inputs_and_results_are_never_weak(x: Any) -> None:
    operator = kernel("double", lambda x: ~x if x.dtype == "bool" else x + x)
    for result in (operator(x), jax.jit(operator)(x)):
        same(result, operator(jnp.array(x)))
        assert not result.weak_type
    assert not jax.eval_shape(operator, x).weak_type


def test_no_inputs_at_all_work() -> None:
    same(kernel("constant", lambda: jnp.arange(3))(), jnp.arange(3))


@pytest.mark.parametrize("shape", [(0,), (3, 0), ()])
def test_empty_inputs_and_scalars_work(shape: tuple[int, ...]) -> None:
    same(kernel("product", product)(jnp.ones(shape), jnp.ones(shape)), jnp.ones(shape))


# What JAX does to functions.


def test_it_runs_inside_control_flow() -> None:
    operator = kernel("product", product)

    def loop(f: Function, x: jax.Array, y: jax.Array) -> Any:
        _, ys = jax.lax.scan(lambda c, t: (f(c, y), f(c, t)), x, jnp.stack([y, y + 1]))
        z = jax.lax.fori_loop(0, 3, lambda i, c: f(c, y), x)
        return (
            ys,
            jax.lax.cond(z.sum() > 0, f, lambda a, b: a, z, y),
            jax.lax.while_loop(lambda c: jnp.abs(c).sum() > 0.01, lambda c: f(c, y / 2), x),
        )

    for run in (loop, jax.jit(loop, static_argnums=0)):
        same(run(operator, X, Y), loop(product, X, Y))


def test_it_leaks_no_tracers() -> None:
    operator = matvec()
    w = jnp.ones((3, 4))
    with jax.checking_leaks():
        jax.jit(jax.vmap(jax.grad(lambda w, x: jnp.sum(operator(w, x) ** 2)), (None, 0)))(w, X[None])


def test_two_compiled_functions_can_close_over_the_same_operands() -> None:
    operator = kernel("product", product)
    for scale in (2.0, 3.0):
        same(jax.jit(lambda x, scale=scale: operator(x, Y) * scale)(X), X * Y * scale)


def test_donated_operands_work() -> None:
    operator, donated = kernel("product", product), X + 0
    same(jax.jit(operator, donate_argnums=0)(donated, Y), X * Y)
    assert donated.is_deleted()


def test_it_does_not_trace_again_when_only_values_change() -> None:
    traces = []

    def reference(x: jax.Array, y: jax.Array) -> jax.Array:
        traces.append(x)
        return x * y

    operator = kernel("product", reference)
    for run in (operator, jax.jit(operator)):
        run(X, Y)
        before = len(traces)
        run(Y, X)
        assert len(traces) == before


def test_two_operators_may_have_one_name() -> None:
    first, second = kernel("same", lambda x: x + 1), kernel("same", lambda x: x + 2)
    for run in (lambda x: (first(x), second(x)), jax.jit(lambda x: (first(x), second(x)))):
        same(run(X), (X + 1, X + 2))


def test_a_jaxpr_shows_its_name_its_params_and_its_types() -> None:
    text = str(jax.make_jaxpr(lambda x: kernel("scale", lambda x, *, by: x * by)(x, by=2.0, backend="reference"))(X))
    assert "scale[spikax_call=(f32[4]) with by=2.0 on reference]" in text


def test_its_repr_names_its_kernels() -> None:
    operator = kernel("product", product)
    assert repr(operator) == "XLACustomKernel('product', kernels: none)"
    operator.def_kernel("fast", "cpu", lambda i, o: product)
    assert repr(operator) == "XLACustomKernel('product', kernels: fast on cpu)"


def test_its_tags_are_those_given_last() -> None:
    operator = kernel("product", product)
    assert operator.tags == frozenset()
    operator.def_tags("sparse", "binary", "sparse")
    assert operator.tags == {"sparse", "binary"}
    operator.def_tags("dense")
    assert operator.tags == {"dense"}
    with pytest.raises(ParameterError, match=r"def_tags of product: got \('a', 3\); expected strings"):
        operator.def_tags("a", 3)  # type: ignore[arg-type]
    assert operator.tags == {"dense"}


# Kernels.


def test_a_kernel_is_built_from_types_and_params() -> None:
    seen: list[Any] = []

    def build(in_avals: Any, out_avals: Any, **params: Any) -> Function:
        seen.append(([a.shape for a in in_avals], [a.shape for a in out_avals], params))
        return lambda x: [x * params["by"]]  # a list of one serves a bare result, as jax.ffi.ffi_call gives it

    operator = XLACustomKernel("scale")
    operator.def_kernel("own", "cpu", build)
    same(operator(X, by=2.0, outs=F32), X * 2)
    assert seen == [([(4,)], [(4,)], {"by": 2.0})]


def test_an_ffi_kernel_gets_operands_results_and_params_as_attributes() -> None:
    operator = XLACustomKernel("native")
    operator.def_ffi_kernel("my_target", "cpu")
    operator.def_ffi_kernel("my_cuda_target", "cuda")
    call = jax.jit(lambda x, y: operator(x, y, outs=(F32, I32), size=np.int32(3)))
    text = call.trace(X, Y).lower().as_text()
    assert "stablehlo.custom_call @my_target(" in text
    assert "size = 3 : i32" in text
    assert "(tensor<4xf32>, tensor<4xf32>) -> (tensor<4xf32>, tensor<4xi32>)" in text
    assert "@my_cuda_target(" in call.trace(X, Y).lower(lowering_platforms=("cuda",)).as_text()


def test_a_reference_can_be_replaced() -> None:
    operator = kernel("product", lambda x, y: x)
    operator.def_reference(product)
    same(operator(X, Y), X * Y)


@pytest.mark.parametrize("dtype", ["float64", "int64", "complex128", "bfloat16", "uint8", "bool"])
def test_a_result_may_have_any_dtype(dtype: str) -> None:
    with jax.enable_x64(True):
        operator = XLACustomKernel("cast", reference=lambda x: x.astype(dtype))
        operator.def_shape_rule(lambda x: jax.ShapeDtypeStruct(x.shape, dtype))
        same(operator(X), X.astype(dtype))


@pytest.mark.parametrize(
    ("result", "got"),
    [
        (lambda x: x[:1], r"\(f32\[1\]\)"),
        (lambda x: x.astype(jnp.float16), r"\(f16\[4\]\)"),
        (lambda x: (x, x), r"\(f32\[4\], f32\[4\]\)"),
        (lambda x: None, r"\(\)"),
        (lambda x: "text", r"\(str\)"),
        (lambda x: 1.0, r"\(f32\[\]\)"),
        (lambda x: np.zeros(4), r"\(f64\[4\]\)"),
    ],
)
def test_outputs_other_than_declared_are_an_error_with_both(result: Function, got: str) -> None:
    for backend in ("reference", "own"):
        operator = XLACustomKernel("wrong", reference=result)
        operator.def_shape_rule(lambda x: F32)
        operator.def_kernel("own", "cpu", lambda i, o: result)
        message = rf"kernel '{backend}' of wrong: got {got}; expected \(f32\[4\]\)"
        for run in (operator, jax.jit(operator, static_argnames="backend")):
            with pytest.raises(OutputMismatchError, match=message):
                run(X, backend=backend)


def test_outputs_may_be_numpy_arrays_python_scalars_and_weak() -> None:
    operator = XLACustomKernel("mixed", reference=lambda x, outs: (np.ones(4, np.float32), 2.0, jnp.asarray(1.0), True))
    scalar = jax.ShapeDtypeStruct((), jnp.float32)
    outs = (F32, scalar, scalar, jax.ShapeDtypeStruct((), jnp.bool))
    same(operator(X, outs=outs), (jnp.ones(4), jnp.float32(2), jnp.float32(1), jnp.array(True)))


# The derivative by one rule.


def test_one_rule_for_all_inputs_gives_results_and_tangents() -> None:
    operator = kernel("product", product)

    def rule(primals: Any, tangents: Any) -> Any:
        (x, y), (tx, ty) = primals, tangents
        assert not is_zero(tx)
        return operator(x, y), tx * y if is_zero(ty) else tx * y + x * ty

    operator.def_jvp_rule(rule)
    for f in (operator, jax.jit(operator)):
        same(jax.jvp(f, (X, Y), (Y, X)), jax.jvp(product, (X, Y), (Y, X)))
        same(jax.grad(lambda x, f=f: f(x, Y).sum())(X), Y)


def test_one_rule_gets_the_params_and_may_leave_tangents_out() -> None:
    operator = kernel("pair", lambda x, *, by: (x * by, (x > 0)))
    operator.def_jvp_rule(lambda primals, tangents, *, by: (operator(*primals, by=by), [tangents[0] * by, None]))
    expected = jax.jvp(lambda x: (x * 3.0, x > 0), (X,), (Y,))
    same(jax.jvp(lambda x: operator(x, by=3.0), (X,), (Y,)), expected)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda x, t: t, r"got f32\[4\]; expected a pair"),
        (lambda x, t: (x, (t,)), r"got f32\[4\]; expected a tuple of 2"),
        (lambda x, t: ((x, x), (t,)), r"got tuple of 1; expected a tuple of 2"),
        (lambda x, t: ((x, x), (t, t[:2])), r"result 1: got f32\[2\]; expected f32\[4\]"),
        (lambda x, t: ((x, x[:2]), (t, t)), r"result 1: got f32\[2\]; expected f32\[4\]"),
        (lambda x, t: ((x, x), (t.astype(jnp.float16), t)), r"result 0: got f16\[4\]; expected f32\[4\]"),
    ],
    ids=["no pair", "bare", "too few", "shape of a tangent", "shape of a result", "dtype"],
)
def test_a_wrong_result_of_the_one_rule_is_an_error_that_names_the_operator(result: Function, message: str) -> None:
    operator = kernel("wrong", lambda x: (x, x))
    operator.def_jvp_rule(lambda primals, tangents: result(*primals, *tangents))
    with pytest.raises(RuleOutputError, match=rf"JVP rule of wrong.*{message}"):
        jax.jvp(operator, (X,), (Y,))


# The transpose.


def test_a_transpose_rule_serves_grad_and_linear_transpose() -> None:
    operator = matvec()
    w = jnp.arange(12.0).reshape(3, 4)

    def loss(f: Function) -> Function:
        return lambda w, x: jnp.sum(jnp.sin(f(w, x)))

    same(jax.grad(loss(operator), (0, 1))(w, X), jax.grad(loss(jnp.matmul), (0, 1))(w, X))
    same(jax.jit(jax.grad(loss(operator), (0, 1)))(w, X), jax.grad(loss(jnp.matmul), (0, 1))(w, X))
    same(jax.linear_transpose(lambda x: operator(w, x), X)(X[:3]), (w.T @ X[:3],))
    same(jax.hessian(loss(operator))(w, X), jax.hessian(loss(jnp.matmul))(w, X), rtol=1e-5)


def scaled(rule: Function) -> XLACustomKernel:
    """Two results, linear in the first of two inputs, transposed by ``rule``."""
    operator = kernel("scaled", lambda x, n, *, by: (x * by, x * n))
    operator.def_jvp_rule2(lambda t, x, n, *, by: operator(t, n, by=by), None)
    operator.def_transpose_rule(rule)
    return operator


def test_a_transpose_rule_gets_cotangents_in_the_structure_of_the_results_and_undefined_primals() -> None:
    seen: list[Any] = []

    def rule(ct: Any, x: Any, n: Any, *, by: float) -> Any:
        seen.append((jax.tree.structure(ct, is_leaf=is_zero), isinstance(x, UndefinedPrimal), n, by))
        first, second = ct
        return [first * by if is_zero(second) else first * by + second * n, None]

    operator = scaled(rule)
    same(jax.grad(lambda x: operator(x, Y, by=2.0)[0].sum())(X), jnp.full(4, 2.0))
    same(jax.grad(lambda x: sum(o.sum() for o in operator(x, Y, by=2.0)))(X), 2 + Y)
    assert [s[0] for s in seen] == [jax.tree.structure((0, 0))] * 2
    assert all(undefined and by == 2.0 for _, undefined, _, by in seen)
    same(seen[0][2], Y)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda ct: ct[0], r"got f32\[4\]; expected a tuple of 2"),
        (lambda ct: (ct[0],), r"got tuple of 1; expected a tuple of 2"),
        (lambda ct: (ct[0][:2], None), r"argument 0: got f32\[2\]; expected f32\[4\]"),
        (lambda ct: (ct[0].astype(jnp.float16), None), r"argument 0: got f16\[4\]; expected f32\[4\]"),
        (lambda ct: (0.0, None), r"argument 0: got f32\[\]; expected f32\[4\]"),
    ],
    ids=["bare", "too few", "shape", "dtype", "scalar"],
)
def test_a_wrong_cotangent_is_an_error_that_names_the_operator_and_the_argument(result: Function, message: str) -> None:
    operator = scaled(lambda ct, x, n, *, by: result(ct))
    with pytest.raises(RuleOutputError, match=rf"transpose rule of scaled.*{message}"):
        jax.grad(lambda x: operator(x, Y, by=2.0)[0].sum())(X)


def test_cotangents_may_be_none_or_numpy_arrays_and_are_ignored_where_nothing_is_linear() -> None:
    for result, expected in (((None, None), jnp.zeros(4)), ((np.ones(4, np.float32), 7), jnp.ones(4))):
        operator = scaled(lambda ct, x, n, *, by, result=result: result)
        same(jax.grad(lambda x, f=operator: f(x, Y, by=2.0)[0].sum())(X), expected)


# Lowering for other platforms and export.


@pytest.mark.parametrize("platforms", [("cuda",), ("tpu",), ("rocm",), ("cpu", "cuda"), ("cpu", "tpu", "rocm", "cuda")])
def test_a_platform_without_a_kernel_runs_the_reference(platforms: tuple[str, ...]) -> None:
    operator = kernel("product", product)
    operator.def_kernel("own", "cpu", lambda i, o: lambda x, y: x * y + 100, exportable=True)
    exported = jax.export.export(jax.jit(operator), platforms=platforms)(X, Y)
    assert exported.platforms == platforms
    assert "stablehlo.multiply" in exported.mlir_module()
    if platforms[0] == "cpu":
        same(exported.call(X, Y), X * Y + 100)


def test_the_reference_survives_export_with_its_gradient() -> None:
    operator = matvec()
    w = jnp.arange(12.0).reshape(3, 4)
    exported = jax.export.export(jax.jit(operator))(w, X)
    same(exported.call(w, X), w @ X)
    same(exported.vjp().call(w, X, jnp.ones(3)), (jnp.stack([X] * 3), w.sum(0)))


def test_it_lowers_with_symbolic_shapes() -> None:
    operator = kernel("product", product)
    (n,) = jax.export.symbolic_shape("n")
    struct = jax.ShapeDtypeStruct((n,), jnp.float32)
    same(jax.export.export(jax.jit(operator))(struct, struct).call(X, Y), X * Y)


def test_it_compiles_ahead_of_time() -> None:
    compiled = jax.jit(DIFFERENTIABLE["operator, several results"][0]()).trace(X, Y).lower().compile()
    same(compiled(X, Y), step(X, Y))


def test_nothing_of_it_is_left_in_a_compiled_program() -> None:
    operator = kernel("product", product)
    operator.def_kernel("own", "cpu", lambda in_avals, out_avals: product)

    def instructions(multiply: Function) -> list[str]:
        text = jax.jit(lambda x, y: jnp.sin(multiply(x, y)).sum()).lower(X, Y).compile().as_text() or ""
        # The type and the kind of each; its name, and from where in Python it comes, may differ.
        return re.findall(r"= (\S+ [\w-]+)\(", text)

    assert instructions(operator) == instructions(product)
    assert any("multiply" in instruction for instruction in instructions(operator))
