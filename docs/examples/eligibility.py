"""Online learning with eligibility traces.

Backpropagation through time runs a sequence forward, remembers all of it, and then goes back. A network can also learn
while it runs: each synapse carries a trace, the derivative of the present state with respect to its weight, which takes
one Jacobian a step to bring up to date ([Williams & Zipser 1989](https://doi.org/10.1162/neco.1989.1.2.270); of which
[e-prop](https://doi.org/10.1038/s41467-020-17236-y) keeps the local part). A trace times the present error is what the
synapse should do about it now.

Here leaky integrate-and-fire neurons, driven by frozen noise, learn to produce a curve. The gradients from traces and
from backpropagation are compared first; then the weights change at every step.

    python eligibility.py --plot eligibility.png
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import NullFormatter

from spikax_kernels import spike
from spikax_transform import HiddenState, ParamState, for_loop, grad, jacrev, jit

INPUTS, NEURONS, STEPS = 20, 20, 200  # a step is 1 ms
MEMBRANE, FILTER = np.exp(-1 / 20), np.exp(-1 / 30)  # what is left after a step, for 20 ms and 30 ms
RATE = 1e-3


class Network:
    """Recurrent neurons, and a readout that adds up their filtered spikes with fixed weights."""

    def __init__(self, key: jax.Array) -> None:
        first, second, third = jax.random.split(key, 3)
        self.w = ParamState(
            {
                "input": 0.4 * jax.random.normal(first, (INPUTS, NEURONS)),
                "recurrent": 0.2 * jax.random.normal(second, (NEURONS, NEURONS)),
            }
        )
        self.readout = 0.3 * jax.random.normal(third, (NEURONS,))
        self.h = HiddenState(jnp.zeros((2, NEURONS)))  # potentials, and filtered spikes

    def update(self, x: jax.Array) -> jax.Array:
        """One step: those above the threshold fire and lose it; potentials leak, and take what arrives."""
        v, filtered = self.h.value
        fired = spike(v - 1)
        w = self.w.value
        v = MEMBRANE * v - fired + x @ w["input"] + fired @ w["recurrent"]
        self.h.value = jnp.stack([v, FILTER * filtered + (1 - FILTER) * 10 * fired])
        return self.h.value

    def error(self, h: jax.Array, target: jax.Array) -> jax.Array:
        """What the readout of a state is away from the target, squared."""
        return (h[1] @ self.readout - target) ** 2 / 2


def rest(net: Network) -> None:
    """Start again from an empty state."""
    net.h.value = jnp.zeros_like(net.h.value)


def bptt(net: Network, xs: jax.Array, targets: jax.Array) -> dict[str, jax.Array]:
    """The gradient of the summed error from rest, by backpropagation through the loop."""
    rest(net)

    def total() -> jax.Array:
        return for_loop(lambda x, target: net.error(net.update(x), target), xs, targets).sum()

    gradient: dict[str, jax.Array] = grad(total, net.w)()
    return gradient


class Traces:
    """For each synapse, the derivative of the state with respect to its weight: ``[*state, *weights]``."""

    def __init__(self, net: Network, jacobian: Any = jacrev) -> None:
        self.net = net
        self.jacobian = jacobian
        self.values = HiddenState(jax.tree.map(lambda w: jnp.zeros((2, NEURONS, *w.shape)), net.w.value))

    def update(self, x: jax.Array, target: jax.Array) -> tuple[dict[str, jax.Array], jax.Array]:
        """Step the network and the traces; returns the gradient of this step's error, and the error."""
        net = self.net
        # the derivatives of the new state with respect to the old one and to the weights, and the new state
        (of_h, of_w), h = self.jacobian(net.update, (net.h, net.w), return_value=True)(x)
        traces = jax.tree.map(lambda old, direct: jnp.tensordot(of_h, old, 2) + direct, self.values.value, of_w)
        self.values.value = traces
        signal, error = grad(net.error, return_value=True)(h, target)
        return jax.tree.map(lambda trace: jnp.tensordot(signal, trace, 2), traces), error


def online(net: Network, xs: jax.Array, targets: jax.Array, jacobian: Any = jacrev) -> dict[str, jax.Array]:
    """The same gradient as `bptt`, summed up while the network runs."""
    rest(net)
    traces = Traces(net, jacobian)
    gradients = for_loop(lambda x, target: traces.update(x, target)[0], xs, targets)
    return {name: gradient.sum(0) for name, gradient in gradients.items()}


def learn(net: Network, xs: jax.Array, targets: jax.Array, epochs: int) -> np.ndarray:
    """Change the weights after every step; returns the mean error of each epoch."""

    @jit
    def epoch() -> jax.Array:
        rest(net)
        traces = Traces(net)

        def step(x: jax.Array, target: jax.Array) -> jax.Array:
            gradient, error = traces.update(x, target)
            net.w.value = jax.tree.map(lambda w, g: w - RATE * g, net.w.value, gradient)
            return error

        return for_loop(step, xs, targets).mean()

    return np.array([epoch() for _ in range(epochs)])


def produce(net: Network, xs: jax.Array) -> tuple[np.ndarray, np.ndarray]:
    """The output and the spikes of the network, from rest."""
    rest(net)
    history = for_loop(net.update, xs)
    return np.asarray(history[:, 1] @ net.readout), np.asarray(history[:, 0] >= 1)


def task(key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Poisson spikes of 50 Hz that are the same in every run, and the curve."""
    t = jnp.arange(STEPS) / STEPS
    curve = jnp.sin(2 * jnp.pi * t) + 0.5 * jnp.sin(6 * jnp.pi * t)
    return jax.random.bernoulli(key, 0.05, (STEPS, INPUTS)).astype(jnp.float32), curve


def main(arguments: list[str] | None = None) -> int:
    """Compare the gradients, learn, and draw what was learnt."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plot", metavar="PATH", default="eligibility.png", help="default: eligibility.png")
    parser.add_argument("--epochs", type=int, default=100, help="default: 100")
    options = parser.parse_args(arguments)

    first, second = jax.random.split(jax.random.key(1))
    net, (xs, targets) = Network(first), task(second)
    by_traces = jit(lambda: online(net, xs, targets))()
    by_backpropagation = jit(lambda: bptt(net, xs, targets))()
    for name, gradient in by_backpropagation.items():
        difference = jnp.abs(by_traces[name] - gradient).max() / jnp.abs(gradient).max()
        print(f"gradient of {name:<10} largest {jnp.abs(gradient).max():8.2f}   relative difference {difference:.0e}")
    before, _ = produce(net, xs)
    errors = learn(net, xs, targets, options.epochs)
    after, spikes = produce(net, xs)
    print(f"mean error           {errors[0]:.3f} in the first epoch, {errors[-1]:.3f} in the last")
    draw(options.plot, np.asarray(targets), before, after, spikes, errors)
    print(f"picture              {options.plot}")
    return 0


def draw(path: str, targets: Any, before: Any, after: Any, spikes: Any, errors: Any) -> None:
    """The curve, the spikes that make it in the end, and the error of each epoch."""
    fig, (curve, raster, course) = plt.subplots(1, 3, figsize=(9, 2.8), layout="constrained", dpi=200)
    curve.plot(targets, color="black", linestyle="--", label="target")
    curve.plot(before, color="#c98b2b", label="before")
    curve.plot(after, color="#3b6ea5", label="after")
    curve.set(xlabel="Time (ms)", ylabel="Output")
    curve.legend(frameon=False, fontsize="small")
    raster.plot(*np.nonzero(spikes), linestyle="none", marker=".", markersize=2, color="black")
    raster.set(xlabel="Time (ms)", ylabel="Neuron", xlim=(0, len(spikes)), yticks=[0, 10, 20])
    course.semilogy(errors, color="#b5402f")
    course.set(xlabel="Epoch", ylabel="Mean error")
    course.yaxis.set_minor_formatter(NullFormatter())
    for ax in (curve, raster, course):
        ax.spines[["top", "right"]].set_visible(False)
    fig.savefig(path)


if __name__ == "__main__":
    sys.exit(main())
