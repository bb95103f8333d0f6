# mypy: disallow-any-expr
"""A client as one is written: a spiking classifier that is trained, tested and saved. Checked, never run.

Under `disallow_any_expr` no expression may be `Any`, not even in part. So it does without what JAX itself types so: its
arrays are indexed and not iterated over, and `jnp.float32(1)` is `jnp.ones(())`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import assert_type

import jax
import jax.numpy as jnp
from jax import Array

import spikax_transform as st


@dataclass(frozen=True)
class Settings:
    inputs: int = 64
    hidden: int = 100
    classes: int = 10
    steps: int = 20
    decay: float = 0.9
    rate: float = 0.1


class Layer:
    """Leaky neurons behind a dense matrix."""

    def __init__(self, key: Array, inputs: int, size: int, decay: float) -> None:
        self.weights = st.ParamState(jax.random.normal(key, (inputs, size)), name="weights")
        self.bias = st.ParamState(jnp.zeros(size))
        self.potential = st.ShortTermState(jnp.zeros(size), name="potential")
        self.size = size
        self.decay = decay

    def reset(self) -> None:
        self.potential.value = jnp.zeros(self.size)

    def step(self, x: Array) -> Array:
        self.potential.value = self.decay * self.potential.value + x @ self.weights.value + self.bias.value
        return self.potential.value


@dataclass
class Network:
    settings: Settings
    layers: list[Layer] = field(default_factory=list)
    rng: st.RandomState = field(default_factory=lambda: st.RandomState(0))
    seen: st.State[Array] = field(default_factory=lambda: st.LongTermState(jnp.zeros((), "int32")))

    def parameters(self) -> dict[str, st.ParamState[Array]]:
        return {f"layer {i}": layer.weights for i, layer in enumerate(self.layers)}

    def step(self, x: Array) -> Array:
        for layer in self.layers:
            x = layer.step(x)
        return x

    def __call__(self, image: Array) -> Array:
        for layer in self.layers:
            layer.reset()
        history = st.for_loop(lambda: self.step(image), length=self.settings.steps)
        assert_type(history, Array)
        return history.mean(axis=0)

    @st.jit
    def classify(self, image: Array) -> Array:
        return self(image).argmax()

    @st.jit(static_argnames="noisy", donate_states=True)
    def train(self, image: Array, label: Array, noisy: bool = False) -> tuple[Array, dict[str, Array]]:
        weights = self.parameters()

        def loss(image: Array) -> tuple[Array, dict[str, Array]]:
            scores = self(image)
            return -scores[label], {"scores": scores, "largest": scores.max()}

        gradients, value, scores = st.grad(loss, weights, has_aux=True, return_value=True)(image)
        assert_type(gradients, dict[str, Array])
        assert_type(value, Array)
        for name, weight in weights.items():
            weight.value = weight.value - self.settings.rate * gradients[name]
        self.seen.value = self.seen.value + 1
        return value, scores


def epoch(network: Network, images: Array, labels: Array) -> Iterator[float]:
    for i in range(len(labels)):
        value, scores = network.train(images[i], labels[i])
        assert_type(scores["largest"], Array)
        yield float(value)


def accuracy(network: Network, images: Array, labels: Array) -> float:
    states = [layer.potential for layer in network.layers]
    guesses = st.vmap(network, out_states=states)(images).argmax(-1)
    return float((guesses == labels).mean())


def settle(network: Network, image: Array) -> Array:
    def moving(change: Array) -> Array:
        return change > 1e-3

    def once(change: Array) -> Array:
        before = network.layers[-1].potential.value
        return jnp.abs(network.step(image) - before).max()

    last = st.while_loop(moving, once, jnp.ones(()))
    return st.cond(last > 0, lambda x: x, lambda x: -x, last)


def run(images: Array, labels: Array) -> list[float]:
    settings = Settings()
    network = Network(settings)
    sizes = [settings.inputs, settings.hidden, settings.classes]
    keys = network.rng.split_key(2)
    for i, (inputs, size) in enumerate(pairwise(sizes)):
        network.layers.append(Layer(keys[i], inputs, size, settings.decay))
    losses = list(epoch(network, images, labels))
    step = partial(settle, network)
    assert_type(step(images[0]), Array)
    assert_type(network.classify(images[0]), Array)
    sensitivity = st.jacrev(network, argnums=0)(images[0])
    assert_type(sensitivity, Array)
    compiled = network.classify.lower(images[0]).compile()
    assert_type(compiled(images[1]), Array)
    st.update_from_pytree(network, st.to_pytree(network))  # type: ignore[misc] # a State may hold any pytree
    return [*losses, accuracy(network, images, labels)]
