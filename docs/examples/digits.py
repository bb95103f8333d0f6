"""A spiking network that reads digits.

The 1797 handwritten digits that come with scikit-learn, 8 by 8 pixels each, are shown to recurrent leaky
integrate-and-fire neurons for 20 ms; the output that has been driven most is the answer. All weights are learned by
backpropagation through time, with surrogate derivatives of the spikes
([Neftci, Mostafa & Zenke 2019](https://doi.org/10.1109/MSP.2019.2931595)).

    python digits.py --plot digits.png
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from spikax_kernels import spike
from spikax_transform import (
    HiddenState,
    ParamState,
    ProgressBar,
    ShortTermState,
    for_loop,
    grad,
    jit,
    vmap,
    vmap_new_states,
)

PIXELS, NEURONS, CLASSES = 64, 128, 10
STEPS, BATCH = 20, 64  # a step is 1 ms
MEMBRANE, READOUT = np.exp(-1 / 10), np.exp(-1 / 20)  # what is left after a step, for 10 ms and 20 ms


class Network:
    """Recurrent spiking neurons, driven by pixels; leaky outputs, one for each digit."""

    def __init__(self, key: jax.Array) -> None:
        shapes = {"pixels": (PIXELS, NEURONS), "recurrent": (NEURONS, NEURONS), "outputs": (NEURONS, CLASSES)}
        gains = {"pixels": 1.0, "recurrent": 0.3, "outputs": 1.0}
        keys = dict(zip(shapes, jax.random.split(key, len(shapes)), strict=True))
        self.w = ParamState(
            {name: gains[name] * jax.random.normal(keys[name], n) / jnp.sqrt(n[0]) for name, n in shapes.items()}
        )

    def rest(self) -> None:
        """Membranes before anything is shown."""
        self.v = ShortTermState(jnp.zeros(NEURONS))
        self.fired = ShortTermState(jnp.zeros(NEURONS))
        self.out = ShortTermState(jnp.zeros(CLASSES))

    def update(self, image: jax.Array) -> tuple[jax.Array, jax.Array]:
        """One step of showing an image ``[PIXELS]``: the outputs, and who fired."""
        w, fired = self.w.value, self.fired.value
        # Who fired starts again from 0.
        self.v.value = MEMBRANE * self.v.value * (1 - fired) + image @ w["pixels"] + fired @ w["recurrent"]
        self.fired.value = spike(self.v.value - 1)
        self.out.value = READOUT * self.out.value + (1 - READOUT) * self.fired.value @ w["outputs"]
        return self.out.value, self.fired.value

    def show(self, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        """All steps of a batch ``[n, PIXELS]`` from rest: outputs and spikes, ``[STEPS, n, ...]``."""
        vmap_new_states(self.rest, axis_size=len(images), axis_name="image")()
        return for_loop(lambda: vmap(self.update, axis_name="image")(images), length=STEPS)

    def drive(self, images: jax.Array) -> jax.Array:
        """How much each digit has been driven, ``[n, CLASSES]``."""
        return self.show(images)[0].sum(0)


def accuracy(net: Network, images: jax.Array, labels: jax.Array) -> jax.Array:
    """The share of images that are read right."""
    return jnp.mean(net.drive(images).argmax(-1) == labels)


def train(net: Network, seen: Any, unseen: Any, key: jax.Array, epochs: int) -> tuple[np.ndarray, np.ndarray]:
    """Learn by Adam; returns the mean loss and the accuracy on unseen digits of each epoch."""
    images, labels = seen
    adam = optax.adam(3e-3)
    moments = HiddenState(adam.init(net.w.value))

    def loss(chosen: jax.Array) -> jax.Array:
        drive = net.drive(images[chosen])
        mean: jax.Array = optax.softmax_cross_entropy_with_integer_labels(drive, labels[chosen]).mean()
        return mean

    def step(chosen: jax.Array) -> jax.Array:
        gradient, value = grad(loss, net.w, return_value=True)(chosen)
        updates, moments.value = adam.update(gradient, moments.value)
        net.w.value = optax.apply_updates(net.w.value, updates)
        mean: jax.Array = value
        return mean

    def epoch(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        order = jax.random.permutation(key, len(images))
        batches = order[: len(order) // BATCH * BATCH].reshape(-1, BATCH)
        return for_loop(step, batches).mean(), accuracy(net, *unseen)

    bar = ProgressBar(count=epochs, desc="epochs")
    losses, accuracies = jit(lambda keys: for_loop(epoch, keys, progress=bar))(jax.random.split(key, epochs))
    return np.asarray(losses), np.asarray(accuracies)


def digits() -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
    """Images and labels, of which a quarter is kept unseen."""
    images, labels = load_digits(return_X_y=True)
    parts = train_test_split(images / 16, labels, test_size=0.25, stratify=labels, random_state=0)
    seen, unseen, seen_labels, unseen_labels = (jnp.asarray(part) for part in parts)
    return (seen.astype(jnp.float32), seen_labels), (unseen.astype(jnp.float32), unseen_labels)


def main(arguments: list[str] | None = None) -> int:
    """Train, and draw what the network does."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plot", metavar="PATH", default="digits.png", help="default: digits.png")
    parser.add_argument("--epochs", type=int, default=20, help="default: 20")
    options = parser.parse_args(arguments)

    seen, unseen = digits()
    first, second = jax.random.split(jax.random.key(0))
    net, start = Network(first), time.perf_counter()
    losses, accuracies = train(net, seen, unseen, second, options.epochs)
    print(f"trained on    {len(seen[0])} digits, {options.epochs} times, in {time.perf_counter() - start:.0f} s")
    print(f"loss          {losses[0]:.2f} in the first epoch, {losses[-1]:.2f} in the last")
    print(f"accuracy      {accuracies[-1]:.1%} of {len(unseen[0])} unseen digits")
    draw(options.plot, net, unseen, losses, accuracies)
    print(f"picture       {options.plot}")
    return 0


def draw(path: str, net: Network, unseen: Any, losses: np.ndarray, accuracies: np.ndarray) -> None:
    """Three digits, the spikes that each causes, what drives the outputs, and the learning curve."""
    images, labels = unseen
    shown = jnp.array([jnp.argmax(labels == digit) for digit in (0, 3, 7)])
    outputs, spikes = (np.asarray(each) for each in net.show(images[shown]))
    fig, axes = plt.subplots(3, 4, figsize=(9, 5), layout="constrained", dpi=150, width_ratios=(1, 2, 2, 3))
    for row, i in enumerate(shown):
        picture, raster, output, _ = axes[row]
        picture.imshow(images[i].reshape(8, 8), cmap="Greys")
        picture.set_axis_off()
        raster.plot(*np.nonzero(spikes[:, row]), linestyle="none", marker=".", markersize=2, color="black")
        raster.set(ylabel="Neuron", xlim=(0, STEPS), ylim=(-1, NEURONS))
        for digit in range(CLASSES):
            chosen = digit == labels[i]
            output.plot(outputs[:, row, digit], color="#b5402f" if chosen else "#c5cbd3", zorder=2 if chosen else 1)
        output.set(ylabel="Output", xlim=(0, STEPS))
    for column in (1, 2):
        axes[-1, column].set_xlabel("Time (ms)")
    grid = axes[0, 3].get_gridspec()
    for ax in axes[:, 3]:
        ax.remove()
    curve = fig.add_subplot(grid[:, 3])
    curve.plot(np.arange(1, len(losses) + 1), 100 * accuracies, color="#3b6ea5")
    curve.set(xlabel="Epoch", ylabel="Unseen digits read right (%)", ylim=(80, 100))
    for ax in (*axes[:, 1], *axes[:, 2], curve):
        ax.spines[["top", "right"]].set_visible(False)
    fig.savefig(path)


if __name__ == "__main__":
    sys.exit(main())
