"""Structural keys: equal for the same program, different for any other, and refused where one cannot know."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikax_transform._intern import UnkeyableError, jaxpr_key

X = jnp.ones((3, 3))


def key_of(f: Callable[..., Any], x: Any = X) -> Any:
    """The key of a fresh trace, of the function wrapped afresh."""
    return jaxpr_key(jax.make_jaxpr(lambda x: f(x))(x).jaxpr)


SAME: dict[str, Callable[[Any], Any]] = {
    "arithmetic": lambda x: x * 2 + 1,
    "indexing": lambda x: x.at[jnp.array([0, 1])].add(1.0)[0],
    "sort": jnp.sort,
    "linear algebra": jnp.linalg.solve if False else lambda x: jnp.linalg.solve(x, x),
    "activation": jax.nn.gelu,
    "relu": jax.nn.relu,
    "softmax": jax.nn.softmax,
    "random": lambda x: jax.random.bernoulli(jax.random.key(0), 0.5, (3,)),
    "cond": lambda x: jax.lax.cond(x[0, 0] > 0, jnp.sin, jnp.cos, x),
    "while": lambda x: jax.lax.while_loop(lambda c: c.sum() < 9, lambda c: c + 1, x),
    "scan": lambda x: jax.lax.scan(lambda c, y: (c + y, y), x[0], x),
    "remat": jax.checkpoint(jnp.sin),
    "einsum": lambda x: jnp.einsum("ij,jk", x, x),
    "segments": lambda x: jax.ops.segment_sum(x, jnp.array([0, 1, 1]), 2),
    "ffi": lambda x: jax.ffi.ffi_call("name", jax.ShapeDtypeStruct((3,), jnp.float32))(x, n=np.int32(3)),
}


@pytest.mark.parametrize("name", SAME)
def test_two_traces_of_one_function_have_one_key(name: str) -> None:
    assert key_of(SAME[name]) == key_of(SAME[name])


def test_all_different_functions_have_different_keys() -> None:
    keys = [key_of(f) for f in SAME.values()]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("f", "g"),
    [
        (lambda x: x * 2, lambda x: x * 3),
        (lambda x: x * 0.0, lambda x: x * -0.0),
        (lambda x: x - x.T, lambda x: x.T - x),
        (lambda x: x.sum(0), lambda x: x.sum(1)),
        (lambda x: (x, x + 1), lambda x: (x + 1, x)),
        (
            lambda x: jax.lax.cond(x[0, 0] > 0, jnp.sin, jnp.cos, x),
            lambda x: jax.lax.cond(x[0, 0] > 0, jnp.cos, jnp.sin, x),
        ),
    ],
    ids=["literal", "signed zero", "order", "parameter", "outputs", "branches"],
)
def test_a_small_difference_is_a_difference(f: Any, g: Any) -> None:
    assert key_of(f) != key_of(g)


def test_shape_dtype_and_weak_type_of_the_inputs_are_part_of_the_key() -> None:
    inputs = [jnp.ones(2), jnp.ones(3), jnp.ones(2, jnp.int32), 1.0, jnp.float32(1)]
    assert len({key_of(lambda x: x + x, x) for x in inputs}) == len(inputs)


def test_values_of_constants_are_not_part_of_the_key() -> None:
    assert key_of(lambda x: x + jnp.arange(3.0)) == key_of(lambda x: x + jnp.arange(3.0))
    a, b = jnp.arange(3.0), jnp.ones(3)
    assert key_of(lambda x: x + a) == key_of(lambda x: x + b)


@dataclass(frozen=True)
class Surrogate:
    alpha: float


class Mutable:
    def __init__(self, alpha: float) -> None:
        self.alpha = alpha


slope = 1.0


def by_jvp(alpha: Any, rule: Callable[[Any], Any]) -> Any:
    @jax.custom_jvp
    def f(x: Any) -> Any:
        return x * 1.0

    @f.defjvp
    def f_jvp(primals: Any, tangents: Any) -> Any:
        return f(*primals), rule(alpha) * tangents[0]

    return f


def by_vjp(alpha: Any, rule: Callable[[Any], Any]) -> Any:
    @jax.custom_vjp
    def f(x: Any) -> Any:
        return x * 1.0

    f.defvjp(lambda x: (f(x), x), lambda residual, cotangent: (cotangent * rule(alpha),))
    return f


def by_argument(alpha: Any, rule: Callable[[Any], Any]) -> Any:
    @functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
    def f(x: Any, alpha: Any) -> Any:
        return x * 1.0

    @f.defjvp
    def f_jvp(alpha: Any, primals: Any, tangents: Any) -> Any:
        return primals[0] * 1.0, rule(alpha) * tangents[0]

    return lambda x: f(x, alpha)


RULES = [by_jvp, by_vjp, by_argument]


@pytest.mark.parametrize("make", RULES, ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    "wrap",
    [float, Surrogate, lambda a: np.full(2, a)[0], lambda a: (a, "x")],
    ids=["float", "frozen", "numpy", "tuple"],
)
def test_rules_are_told_apart_by_what_they_close_over(make: Any, wrap: Any) -> None:
    def rule(alpha: Any) -> Any:
        return alpha.alpha if isinstance(alpha, Surrogate) else alpha[0] if isinstance(alpha, tuple) else alpha

    assert key_of(make(wrap(1.0), rule)) == key_of(make(wrap(1.0), rule))
    assert key_of(make(wrap(1.0), rule)) != key_of(make(wrap(2.0), rule))


@pytest.mark.parametrize("make", RULES, ids=lambda f: f.__name__)
def test_rules_are_told_apart_by_their_code(make: Any) -> None:
    assert key_of(make(1.0, lambda a: a)) != key_of(make(1.0, lambda a: a * a))


@pytest.mark.parametrize("make", RULES, ids=lambda f: f.__name__)
def test_a_rule_that_closes_over_a_mutable_object_is_refused(make: Any) -> None:
    f = make(Mutable(1.0), lambda a: a.alpha)
    with pytest.raises(UnkeyableError):
        key_of(f)


def test_a_rule_that_reads_a_global_is_told_apart_by_its_value() -> None:
    global slope
    f = by_jvp(None, lambda _: slope)
    before = key_of(f)
    slope = 2.0
    try:
        assert key_of(f) != before
    finally:
        slope = 1.0
    assert key_of(f) == before


def test_a_callback_is_told_apart_by_what_it_closes_over() -> None:
    def report(text: str) -> Any:
        return lambda x: jax.debug.callback(lambda value: print(text, value), x)  # noqa: T201

    assert key_of(report("a")) == key_of(report("a"))
    assert key_of(report("a")) != key_of(report("b"))
