"""``def_linear``: one declaration of its linear inputs gives an operator the derivatives that plain JAX would."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikax_core import (
    BackendRefusedError,
    NoRuleError,
    ParameterError,
    RuleCountError,
    RuleOutputError,
    XLACustomKernel,
    use_backend,
)
from tests.core.operators import FLOAT0, Function, kernel, same

W = jnp.arange(12.0).reshape(3, 4) / 10
X = jnp.array([0.3, -1.2, 2.5, 0.7])
N = jnp.array([2, 0, 1, 1])
MASK = jnp.array([True, False, True])
P = jax.P


# The operators, each beside the function that says what is right.


def masked(w: jax.Array, x: jax.Array, n: jax.Array, mask: jax.Array, *, by: float) -> jax.Array:
    """Linear in each of two inputs, beside an integer and a bool one."""
    y: jax.Array = w @ (x * n.astype(x.dtype)) * by
    return jnp.where(mask, y, 0)


def bilinear() -> XLACustomKernel:
    operator = kernel("masked", masked)
    outer = kernel("outer", jnp.outer)
    outer.def_linear({0: lambda ct, y, x: ct @ x, 1: lambda ct, y, x: y @ ct})

    def transpose_w(ct: Any, w: Any, x: Any, n: Any, mask: Any, *, by: float) -> Any:
        return outer(jnp.where(mask, ct, 0) * by, x * n.astype(x.dtype))

    def transpose_x(ct: Any, w: Any, x: Any, n: Any, mask: Any, *, by: float) -> Any:
        return jnp.where(mask, ct, 0) @ w * n.astype(ct.dtype) * by

    operator.def_linear({0: transpose_w, 1: transpose_x})
    return operator


def squares(w: jax.Array, x: jax.Array, n: jax.Array, mask: jax.Array, *, by: float) -> jax.Array:
    """Linear in the first input only."""
    return masked(w, x * x, n, mask, by=by)


def mixed() -> XLACustomKernel:
    operator, valued = kernel("squares", squares), bilinear()

    def transpose_w(ct: Any, w: Any, x: Any, n: Any, mask: Any, *, by: float) -> Any:
        return jnp.outer(jnp.where(mask, ct, 0) * by, x * x * n.astype(x.dtype))

    operator.def_linear({0: transpose_w})
    operator.def_jvp_rule2(None, lambda t, w, x, *rest, by: valued(w, 2 * x * t, *rest, by=by), None, None)
    return operator


def several(w: jax.Array, x: jax.Array, n: jax.Array, mask: jax.Array, *, by: float) -> dict[str, jax.Array]:
    """Linear in the first input, with results of two shapes and one that has no tangent."""
    return {"count": n + 1, "row": by * x * w[0], "sum": w.sum(0) * n.astype(w.dtype)}


def multiple() -> XLACustomKernel:
    operator = kernel("several", several)

    def transpose_w(ct: Any, w: Any, x: Any, n: Any, mask: Any, *, by: float) -> jax.Array:
        assert ct["count"].dtype == FLOAT0
        return jnp.broadcast_to(ct["sum"] * n.astype(x.dtype), (3, 4)).at[0].add(by * x * ct["row"])

    operator.def_linear({0: transpose_w})
    operator.def_jvp_rule2(None, lambda t, w, x, *_, by: {"count": None, "row": by * t * w[0], "sum": None}, None, None)
    return operator


CASES: dict[str, tuple[Callable[[], XLACustomKernel], Function]] = {
    "linear in two inputs": (bilinear, masked),
    "linear in one of two inputs": (mixed, squares),
    "several results": (multiple, several),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[Function, Function]:
    """The operator and the plain function, of the inputs that have tangents."""
    make, oracle = CASES[request.param]
    operator = make()
    return lambda w, x: operator(w, x, N, MASK, by=2.0), lambda w, x: oracle(w, x, N, MASK, by=2.0)


def floats(f: Function) -> Function:
    return lambda *args: [out for out in jax.tree.leaves(f(*args)) if jnp.issubdtype(out.dtype, jnp.inexact)]


def loss(f: Function) -> Function:
    return lambda *args: sum(jnp.sum(jnp.sin(out)) for out in floats(f)(*args))


def seeds(f: Function) -> Any:
    return [jnp.cos(jnp.arange(out.size, dtype=out.dtype)).reshape(out.shape) for out in floats(f)(W, X)]


TRANSFORMS: dict[str, Callable[[Function], Any]] = {
    "call": lambda f: f(W, X),
    "jvp": lambda f: jax.jvp(f, (W, X), (W + 1, X * 2)),
    "jvp in the first input": lambda f: jax.jvp(lambda w: f(w, X), (W,), (W + 1,)),
    "jvp in the second input": lambda f: jax.jvp(lambda x: f(W, x), (X,), (X + 1,)),
    "vjp": lambda f: jax.vjp(floats(f), W, X)[1](seeds(f)),
    "grad": lambda f: jax.grad(loss(f), (0, 1))(W, X),
    "grad of one result": lambda f: jax.grad(lambda w, x: jnp.sum(floats(f)(w, x)[-1] ** 2), (0, 1))(W, X),
    "jit of grad": lambda f: jax.jit(jax.grad(loss(f), (0, 1)))(W, X),
    "grad of jit": lambda f: jax.grad(loss(jax.jit(f)), (0, 1))(W, X),
    "linear_transpose": lambda f: jax.linear_transpose(floats(lambda w: f(w, X)), W)(seeds(f)),
    "linear_transpose of linearize": lambda f: jax.linear_transpose(jax.linearize(floats(f), W, X)[1], W, X)(seeds(f)),
    "linearize": lambda f: jax.linearize(f, W, X)[1](W + 1, X * 2),
    "hessian": lambda f: jax.hessian(loss(f), (0, 1))(W, X),
    "reverse over reverse": lambda f: jax.jacrev(jax.grad(loss(f), (0, 1)), (0, 1))(W, X),
    "jacfwd": lambda f: jax.jacfwd(floats(f), (0, 1))(W, X),
    "jacrev": lambda f: jax.jacrev(floats(f), (0, 1))(W, X),
    "checkpoint": lambda f: jax.grad(loss(jax.checkpoint(f)), (0, 1))(W, X),
    "vmap of grad": lambda f: jax.vmap(jax.grad(loss(f), (0, 1)), (None, 0))(W, jnp.stack([X, X + 1])),
    "grad of vmap": lambda f: jax.grad(loss(jax.vmap(f, (None, 0))), (0, 1))(W, jnp.stack([X, X + 1])),
    "scan": lambda f: jax.grad(
        lambda w: jnp.sum(jax.lax.scan(lambda c, x: (c + loss(f)(w, x), None), 0.0, jnp.stack([X, X + 1]))[0])
    )(W),
}


@functools.cache
def expected(oracle: str, transform: str) -> Any:
    f = CASES[oracle][1]
    return TRANSFORMS[transform](lambda w, x: f(w, x, N, MASK, by=2.0))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_it_is_differentiated_as_the_same_function_in_plain_jax(name: str, transform: str) -> None:
    operator = CASES[name][0]()
    with jax.checking_leaks():
        got = TRANSFORMS[transform](lambda w, x: operator(w, x, N, MASK, by=2.0))
    same(got, expected(name, transform), rtol=1e-5)


def test_forward_and_reverse_mode_agree(case: tuple[Function, Function]) -> None:
    f, _ = case
    tangents = (W + 1, X * 2)
    forward = sum(jnp.vdot(s, t) for s, t in zip(seeds(f), jax.jvp(floats(f), (W, X), tangents)[1], strict=True))
    reverse = sum(jnp.vdot(c, t) for c, t in zip(jax.vjp(floats(f), W, X)[1](seeds(f)), tangents, strict=True))
    same(forward, reverse, rtol=1e-5)


# shard_map.


@pytest.mark.parametrize("axis_type", [jax.sharding.AxisType.Auto, jax.sharding.AxisType.Explicit], ids=str)
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("spec", [P("d"), P()], ids=["sharded", "replicated"])
def test_it_is_right_under_shard_map_with_default_flags(name: str, spec: P, axis_type: Any) -> None:
    make, oracle = CASES[name]
    mesh = jax.make_mesh((4,), ("d",), axis_types=(axis_type,))
    xs = jnp.linspace(-1, 1, 32).reshape(8, 4)
    operator = make()

    def batch(f: Function) -> Function:
        return lambda w, xs: floats(jax.vmap(lambda x: f(w, x, N, MASK, by=2.0)))(xs)

    mapped = jax.shard_map(batch(operator), mesh=mesh, in_specs=(P(), spec), out_specs=spec)
    inside = jax.shard_map(jax.grad(loss(batch(operator))), mesh=mesh, in_specs=(P(), spec), out_specs=P())
    sharded = jax.device_put(xs, jax.NamedSharding(mesh, spec))
    with jax.set_mesh(mesh):
        got = mapped(W, sharded), jax.jit(jax.grad(loss(mapped), (0, 1)))(W, sharded), inside(W, sharded)
    local = jax.tree.map(np.asarray, got)
    plain = batch(oracle)
    gradients = jax.grad(loss(plain), (0, 1))(W, xs)
    same(local, jax.tree.map(np.asarray, (plain(W, xs), gradients, gradients[0])), rtol=1e-4)


def test_a_cotangent_that_is_a_constant_varies_as_its_argument_does() -> None:
    operator = kernel("total", lambda x: x.sum())
    operator.def_linear({0: lambda ct, x: np.full(1, 2, np.float32)})  # a numpy array knows of no mesh
    mesh = jax.make_mesh((4,), ("d",))
    gradient = jax.shard_map(jax.grad(operator), mesh=mesh, in_specs=P("d"), out_specs=P("d"))
    with jax.set_mesh(mesh):
        got = gradient(jax.device_put(X, jax.NamedSharding(mesh, P("d"))))
    same(np.asarray(got), np.full(4, 2, np.float32))


# What a transpose gets, and what it gives.


def doubled(transpose: Function) -> XLACustomKernel:
    operator = kernel("doubled", lambda x, n, *, by: (x * by, x * n))
    operator.def_linear({0: transpose})
    return operator


def test_a_transpose_gets_the_cotangents_none_at_its_own_argument_and_the_params() -> None:
    seen: list[Any] = []

    def transpose(ct: Any, x: Any, n: Any, **params: Any) -> Any:
        seen.append((ct, x, n, params))
        return ct[0] * params["by"] + ct[1] * n

    same(jax.grad(lambda x: doubled(transpose)(x, X, by=2.0)[0].sum())(X), jnp.full(4, 2.0))
    (ct, x, n, params), *others = seen
    assert not others
    assert x is None
    assert params == {"by": 2.0}
    same((ct, n), ((jnp.ones(4), jnp.zeros(4)), X))  # the result that has no cotangent has zeros


def test_a_transpose_is_not_called_where_no_result_has_a_cotangent() -> None:
    def transpose(*_: Any) -> Any:
        raise AssertionError("called")

    operator, blind = kernel("operator", lambda x: 2 * x), kernel("blind", lambda x: 2 * x)
    operator.def_linear({0: transpose})
    blind.def_linear({0: transpose})
    blind.def_transpose_rule(lambda ct, x: (None,))
    same(jax.linear_transpose(lambda x: blind(operator(x)) + x, X)(X), (X,))


def test_without_a_shape_rule_a_transpose_gets_outs() -> None:
    operator = XLACustomKernel("first", reference=lambda x, *, outs: x[: outs.shape[0]])
    operator.def_linear({0: lambda ct, x, *, outs: jnp.concatenate([ct, jnp.zeros(4 - outs.shape[0])])})
    outs = jax.ShapeDtypeStruct((3,), jnp.float32)
    same(jax.jacfwd(functools.partial(operator, outs=outs))(X), jnp.eye(4)[:3])
    same(jax.jacrev(functools.partial(operator, outs=outs))(X), jnp.eye(4)[:3])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "complex64"])
def test_other_dtypes_keep_theirs(dtype: str) -> None:
    operator = kernel("product", lambda x, y: x * y)
    operator.def_linear({0: lambda ct, x, y: ct * y, 1: lambda ct, x, y: x * ct})
    x, y = X.astype(dtype), (X + 1).astype(dtype)
    same(jax.jvp(operator, (x, y), (y, x)), jax.jvp(jnp.multiply, (x, y), (y, x)))
    same(jax.vjp(operator, x, y)[1](x), jax.vjp(jnp.multiply, x, y)[1](x))


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda ct: None, "got None; expected the cotangent of argument 0"),
        (lambda ct: (ct[0],), r"got tuple; expected f32\[4\]"),
        (lambda ct: ct[0][:2], r"got f32\[2\]; expected f32\[4\]"),
        (lambda ct: ct[0].astype(jnp.float16), r"got f16\[4\]; expected f32\[4\]"),
        (lambda ct: 0.0, r"got f32\[\]; expected f32\[4\]"),
    ],
    ids=["none", "tuple", "shape", "dtype", "scalar"],
)
def test_a_wrong_cotangent_is_an_error_that_names_the_operator_and_the_argument(result: Function, message: str) -> None:
    operator = doubled(lambda ct, x, n, *, by: result(ct))
    with pytest.raises(RuleOutputError, match=rf"transpose of doubled in argument 0.*{message}"):
        jax.grad(lambda x: operator(x, X, by=2.0)[0].sum())(X)


def test_a_tangent_keeps_the_backend_of_the_call() -> None:
    operator, ran = kernel("twice", lambda x: 2 * x), set()

    def build(name: str) -> Function:
        def run(x: jax.Array) -> jax.Array:
            ran.add(name)
            return 2 * x

        return lambda *_: run

    operator.def_kernel("first", "cpu", build("first"))
    operator.def_kernel("other", "cpu", build("other"))
    operator.def_kernel("picky", "cpu", build("picky"), supports=lambda *_: "it is picky")
    operator.def_linear({0: lambda ct, x: operator(ct)})
    jax.grad(lambda x: operator(x, backend="other").sum())(X)
    with use_backend("other"):
        jax.jvp(operator, (X,), (X,))
    assert ran == {"other"}
    with pytest.raises(BackendRefusedError, match="it is picky"):
        jax.jit(lambda t: jax.jvp(lambda x: operator(x, backend="picky"), (X,), (t,))[1])(X)


# The declaration.


def weighted() -> XLACustomKernel:
    return kernel("weighted", lambda w, x: w * x**2)


def transpose_w(ct: jax.Array, w: None, x: jax.Array) -> jax.Array:
    return ct * x**2


def jvp_x(t: jax.Array, w: jax.Array, x: jax.Array) -> jax.Array:
    return 2 * w * x * t


@pytest.mark.parametrize("rules_first", [False, True])
def test_it_combines_with_rules_for_other_inputs_in_any_order(rules_first: bool) -> None:
    operator = weighted()
    declare: list[Callable[[], None]] = [
        lambda: operator.def_linear({0: transpose_w}),
        lambda: operator.def_jvp_rule2(None, jvp_x),
    ]
    for call in declare[::-1] if rules_first else declare:
        call()
    same(jax.grad(lambda w, x: operator(w, x).sum(), (0, 1))(X, X + 1), ((X + 1) ** 2, 2 * X * (X + 1)))


def test_declaring_again_replaces_what_was_declared() -> None:
    operator = kernel("product", lambda x, y: x * y)
    operator.def_linear({0: lambda ct, x, y: 7 * ct})
    operator(X, X)
    operator.def_linear({1: lambda ct, x, y: x * ct})
    same(jax.grad(lambda y: operator(X, y).sum())(X), X)
    with pytest.raises(NoRuleError, match="product cannot be differentiated in argument 0"):
        jax.grad(lambda x: operator(x, X).sum())(X)


def test_it_replaces_a_whole_rule_and_a_raw_transpose_and_they_replace_their_half_of_it() -> None:
    operator = kernel("double", lambda x: 2 * x)
    operator.def_jvp_rule(lambda primals, tangents: (operator(*primals), 7 * tangents[0]))
    operator.def_transpose_rule(lambda ct, x: (5 * ct,))
    operator.def_linear({0: lambda ct, x: 2 * ct})
    same(jax.jvp(operator, (X,), (X,))[1], 2 * X)
    same(jax.linear_transpose(operator, X)(X), (2 * X,))
    operator.def_transpose_rule(lambda ct, x: (5 * ct,))
    same(jax.linear_transpose(operator, X)(X), (5 * X,))
    operator.def_jvp_rule(lambda primals, tangents: (operator(*primals), 7 * tangents[0]))
    same(jax.jvp(operator, (X,), (X,))[1], 7 * X)


def test_what_is_declared_does_not_change_with_the_dict() -> None:
    transposes: dict[int, Function] = {0: transpose_w}
    operator = weighted()
    operator.def_linear(transposes)
    transposes.clear()
    same(jax.grad(lambda w: operator(w, X).sum())(X), X**2)


def power() -> XLACustomKernel:
    """``w * x ** n``, cut to the length of ``x`` where that is shorter: linear in ``x`` only for ``n`` of 1."""
    operator = kernel("power", lambda w, x, *, n: w[: x.shape[0]] * x**n)

    def linear(w: Any, x: Any, *, n: int) -> dict[int, Function]:
        def back_w(ct: jax.Array, _: None, x: jax.Array, *, n: int) -> jax.Array:
            return jnp.zeros(w.shape, w.dtype).at[: ct.shape[0]].set(ct * x**n)

        def back_x(ct: jax.Array, w: jax.Array, _: None, *, n: int) -> jax.Array:
            return ct * w[: x.shape[0]]

        return {0: back_w, 1: back_x} if n == 1 else {0: back_w}

    operator.def_linear(linear)
    operator.def_jvp_rule2(None, lambda t, w, x, *, n: operator(w, n * t * x ** (n - 1), n=1))
    return operator


@pytest.mark.parametrize("n", [1, 3])
def test_a_declaration_may_depend_on_types_and_params(n: int) -> None:
    operator, x = power(), X[:3]

    def oracle(w: jax.Array, x: jax.Array) -> jax.Array:
        return w[: x.shape[0]] * x**n

    f = functools.partial(operator, n=n)
    derivatives: list[Callable[[Function], Any]] = [
        lambda f: jax.jvp(f, (X, x), (X + 1, x + 1)),
        lambda f: jax.grad(loss(f), (0, 1))(X, x),
        lambda f: jax.hessian(loss(f), (0, 1))(X, x),
    ]
    for derive in derivatives:
        same(derive(f), derive(oracle), rtol=1e-5)


def test_an_integer_in_a_linear_place_has_no_tangent() -> None:
    operator = kernel("product", lambda x, y: x * y.astype(x.dtype))
    operator.def_linear({0: lambda ct, x, y: ct * y.astype(ct.dtype), 1: lambda ct, x, y: x * ct})
    same(jax.grad(lambda x: operator(x, N).sum())(X), N.astype(X.dtype))
    got = jax.jvp(operator, (X, N), (X, np.zeros(4, FLOAT0)))
    same(got, (X * N.astype(X.dtype), X * N.astype(X.dtype)))


# Errors.


@pytest.mark.parametrize(
    ("transposes", "message"),
    [
        ({-1: transpose_w}, "got the argnum -1; expected one at least 0"),
        ({"w": transpose_w}, "got the argnum 'w'; expected an integer"),
        ({True: transpose_w}, "got the argnum True; expected an integer"),
        ({1.0: transpose_w}, r"got the argnum 1\.0; expected an integer"),
        ({0: 3}, "argument 0: got int; expected a callable"),
        ({0: None}, "argument 0: got NoneType; expected a callable"),
        ([transpose_w], "got list; expected a dict from argnums to transposes"),
    ],
    ids=["negative", "name", "bool", "float", "number for a rule", "None for a rule", "list"],
)
def test_a_wrong_declaration_is_an_error_that_names_the_argument(transposes: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=f"def_linear of weighted.*{message}"):
        weighted().def_linear(transposes)


def test_an_argnum_out_of_range_is_an_error_at_the_first_bind() -> None:
    operator = weighted()
    operator(X, X)
    operator.def_linear({0: transpose_w, 2: transpose_w})
    with pytest.raises(ParameterError, match=r"got the argnum 2; expected one in \[0, 2\), as there are 2 inputs"):
        operator(X, X)


def test_an_argnum_out_of_range_of_the_rules_is_an_error_at_once() -> None:
    operator = weighted()
    operator.def_jvp_rule2(None, jvp_x)
    with pytest.raises(ParameterError, match=r"got the argnum 2; expected one in \[0, 2\)"):
        operator.def_linear({2: transpose_w})
    same(jax.grad(lambda x: operator(X, x).sum())(X), 2 * X * X)  # what was declared before still holds


def test_the_number_of_rules_is_still_checked() -> None:
    operator = weighted()
    operator.def_linear({0: transpose_w})
    operator.def_jvp_rule2(None, jvp_x, None)
    with pytest.raises(RuleCountError, match="weighted: got 3 JVP rules for 2 inputs"):
        operator(X, X)


def test_what_a_function_declares_is_checked_when_it_is_asked() -> None:
    for transposes, message in (({2: transpose_w}, "argnum 2"), (None, "got NoneType; expected a dict")):
        operator = weighted()
        operator.def_linear(lambda *_, transposes=transposes: transposes)
        with pytest.raises(ParameterError, match=message):
            jax.jvp(operator, (X, X), (X, X))


@pytest.mark.parametrize("rules_first", [False, True])
def test_a_linear_argument_with_a_rule_of_its_own_is_an_error(rules_first: bool) -> None:
    operator = weighted()
    declare: list[Callable[[], None]] = [
        lambda: operator.def_linear({0: transpose_w}),
        lambda: operator.def_jvp_rule2(lambda t, w, x: t * x**2, jvp_x),
    ]
    first, second = declare[::-1] if rules_first else declare
    first()
    with pytest.raises(ParameterError, match="weighted: argument 0 is declared linear and also has a JVP rule"):
        second()


def test_an_input_without_any_declaration_is_an_error_and_no_silent_zero() -> None:
    operator = weighted()
    operator.def_linear({0: transpose_w})
    same(jax.grad(lambda w: operator(w, X).sum())(X), X**2)
    with pytest.raises(NoRuleError, match=r"weighted cannot be differentiated in argument 1.*def_jvp_rule2"):
        jax.grad(lambda x: operator(X, x).sum())(X)


def test_transposing_in_an_argument_that_is_not_linear_is_an_error() -> None:
    operator = weighted()
    operator.def_linear({0: transpose_w})
    with pytest.raises(NoRuleError, match="weighted cannot be transposed in argument 1: it is declared linear in 0"):
        jax.linear_transpose(lambda x: operator(X, x), X)(X)


def test_transposing_in_two_arguments_at_once_is_an_error_that_says_so() -> None:
    operator = kernel("product", lambda x, y: x * y)
    operator.def_linear({0: lambda ct, x, y: ct * y, 1: lambda ct, x, y: x * ct})
    with pytest.raises(NoRuleError, match="product cannot be transposed in arguments 0, 1 at once"):
        jax.linear_transpose(operator, X, X)(X)
