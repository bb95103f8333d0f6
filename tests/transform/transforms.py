"""A table of transforms of a function with States, each beside what it amounts to for a pure function of JAX."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

import spikax_transform as st

Stateful: TypeAlias = Callable[[Any], Any]
Pure: TypeAlias = Callable[[Any, Any], tuple[Any, Any]]  # (v, x) -> (v, y)

W = jnp.float32(0.7)


class Model:
    """A shared weight, and a potential with an axis for each `vmap` that may be around."""

    def __init__(self) -> None:
        self.w, self.v = st.ParamState(W), st.ShortTermState(jnp.linspace(-1, 1, 8).reshape(2, 2, 2))

    def step(self, x: Any) -> Any:
        self.v.value = 0.5 * self.v.value + self.w.value * jnp.tanh(x)
        return jnp.sin(self.v.value * x).sum()


def step(v: Any, x: Any, w: Any = W) -> tuple[Any, Any]:
    """The same as a pure function."""
    v = 0.5 * v + w * jnp.tanh(x)
    return v, jnp.sin(v * x).sum()


@dataclass(frozen=True)
class Case:
    """A transform of ours, and what it amounts to in JAX, both of functions of a scalar with a scalar result."""

    ours: Callable[[Model, Stateful], Stateful]
    pure: Callable[[Pure], Pure]
    reverse: bool = False  # takes a derivative in reverse mode, which JAX refuses of a while loop


def _scanned(g: Pure) -> Pure:
    def looped(v: Any, x: Any) -> Any:
        v, ys = jax.lax.scan(g, v, jnp.stack([x, 2 * x]))
        return v, ys.sum()

    return looped


def _twice(g: Pure) -> Pure:
    def looped(v: Any, x: Any) -> Any:
        for _ in range(2):
            v, x = g(v, x)
        return v, x

    return looped


def _mapped(g: Pure) -> Pure:
    def mapped(v: Any, x: Any) -> Any:
        v, ys = jax.vmap(g)(v, jnp.stack([x, 2 * x]))
        return v, ys.sum()

    return mapped


def _slope(derivative: Any) -> Callable[[Pure], Pure]:
    def of(g: Pure) -> Pure:
        def slope(v: Any, x: Any) -> Any:
            d, after = derivative(lambda x: g(v, x)[::-1], has_aux=True)(x)
            return after, d

        return slope

    return of


def _same(g: Pure) -> Pure:
    return g


def _count(f: Stateful) -> Any:
    return lambda c: (f(c[0]), c[1] + 1)


def _sharded(model: Model, f: Stateful) -> Stateful:
    mesh = jax.make_mesh((1,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
    return st.shard_map(f, mesh, jax.P(), jax.P())


CASES: dict[str, Case] = {
    "jit": Case(lambda m, f: st.jit(f), _same),
    "for_loop": Case(lambda m, f: lambda x: st.for_loop(f, jnp.stack([x, 2 * x])).sum(), _scanned),
    "cond": Case(
        lambda m, f: lambda x: st.cond(x > 0.1, f, lambda x: -x, x),
        lambda g: lambda v, x: jax.lax.cond(x > 0.1, g, lambda v, x: (v, -x), v, x),
    ),
    "while_loop": Case(lambda m, f: lambda x: st.while_loop(lambda c: c[1] < 2, _count(f), (x, 0))[0], _twice),
    "bounded": Case(
        lambda m, f: lambda x: st.bounded_while_loop(lambda c: c[1] < 2, _count(f), (x, 0), max_steps=3)[0], _twice
    ),
    "checkpoint": Case(lambda m, f: st.checkpoint(f), _same),
    "checkpointed": Case(
        lambda m, f: lambda x: st.checkpointed_for_loop(f, jnp.stack([x, 2 * x]), base=2).sum(), _scanned
    ),
    "vmap": Case(lambda m, f: lambda x: st.vmap(f, in_states=m.v)(jnp.stack([x, 2 * x])).sum(), _mapped),
    "grad": Case(lambda m, f: st.grad(f), _slope(jax.grad), reverse=True),
    "jacfwd": Case(lambda m, f: st.jacfwd(f), _slope(jax.jacfwd)),
    "checkify": Case(lambda m, f: lambda x: st.checkify(f)(x)[1], _same),
    "shard_map": Case(_sharded, _same),
}
