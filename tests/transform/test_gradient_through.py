"""Gradients with respect to States through every kind of loop, branch and map, against closed forms by plain JAX."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import spikax_transform as st

P, X = jnp.array([0.5, 1.5]), jnp.float32(2)


class Model:
    """A State that is differentiated, and one that is written on the way."""

    def __init__(self) -> None:
        self.p = st.ParamState(P)
        self.v = st.State(jnp.ones(2))

    def step(self, x: Any) -> Any:
        self.v.value = self.v.value * self.p.value * x
        return self.v.value.sum()


def three_steps(p: Any, x: Any) -> Any:
    return (p**3 * x**3).sum()


def _while(model: Model, x: Any) -> Any:
    def body(i: Any) -> Any:
        model.step(x)
        return i + 1

    st.while_loop(lambda i: i < 3, body, jnp.int32(0))
    return model.v.value.sum()


def _bounded(model: Model, x: Any) -> Any:
    def body(i: Any) -> Any:
        model.step(x)
        return i + 1

    st.bounded_while_loop(lambda i: i < 3, body, jnp.int32(0), max_steps=8, base=2)
    return model.v.value.sum()


def _branches(model: Model, x: Any) -> Any:
    for _ in range(3):
        st.cond(x > 0, lambda: model.step(x), lambda: model.step(-x))
    return model.v.value.sum()


def _mapped(model: Model, x: Any) -> Any:
    def lane(scale: Any) -> Any:
        model.v.value = model.v.value * model.p.value * x
        return model.v.value * scale

    for _ in range(3):
        lanes = st.vmap(lane, in_states=[model.p, model.v], out_states=model.v)(jnp.ones(2))
    return lanes.sum()


@dataclass(frozen=True)
class Through:
    """A way to take three steps, and whether reverse mode can go through it."""

    run: Callable[[Model, Any], Any]
    reverse: bool = True


WAYS = {
    "for_loop": Through(lambda m, x: st.for_loop(lambda: m.step(x), length=3)[-1]),
    "checkpointed_for_loop": Through(lambda m, x: st.checkpointed_for_loop(lambda: m.step(x), length=3, base=2)[-1]),
    "checkpoint": Through(lambda m, x: [st.checkpoint(m.step)(x) for _ in range(3)][-1]),
    "jit": Through(lambda m, x: [st.jit(m.step)(x) for _ in range(3)][-1]),
    "while_loop": Through(_while, reverse=False),
    "bounded_while_loop": Through(_bounded),
    "cond": Through(_branches),
    "vmap": Through(_mapped),
}
FORWARD = {"fwd_grad": jax.grad, "jacfwd": jax.jacfwd}
REVERSE = {"grad": jax.grad, "vector_grad": jax.grad, "jacrev": jax.jacrev, "hessian": jax.hessian}
PAIRS = [(way, name) for way in WAYS for name in (FORWARD | REVERSE) if name in FORWARD or WAYS[way].reverse]


@pytest.mark.parametrize(("way", "name", "how"), [(*pair, ("eager", "jit")[i % 2]) for i, pair in enumerate(PAIRS)])
def test_derivatives_go_through(way: str, name: str, how: str) -> None:
    model, through = Model(), WAYS[way]
    derivative = getattr(st, name)(lambda x: through.run(model, x), model.p, 0)
    actual = (st.jit(derivative) if how == "jit" else derivative)(X)
    wanted = (FORWARD | REVERSE)[name](three_steps, (0, 1))(P, X)
    structures: list[Any] = [jax.tree.structure(actual), jax.tree.structure(wanted)]
    assert structures[0] == structures[1]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), actual, wanted)
    np.testing.assert_allclose(model.v.value, P**3 * X**3, rtol=1e-6)


@pytest.mark.parametrize("way", WAYS)
def test_products_go_through(way: str) -> None:
    through, model = WAYS[way], Model()
    tangents = (jnp.array([1.0, -1.0]), jnp.float32(0.5))
    out, tangent = st.jvp(
        lambda x: through.run(model, x), (X,), tangents[1:], grad_states=model.p, state_tangents=tangents[0]
    )
    np.testing.assert_allclose((out, tangent), jax.jvp(three_steps, (P, X), tangents), rtol=1e-5)
    model = Model()
    out, pushforward = st.linearize(lambda x: through.run(model, x), X, grad_states=model.p)
    np.testing.assert_allclose(pushforward(*tangents), tangent, rtol=1e-5)
    if through.reverse:
        model = Model()
        out, pullback = st.vjp(lambda x: through.run(model, x), X, grad_states=model.p)
        of_p, (of_x,) = pullback(jnp.float32(2))
        wanted = jax.vjp(three_steps, P, X)[1](jnp.float32(2))
        np.testing.assert_allclose(of_p, wanted[0], rtol=1e-5)
        np.testing.assert_allclose(of_x, wanted[1], rtol=1e-5)


@pytest.mark.parametrize("transform", [st.jacrev, st.jacfwd, st.hessian], ids=lambda transform: transform.__name__)
def test_each_lane_has_the_derivative_of_its_own_state(transform: Any) -> None:
    w = st.ParamState(jnp.array([[1.0, 2.0], [3.0, 4.0]]))
    derivative = transform(lambda x: w.value**3 * x, w, 0)
    actual = st.vmap(derivative, in_states=w)(jnp.array([2.0, 5.0]))
    plain = getattr(jax, transform.__name__)(lambda w, x: w**3 * x, (0, 1))
    wanted = jax.vmap(plain)(w.value, jnp.array([2.0, 5.0]))
    jax.tree.map(np.testing.assert_allclose, actual, wanted)
