"""Folds: a batch of exactly the declared arguments is one call of an operator that takes it as a leading axis."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikax_core import ParameterError, RuleOutputError, XLACustomKernel, use_backend
from tests.core.operators import Function, kernel, same

rng = np.random.default_rng(0)
X, XS = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((3,), (5, 3)))
W, WS = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((3, 4), (5, 3, 4)))


def product(x: Any, w: Any) -> Any:
    """``x @ w``, in which either or both may have a leading batch axis."""
    return jnp.einsum("...i,...ik->...k", x, w)


def noted(name: str, seen: list[str], function: Function = product) -> XLACustomKernel:
    """An operator that writes its name down whenever its shape rule is asked."""
    operator = XLACustomKernel(name, reference=function)

    def rule(*ins: Any, **params: Any) -> Any:
        seen.append(name)
        return jax.eval_shape(lambda *xs: function(*xs, **params), *ins)

    operator.def_shape_rule(rule)
    return operator


@pytest.fixture
def seen() -> list[str]:
    """The names of the operators that ran, in order."""
    return []


@pytest.fixture
def folded(seen: list[str]) -> XLACustomKernel:
    """An operator with a fold for its first argument and one for both."""
    operator = noted("one", seen)
    operator.def_fold(0, noted("first", seen))
    operator.def_fold((1, 0), noted("both", seen))
    return operator


# Which one is chosen.


@pytest.mark.parametrize(
    ("in_axes", "args", "ran"),
    [((0, None), (XS, W), "first"), ((0, 0), (XS, WS), "both"), ((None, 0), (X, WS), "one")],
)
def test_the_fold_of_exactly_the_batched_arguments_is_called(
    folded: XLACustomKernel, seen: list[str], in_axes: Any, args: Any, ran: str
) -> None:
    for wrap in (jax.vmap(folded, in_axes), jax.jit(jax.vmap(folded, in_axes))):
        same(wrap(*args), jax.vmap(product, in_axes)(*args), rtol=1e-5)
    assert set(seen) == {"one", ran}


def test_a_fold_is_one_call_of_its_operator_with_nothing_copied(folded: XLACustomKernel) -> None:
    jaxpr = jax.make_jaxpr(jax.vmap(folded, (0, None)))(XS, W)
    assert [(str(e.primitive), [v.aval.shape for v in e.invars]) for e in jaxpr.eqns] == [("first", [(5, 3), (3, 4)])]


def test_an_operator_without_a_batch_is_called_itself(folded: XLACustomKernel, seen: list[str]) -> None:
    same(folded(X, W), product(X, W), rtol=1e-5)
    assert seen == ["one"]


@pytest.mark.parametrize("first", ["fold", "rule"])
def test_other_arguments_are_batched_by_the_declared_rule_in_either_order(seen: list[str], first: str) -> None:
    def rule(size: int, args: Any, axes: Any) -> tuple[Any, int]:
        rules.append(axes)
        return product(args[0], jnp.moveaxis(args[1], axes[1], 0)), 0

    rules: list[Any] = []
    operator = noted("one", seen)
    declare: list[Callable[[], None]] = [
        lambda: operator.def_fold(0, noted("first", seen)),
        lambda: operator.def_batching_rule(rule),
    ]
    for step in declare if first == "fold" else declare[::-1]:
        step()
    same(jax.vmap(operator, (None, 2))(X, jnp.moveaxis(WS, 0, 2)), product(X, WS), rtol=1e-5)
    assert rules == [(None, 2)]
    same(jax.vmap(operator, (0, None))(XS, W), product(XS, W), rtol=1e-5)
    assert len(rules) == 1
    assert "first" in seen
    operator.register_general_batching()
    same(jax.vmap(operator, (None, 0))(X, WS), product(X, WS), rtol=1e-5)
    assert len(rules) == 1


def test_a_second_fold_of_the_same_arguments_replaces_the_first(folded: XLACustomKernel, seen: list[str]) -> None:
    folded.def_fold([0, 1], noted("new", seen))
    jax.vmap(folded)(XS, WS)
    assert set(seen) == {"one", "new"}


# What it is called with.


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_the_batch_is_the_leading_axis_wherever_it_was(axis: int) -> None:
    operator = kernel("rows", product)
    operator.def_fold(1, operator)
    moved = jnp.moveaxis(WS, 0, axis)
    same(jax.vmap(operator, (None, axis))(X, moved), jax.vmap(product, (None, axis))(X, moved), rtol=1e-5)
    same(jax.vmap(operator, (None, axis), 1)(X, moved), jax.vmap(product, (None, axis), 1)(X, moved), rtol=1e-5)


def test_nested_batches_are_folded_one_after_the_other(seen: list[str]) -> None:
    operator = noted("one", seen)
    operator.def_fold(0, operator)
    xs = jnp.stack([XS, 2 * XS])
    same(jax.vmap(jax.vmap(operator, (0, None)), (0, None))(xs, W), xs @ W, rtol=1e-5)
    inner_last = jax.vmap(jax.vmap(operator, (0, None), 1), (1, None), 2)
    same(inner_last(xs, W), jnp.einsum("abi,ik->kab", xs, W), rtol=1e-5)
    jaxpr = str(jax.make_jaxpr(jax.vmap(jax.vmap(operator, (0, None)), (0, None)))(xs, W))
    assert "scan" not in jaxpr
    assert "one" in jaxpr


def test_a_batch_of_a_batch_falls_back_where_the_second_operator_has_no_fold(folded: XLACustomKernel) -> None:
    got = jax.vmap(jax.vmap(folded, (0, None)), (None, 0))(XS, WS)
    same(got, jnp.einsum("bi,cik->cbk", XS, WS), rtol=1e-5)


@pytest.mark.parametrize("in_axes", [(0, None), (0, 0), (None, 0)])
def test_a_batch_of_size_zero_works(folded: XLACustomKernel, in_axes: Any) -> None:
    args = [arg[:0] if axis == 0 else one for arg, one, axis in zip((XS, WS), (X, W), in_axes, strict=True)]
    same(jax.vmap(folded, in_axes)(*args), jnp.zeros((0, 4)))


def several(x: Any, y: Any, *, by: int, sign: float = 1.0) -> dict[str, Any]:
    """Results of three dtypes, elementwise, in a dict."""
    return {"sum": sign * x + y, "count": (x > y).astype(jnp.int32) * by, "flags": (x > 0, y > 0)}


def test_several_results_and_params_are_folded(seen: list[str]) -> None:
    operator = noted("several", seen, several)
    operator.def_fold((0, 1), noted("all", seen, several))
    for f in (operator, jax.jit(operator, static_argnames=("by", "sign"))):
        got = jax.vmap(lambda x, y, f=f: f(x, y, by=3, sign=-1.0))(XS, 2 * XS)
        same(got, several(XS, 2 * XS, by=3, sign=-1.0))
    assert set(seen) == {"several", "all"}


def test_any_function_can_be_folded_into(seen: list[str]) -> None:
    operator = noted("one", seen)
    operator.def_fold(0, product)
    same(jax.vmap(operator, (0, None))(XS, W), XS @ W, rtol=1e-5)
    assert seen == ["one"]


# With other transformations.


def differentiable() -> XLACustomKernel:
    """A vector times a matrix, and its transposes, each with a fold for every set of its arguments."""
    operator, back = kernel("vecmat", product), kernel("matvec", lambda ct, w: w @ ct)
    outer, matmat = kernel("outer", jnp.outer), kernel("matmat", product)
    operator.def_linear({0: lambda ct, x, w: back(ct, w), 1: lambda ct, x, w: outer(x, ct)})
    matmat.def_linear({0: lambda ct, x, w: ct @ w.T, 1: lambda ct, x, w: x.T @ ct})
    folds: dict[XLACustomKernel, dict[Any, Function]] = {
        operator: {0: matmat, 1: product, (0, 1): product},
        back: {
            0: lambda ct, w: ct @ w.T,
            1: lambda ct, w: w @ ct,
            (0, 1): lambda ct, w: jnp.einsum("bk,bik->bi", ct, w),
        },
        outer: {
            0: lambda x, ct: x[..., None] * ct,
            1: lambda x, ct: x[:, None] * ct[:, None, :],
            (0, 1): lambda x, ct: x[..., None] * ct[:, None, :],
        },
    }
    for one, to in folds.items():
        for argnums, function in to.items():
            one.def_fold(argnums, function)
    return operator


TRANSFORMS: dict[str, Callable[[Function], Any]] = {
    "jvp of vmap": lambda f: jax.jvp(jax.vmap(f, (0, None)), (XS, W), (2 * XS, W + 1)),
    "vmap of jvp": lambda f: jax.vmap(lambda x: jax.jvp(f, (x, W), (2 * x, W + 1)))(XS),
    "grad of vmap": lambda f: jax.grad(lambda x, w: jnp.sin(jax.vmap(f, (0, None))(x, w)).sum(), (0, 1))(XS, W),
    "vmap of grad": lambda f: jax.vmap(jax.grad(lambda x, w: jnp.sin(f(x, w)).sum(), (0, 1)), (0, None))(XS, W),
    "jacfwd": lambda f: jax.jacfwd(f, (0, 1))(X, W),
    "jacrev": lambda f: jax.jacrev(f, (0, 1))(X, W),
    "scan of vmap": lambda f: jax.lax.scan(lambda c, x: (c, jax.vmap(f, (0, None))(x, W)), 0.0, XS[None])[1],
    "vmap of scan": lambda f: jax.vmap(lambda x: jax.lax.scan(lambda c, _: (c, f(c, W)), x, None, 2)[1])(XS),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_folds_compose_with_other_transformations_and_loop_over_nothing(name: str) -> None:
    operator, transform = differentiable(), TRANSFORMS[name]
    same(transform(operator), transform(product), rtol=1e-5)
    same(jax.jit(lambda: transform(operator))(), transform(product), rtol=1e-5)
    if "scan" not in name:
        assert "scan" not in str(jax.make_jaxpr(lambda: transform(operator))())


def test_the_backend_is_handed_down(seen: list[str]) -> None:
    operator, to = noted("one", seen), noted("to", seen)
    for each in (operator, to):
        for n in (1, 2):
            each.def_kernel(f"plus{n}", "cpu", lambda i, o, n=n: lambda x, w: product(x, w) + n)
    operator.def_fold(0, to)
    for backend, added in (("plus1", 1), ("plus2", 2), ("reference", 0)):
        got = jax.vmap(lambda x, backend=backend: operator(x, W, backend=backend))(XS)
        same(got, XS @ W + added, rtol=1e-5)
        with use_backend(backend):
            same(jax.jit(jax.vmap(operator, (0, None)))(XS, W), XS @ W + added, rtol=1e-5)


# What is wrong.

WRONG: dict[str, tuple[Function, str]] = {
    "no batch": (lambda x, w: (x @ w)[0], r"got f32\[4\]; expected f32\[5,4\]"),
    "the batch elsewhere": (lambda x, w: (x @ w).T, r"got f32\[4,5\]; expected f32\[5,4\]"),
    "another dtype": (lambda x, w: (x @ w).astype(jnp.float16), r"got f16\[5,4\]; expected f32\[5,4\]"),
    "several": (lambda x, w: (x @ w, x @ w), r"got tuple; expected f32\[5,4\]"),
    "nothing": (lambda x, w: None, r"got NoneType; expected f32\[5,4\]"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_result_is_an_error_that_names_both_operators(name: str) -> None:
    function, message = WRONG[name]
    operator = kernel("one", product)
    operator.def_fold(0, function)
    with pytest.raises(RuleOutputError, match=rf"fold of one into .*, result 0: {message}"):
        jax.vmap(operator, (0, None))(XS, W)
    if name in ("no batch", "the batch elsewhere", "another dtype"):
        operator.def_fold(0, kernel("other", function))
        with pytest.raises(RuleOutputError, match=rf"fold of one into other, result 0: {message}"):
            jax.vmap(operator, (0, None))(XS, W)


def test_a_missing_result_is_an_error() -> None:
    operator = kernel("pair", lambda x: (x, x))
    operator.def_fold(0, kernel("single", lambda x: (x,)))
    with pytest.raises(RuleOutputError, match="fold of pair into single: got tuple of 1; expected a tuple of 2"):
        jax.vmap(operator)(XS)


@pytest.mark.parametrize("argnums", [(), -1, (0, -2), True, (0, False), 1.0, ("0",), "0", None, [None]], ids=repr)
def test_argnums_that_are_no_positions_are_an_error(argnums: Any) -> None:
    operator = kernel("one", product)
    with pytest.raises(ParameterError, match=r"def_fold of one: got argnums .*; expected positions of arguments"):
        operator.def_fold(argnums, operator)


def test_something_that_cannot_be_called_is_an_error() -> None:
    with pytest.raises(ParameterError, match="def_fold of one: got str; expected an operator or a function"):
        kernel("one", product).def_fold(0, "other")  # type: ignore[arg-type]
