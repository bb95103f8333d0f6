"""``defjvp``: one rule per input makes an operator differentiable as if JAX had done it."""

import doctest
import functools
from collections.abc import Callable
from typing import Any

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikax_core import ParameterError, RuleCountError, RuleOutputError, SpikaxError, XLACustomKernel, defjvp
from spikax_core._compat import Zero
from tests.core.operators import DIFFERENTIABLE, FLOAT0, Function, caller, kernel, plain, product, same, step

X = jnp.array([0.3, -1.2, 2.5, 0.7])
Y = jnp.array([0.4, 1.5, -0.2, 0.6])

KINDS: dict[str, tuple[Function, bool]] = {
    "primitive, one result": (plain, False),
    "primitive, several results": (functools.partial(plain, multiple_results=True), True),
    "operator, one result": (kernel, False),
    "operator, several results": (kernel, True),
}


@pytest.fixture(params=KINDS)
def made(request: pytest.FixtureRequest) -> Function:
    """Makes an operator of each kind: gives what defines its rules, and what calls it for its first result."""
    make, several = KINDS[request.param]

    def operator(function: Function, name: str = "made") -> tuple[Function, Function]:
        def results(*ins: Any, **params: Any) -> Any:
            return function(*ins, **params), jnp.int32(len(ins))  # an integer has no tangent: the entry for it is None

        def entries(rule: Function | None) -> Function | None:
            return rule and (lambda *ins, **params: (rule(*ins, **params), None))

        made = make(name, results if several else function)
        call = caller(made)
        if not several:
            return functools.partial(defjvp, made), call
        return lambda *rules: defjvp(made, *map(entries, rules)), lambda *ins, **params: call(*ins, **params)[0]

    return operator


@pytest.fixture(params=DIFFERENTIABLE)
def case(request: pytest.FixtureRequest) -> tuple[Function, Function]:
    make, oracle = DIFFERENTIABLE[request.param]
    return make(), oracle


def floats(function: Function) -> Function:
    """The function with its integer and bool results left out."""
    return lambda *args: [o for o in jax.tree.leaves(function(*args)) if jnp.issubdtype(o.dtype, jnp.inexact)]


TRANSFORMS: dict[str, Callable[[Function], Any]] = {
    "call": lambda f: f(X, Y),
    "jit": lambda f: jax.jit(f)(X, Y),
    "jvp": lambda f: jax.jvp(f, (X, Y), (Y, X)),
    "jvp in the first input": lambda f: jax.jvp(lambda x: f(x, Y), (X,), (Y,)),
    "jvp in the second input": lambda f: jax.jvp(lambda y: f(X, y), (Y,), (X,)),
    "jit of jvp": lambda f: jax.jit(lambda x, y: jax.jvp(f, (x, y), (y, x)))(X, Y),
    "grad": lambda f: jax.grad(lambda x, y: jnp.sum(jnp.sin(floats(f)(x, y)[0])), argnums=(0, 1))(X, Y),
    "grad of jit": lambda f: jax.grad(lambda x: jnp.sum(jax.jit(floats(f))(x, Y)[0] ** 2))(X),
    "vjp": lambda f: jax.vjp(floats(f), X, Y)[1]([X]),
    "jacfwd": lambda f: jax.jacfwd(floats(f), argnums=(0, 1))(X, Y),
    "jacrev": lambda f: jax.jacrev(floats(f), argnums=(0, 1))(X, Y),
    "hessian": lambda f: jax.hessian(floats(f), argnums=(0, 1))(X, Y),
    "linearize": lambda f: jax.linearize(floats(f), X, Y)[1](Y, X),
    "linear_transpose": lambda f: jax.linear_transpose(jax.linearize(floats(f), X, Y)[1], X, Y)([X]),
    "checkpoint": lambda f: jax.grad(lambda x: jnp.sum(jnp.sin(jax.checkpoint(floats(f))(x, Y)[0])))(X),
    "nested": lambda f: jax.grad(lambda a: jax.grad(lambda x: jnp.sum(floats(f)(x, a * Y)[0] ** 3))(X).sum())(2.0),
    "vmap": lambda f: jax.vmap(f, in_axes=(None, 0))(X, jnp.stack([X, Y])),
    "vmap of jvp": lambda f: jax.vmap(lambda t: jax.jvp(f, (X, Y), (t, X)))(jnp.stack([X, Y])),
    "jvp of vmap": lambda f: jax.jvp(jax.vmap(f), (X[None], Y[None]), (Y[None], X[None])),
    "vmap of grad": lambda f: jax.vmap(jax.grad(lambda x, y: jnp.sum(floats(f)(x, y)[0])))(X[:, None], Y[:, None]),
    "scan": lambda f: jax.grad(
        lambda x: jnp.sum(jax.lax.scan(lambda c, y: (floats(f)(c, y)[0], c), x, jnp.stack([Y, X]))[0])
    )(X),
}


@functools.cache
def expected(oracle: Function, transform: str) -> Any:
    return TRANSFORMS[transform](oracle)


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_it_composes_with_every_transformation(case: tuple[Function, Function], transform: str) -> None:
    operator, oracle = case
    with jax.checking_leaks():
        got = TRANSFORMS[transform](operator)
    same(got, expected(oracle, transform))


STEP = DIFFERENTIABLE["operator, several results"][0]()


@hypothesis.given(
    values=st.lists(st.tuples(*[st.floats(-3, 3, width=16)] * 4), max_size=5),
    dtype=st.sampled_from(["float16", "bfloat16", "float32"]),
)
@hypothesis.settings(max_examples=25)
def test_tangents_of_mixed_results_are_those_of_plain_jax_for_any_values(
    values: list[tuple[float, ...]], dtype: str
) -> None:
    columns = jnp.asarray(np.array(values, np.float32).reshape(-1, 4).T, dtype)
    got = jax.jvp(STEP, tuple(columns[:2]), tuple(columns[2:]))
    expected = jax.jvp(jax.jit(step), tuple(columns[:2]), tuple(columns[2:]))
    for g, e in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert (g.shape, g.dtype) == (e.shape, e.dtype)
        if e.dtype != FLOAT0:  # 2 ** -7 is the precision of bfloat16
            np.testing.assert_allclose(g.astype(np.float32), e.astype(np.float32), rtol=2**-6, atol=2**-6)


class Hollow:
    """Looks like an operator, but what it unwraps to is no primitive."""

    primitive = None

    def def_jvp_rule2(self, *rules: Any) -> None:
        raise AssertionError("called")


@pytest.mark.parametrize(
    "thing",
    [None, "mul", jnp.sin, 3, type, XLACustomKernel, Hollow()],
    ids=["None", "name", "function", "number", "type", "class", "hollow"],
)
def test_anything_but_a_primitive_or_an_operator_is_an_assertion_error_and_a_type_error(thing: Any) -> None:
    for error in (AssertionError, TypeError, SpikaxError):
        with pytest.raises(error, match=r"expected a jax\.extend\.core\.Primitive or a spikax_core\.XLACustomKernel"):
            defjvp(thing, None)


def test_a_rule_that_cannot_be_called_is_named() -> None:
    with pytest.raises(ParameterError, match=r"JVP rule 1 of product: got int; expected a callable or None"):
        defjvp(kernel("product", product), None, 3)  # type: ignore[arg-type]


def test_a_rule_gets_its_tangent_all_primals_and_the_params(made: Function) -> None:
    seen: list[Any] = []

    def rule(t: jax.Array, *primals: jax.Array, **params: Any) -> jax.Array:
        seen.append((t, primals, params))
        return jnp.multiply(t, params["by"])

    define, call = made(lambda x, y, *, by: x * by + y)
    define(None, rule)
    same(jax.jvp(functools.partial(call, by=3.0), (X, Y), (X + 1, Y + 2)), (X * 3 + Y, (Y + 2) * 3))
    ((t, primals, params),) = seen
    same((t, primals), (Y + 2, (X, Y)))
    assert params == {"by": 3.0}


def test_an_input_whose_rule_is_none_contributes_zero(made: Function) -> None:
    define, call = made(product)
    define(None, lambda t, x, y: x * t)
    same(jax.grad(lambda x, y: call(x, y).sum(), argnums=(0, 1))(X, Y), (jnp.zeros(4), X))
    same(jax.jvp(call, (X, Y), (Y, X)), (X * Y, X * X))


class Spy:
    """A rule that notes which tangents reached it."""

    def __init__(self, rule: Function) -> None:
        self.rule = rule
        self.seen: list[Any] = []

    def __call__(self, t: Any, *primals: Any) -> Any:
        self.seen.append(t)
        return self.rule(t, *primals)


def spied(made: Function) -> tuple[Function, Spy, Spy]:
    define, call = made(product)
    first, second = Spy(lambda t, x, y: t * y), Spy(lambda t, x, y: x * t)
    define(first, second)
    return call, first, second


ONLY_FIRST: dict[str, Callable[[Function], Any]] = {
    "jvp": lambda f: jax.jvp(lambda x: f(x, Y), (X,), (X,)),
    "grad": lambda f: jax.grad(lambda x, y: f(x, y).sum())(X, Y),
    "linearize": lambda f: jax.linearize(lambda x: f(x, Y), X)[1](X),
    "jacfwd": lambda f: jax.jacfwd(f)(X, Y),
    "hessian": lambda f: jax.hessian(lambda x: f(x, Y).sum())(X),
    "checkpoint": lambda f: jax.grad(jax.checkpoint(lambda x: f(x, Y).sum()))(X),
    "jit": lambda f: jax.jvp(jax.jit(lambda x: f(x, Y)), (X,), (X,)),
    "stop_gradient": lambda f: jax.jvp(lambda x: f(x, jax.lax.stop_gradient(x)), (X,), (X,)),
    "integer input cast": lambda f: jax.jvp(lambda x, n: f(x, n * 1.0), (X, 2), (X, np.zeros((), FLOAT0))),
    "custom_jvp": lambda f: jax.jvp(_zero_jvp(f), (X, Y), (X, X)),
}


def _zero_jvp(f: Function) -> Function:
    """Calls ``f`` inside a ``custom_jvp`` whose rule works with symbolic zeros."""
    wrapped = jax.custom_jvp(f)

    def rule(primals: Any, tangents: Any) -> Any:
        return jax.jvp(lambda x: f(x, primals[1]), primals[:1], tangents[:1])

    wrapped.defjvp(rule, symbolic_zeros=True)
    return wrapped


@pytest.mark.parametrize("transform", ONLY_FIRST)
def test_symbolic_zero_tangents_never_reach_a_rule(made: Function, transform: str) -> None:
    call, first, second = spied(made)
    ONLY_FIRST[transform](call)
    assert first.seen
    assert not any(isinstance(t, Zero | jax.custom_derivatives.SymbolicZero) for t in first.seen)
    assert second.seen == []


def test_all_zero_tangents_give_symbolic_zeros_out(made: Function) -> None:
    define, inner = made(product, "inner")
    define(lambda t, x, y: t * y, None)
    outer, first, second = spied(made)
    same(jax.jvp(lambda y: outer(inner(X, y), Y), (Y,), (X,)), (X * Y * Y, jnp.zeros(4)))
    assert (first.seen, second.seen) == ([], [])


@pytest.mark.parametrize("name", [name for name in DIFFERENTIABLE if "several" in name])
def test_integer_and_bool_results_get_float0_tangents(name: str) -> None:
    _, tangents = jax.jvp(DIFFERENTIABLE[name][0](), (X, Y), (Y, X))
    assert [t.dtype for t in tangents] == [jnp.float32, FLOAT0, FLOAT0]


def test_an_integer_result_has_a_float0_tangent_whatever_its_rule(made: Function) -> None:
    zero = np.zeros((), FLOAT0)
    for rule in (None, lambda t, x: zero, lambda t, x: Zero(jax.core.ShapedArray((), FLOAT0))):
        define, call = made(lambda x: (x > 0).sum())
        define(rule)
        same(jax.jvp(call, (X,), (Y,)), (jnp.int32(3), zero))


@pytest.mark.parametrize("dtype", ["int32", "uint8", "bool"])
def test_integer_and_bool_inputs_never_call_their_rule(made: Function, dtype: str) -> None:
    define, call = made(lambda x, n: jnp.where(n.astype(bool), x, 0))
    never = Spy(lambda t, x, n: t)
    define(lambda t, x, n: jnp.where(n.astype(bool), t, 0), never)
    n = jnp.array([0, 1, 1, 0], dtype)
    same(jax.jvp(call, (X, n), (Y, np.zeros(4, FLOAT0)))[1], jnp.where(n.astype(bool), Y, 0))
    same(
        jax.grad(lambda x, n: call(x, n).sum(), argnums=(0, 1), allow_int=True)(X, n),
        (jnp.where(n.astype(bool), 1.0, 0), np.zeros(4, FLOAT0)),
    )
    assert never.seen == []


def test_contributions_are_summed(made: Function) -> None:
    define, call = made(lambda x, y, z: x * y + z)
    define(lambda t, x, y, z: t * y, lambda t, x, y, z: x * t, lambda t, x, y, z: t)
    same(jax.jvp(call, (X, Y, X), (Y, X, Y))[1], Y * Y + X * X + Y)
    same(jax.grad(lambda x: call(x, x, x).sum())(X), 2 * X + 1)


@pytest.mark.parametrize(
    "several", [functools.partial(plain, multiple_results=True), kernel], ids=["primitive", "operator"]
)
def test_entries_may_be_none_or_symbolic_zeros(several: Function) -> None:
    operator = several("pair", lambda x, y: (x * y, x + y))
    aval = jax.typeof(X)
    for zero in (None, Zero(aval), jax.custom_derivatives.SymbolicZero(aval)):
        defjvp(operator, lambda t, x, y, z=zero: (t * y, z), lambda t, x, y, z=zero: [z, t])
        same(tuple(jax.jvp(caller(operator), (X, Y), (Y, X))[1]), (Y * Y, X))
        defjvp(operator, lambda t, x, y, z=zero: [None, z], None)
        same(tuple(jax.jvp(caller(operator), (X, Y), (Y, X))[1]), (jnp.zeros(4), jnp.zeros(4)))


def test_results_in_any_structure_take_tangents_in_that_structure() -> None:
    operator = kernel("named", lambda x: {"a": x, "b": [x * 2]})
    defjvp(operator, lambda t, x: {"a": t, "b": [t * 2]})
    same(jax.jvp(operator, (X,), (Y,))[1], {"a": Y, "b": [Y * 2]})


@pytest.mark.parametrize("tangent", [np.float32(2), np.array(2, np.float32), 2, 2.0, True, jnp.float32(2)])
def test_a_rule_may_return_numpy_arrays_and_python_scalars(tangent: Any) -> None:
    operator = kernel("total", lambda x: x.sum())
    defjvp(operator, lambda t, x: tangent)
    expected = jnp.float32(tangent)
    same(jax.jvp(operator, (X,), (Y,))[1], expected)
    same(jax.jvp(jax.jit(operator), (X,), (Y,))[1], expected)


def test_a_weakly_typed_tangent_becomes_a_strong_one() -> None:
    operator = kernel("weak", lambda x: x.sum())
    defjvp(operator, lambda t, x: jnp.asarray(1.0) * 2)
    assert not jax.jvp(operator, (X,), (Y,))[1].weak_type
    assert not jax.eval_shape(lambda: jax.jvp(operator, (X,), (Y,)))[1].weak_type


def test_complex_tangents_work() -> None:
    operator = DIFFERENTIABLE["operator, one result"][0]()
    z = jax.lax.complex(X, Y)
    same(jax.jvp(operator, (z, z), (1j * z, z)), jax.jvp(product, (z, z), (1j * z, z)))


WRONG_SINGLE: dict[str, tuple[Function, str]] = {
    "shape": (lambda t: t[:1], r"got f32\[1\]; expected f32\[4\]"),
    "rank": (lambda t: t[None], r"got f32\[1,4\]; expected f32\[4\]"),
    "scalar": (lambda t: 0.0, r"got f32\[\]; expected f32\[4\]"),
    "dtype": (lambda t: t.astype(jnp.float16), r"got f16\[4\]; expected f32\[4\]"),
    "numpy dtype": (lambda t: np.zeros(4), r"got f64\[4\]; expected f32\[4\]"),
    "integer": (lambda t: jnp.arange(4), r"got i32\[4\]; expected f32\[4\]"),
    "structure": (lambda t: (t,), r"got tuple; expected f32\[4\]"),
    "nothing": (lambda t: None, r"got None; expected a tangent"),
    "object": (lambda t: "tangent", r"got str; expected f32\[4\]"),
}


@pytest.mark.parametrize("wrong", WRONG_SINGLE)
@pytest.mark.parametrize("make", [kernel, plain], ids=["operator", "primitive"])
def test_a_wrong_tangent_is_an_error_that_names_the_primitive_and_the_rule(make: Function, wrong: str) -> None:
    result, message = WRONG_SINGLE[wrong]
    operator = make("wrong", product)
    defjvp(operator, lambda t, x, y: t, lambda t, x, y: result(t))
    with pytest.raises(RuleOutputError, match=rf"JVP rule 1 of wrong.*: {message}"):
        jax.jvp(caller(operator), (X, Y), (X, Y))


WRONG_SEVERAL: dict[str, tuple[Function, str]] = {
    "too few": (lambda t: (t,), r"got tuple of 1; expected a tuple of 2"),
    "too many": (lambda t: [t, t, t], r"got list of 3; expected a tuple of 2"),
    "bare": (lambda t: t, r"got f32\[4\]; expected a tuple of 2"),
    "nothing": (lambda t: None, r"got None"),
    "dict": (lambda t: {"a": t, "b": t}, r"got dict; expected a tuple of 2"),
    "nested": (lambda t: (t, (t,)), r"result 1: got tuple; expected f32\[4\]"),
    "shape": (lambda t: (t, t[:2]), r"result 1: got f32\[2\]; expected f32\[4\]"),
    "dtype": (lambda t: (t.astype(jnp.bfloat16), t), r"result 0: got bf16\[4\]; expected f32\[4\]"),
}


@pytest.mark.parametrize("wrong", WRONG_SEVERAL)
@pytest.mark.parametrize("several", [True, False], ids=["primitive", "operator"])
def test_a_wrong_tangent_of_several_names_the_result_too(wrong: str, several: bool) -> None:
    result, message = WRONG_SEVERAL[wrong]

    def pair(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        return x, x * 2

    operator = plain("wrong", pair, multiple_results=True) if several else kernel("wrong", pair)
    defjvp(operator, lambda t, x: result(t))
    with pytest.raises(RuleOutputError, match=rf"JVP rule 0 of wrong.*{message}"):
        jax.jvp(caller(operator), (X,), (Y,))


def test_a_tangent_for_an_integer_result_is_an_error() -> None:
    operator = kernel("count", lambda x: (x > 0).sum())
    defjvp(operator, lambda t, x: t.sum())
    with pytest.raises(RuleOutputError, match=r"JVP rule 0 of count, result 0: got f32\[\]; expected float0\[\]"):
        jax.jvp(operator, (X,), (Y,))


@pytest.mark.parametrize("rules", [0, 1, 3])
def test_an_operator_with_another_number_of_rules_than_inputs_fails_at_its_first_bind(rules: int) -> None:
    operator = kernel("product", product)
    defjvp(operator, *[None] * rules)
    with pytest.raises(ValueError, match=f"product: got {rules} JVP rules for 2 inputs"):
        operator(X, Y)
    for run in (jax.jit(operator), functools.partial(jax.eval_shape, operator), jax.grad(operator)):
        with pytest.raises(RuleCountError):
            run(X, Y)


@pytest.mark.parametrize("rules", [0, 1, 3])
@pytest.mark.parametrize("several", [False, True], ids=["one result", "several results"])
def test_a_primitive_with_another_number_of_rules_than_inputs_fails_when_first_differentiated(
    rules: int, several: bool
) -> None:
    primitive = plain("pair_p", lambda x, y: [x * y] if several else x * y, multiple_results=several)
    defjvp(primitive, *[lambda t, x, y: [t] if several else t] * rules)

    def call(x: jax.Array, y: jax.Array) -> Any:
        out = caller(primitive)(x, y)
        return out[0] if several else out

    same(call(X, Y), X * Y)
    derivatives: list[Function] = [
        lambda: jax.jvp(lambda x: call(x, Y), (X,), (X,)),
        lambda: jax.grad(lambda y: call(X, y).sum())(Y),
        lambda: jax.linearize(call, X, Y),
    ]
    for differentiate in derivatives:
        with pytest.raises(ValueError, match=f"pair_p: got {rules} JVP rules for 2 inputs"):
            differentiate()


def test_registering_again_replaces_the_rules(made: Function) -> None:
    define, call = made(product)
    define(lambda t, x, y: 7 * t, None)
    same(jax.jvp(call, (X, Y), (X, Y))[1], 7 * X)
    define(None, lambda t, x, y: 5 * t)
    same(jax.jvp(call, (X, Y), (X, Y))[1], 5 * Y)


def test_one_rule_for_all_inputs_replaces_those_of_each() -> None:
    operator = kernel("product", product)
    defjvp(operator, None)  # another number than there are inputs, which no longer counts
    operator.def_jvp_rule(lambda primals, tangents: (operator(*primals), tangents[0] * 3))
    same(jax.jvp(operator, (X, Y), (X, Y))[1], 3 * X)


def test_registering_another_number_of_rules_replaces_the_count() -> None:
    operator = kernel("product", product)
    defjvp(operator, None)
    operator.def_jvp_rule2(None, None)
    same(operator(X, Y), X * Y)


def test_def_jvp_rule2_is_defjvp_of_the_operator() -> None:
    rules = (lambda t, x, y: t * jnp.cos(y), lambda t, x, y: -x * t)
    one, other = kernel("product", product), kernel("product", product)
    one.def_jvp_rule2(*rules)
    defjvp(other, *rules)
    jaxprs = [str(jax.make_jaxpr(lambda *ins, f=f: jax.jvp(f, ins, ins))(X, Y)) for f in (one, other)]
    assert jaxprs[0] == jaxprs[1]
    assert "cos" in jaxprs[0]


EXAMPLE = """
>>> # Assume `my_prim` is a JAX Primitive with two inputs.
>>> def jvp_rule_input0(tangent, x, y, **kw):
...     return tangent * y
>>> def jvp_rule_input1(tangent, x, y, **kw):
...     return tangent * x
>>> defjvp(my_prim, jvp_rule_input0, jvp_rule_input1)
"""


@pytest.mark.parametrize("make", [kernel, plain], ids=["operator", "primitive"])
def test_the_example_of_two_rules_runs_as_it_stands(make: Function) -> None:
    my_prim = make("my_prim", product)
    names = {"my_prim": my_prim, "defjvp": defjvp}
    example = doctest.DocTestParser().get_doctest(EXAMPLE, names, "defjvp", None, None)
    assert doctest.DocTestRunner().run(example) == (0, 3)
    same(jax.grad(caller(my_prim), argnums=(0, 1))(2.0, 3.0), (jnp.float32(3), jnp.float32(2)))
