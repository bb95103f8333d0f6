"""A network of excitatory and inhibitory neurons that keeps itself active.

The network of Vogels & Abbott (J. Neurosci. 25:10786, 2005) in the form of Brette et al. (J. Comput. Neurosci. 23:349,
2007), with a constant input instead of a kick, so that it never falls silent. 3200 excitatory and 800 inhibitory
neurons are connected at random, 80 synapses each, and fire irregularly at about 20 Hz.

    python coba.py --scale 10 --plot coba.png
"""

from __future__ import annotations

import argparse
import functools
import sys
import time

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from spikax_kernels import CSR, plot
from spikax_transform import HiddenState, ProgressBar, for_loop, jit

DT = 0.1  # ms
BIN = 50  # steps: rates are counted over 5 ms
SYNAPSES = 80  # of a neuron, on average
RATE_BAND = (18.0, 24.0)  # Hz: what NEST and Brian2 give for this network, 19 to 22 Hz, with room for their differences
RASTER_NEURONS = 400
SEED = 2  # rates differ from one draw of the connections to the next, 22.0 +- 1.6 Hz; this one lies in the middle


class Network:
    """Leaky integrate-and-fire neurons with conductance-based synapses: mV, ms, conductances in units of the leak."""

    tau = 20.0
    rest, threshold, reset = -60.0, -50.0, -60.0
    drive = 20.0
    refractory_steps = round(5.0 / DT)
    reversal_exc, reversal_inh = 0.0, -80.0
    # Excitatory, inhibitory: what a spike adds to the conductance, and what is left of that after a step.
    weight = np.array([[0.6], [6.7]], np.float32)
    decay = np.exp(-DT / np.array([[5.0], [10.0]])).astype(np.float32)

    def __init__(self, scale: int, seed: int) -> None:
        """Draw the connections and the initial potentials of ``scale`` times 4000 neurons."""
        rng = np.random.default_rng(seed)
        self.n_exc, self.n_inh = 3200 * scale, 800 * scale
        self.n = self.n_exc + self.n_inh
        self.synapses = self.connect(rng, SYNAPSES / self.n)
        self.v = HiddenState(jnp.asarray(rng.normal(-55, 2, self.n), jnp.float32))
        self.g = HiddenState(jnp.zeros((2, self.n), jnp.float32))  # excitatory, inhibitory
        self.resting = HiddenState(jnp.zeros(self.n, jnp.int8))  # steps left of the refractory period
        self.spike_counts = HiddenState(jnp.zeros(self.n, jnp.int32))

    def connect(self, rng: np.random.Generator, probability: float) -> CSR:
        """Connect each pair of neurons with the same probability: the gaps between connected pairs are geometric.

        A neuron has two receptors. Excitatory neurons reach the first, columns 0 to n; inhibitory ones the second.
        """
        pairs = self.n**2
        expected = pairs * probability
        gaps = rng.geometric(probability, int(expected + 10 * expected**0.5) + 10)  # ten standard deviations to spare
        connected = np.cumsum(gaps) - 1
        pre, post = np.divmod(connected[connected < pairs], self.n)
        receptor = np.where(pre < self.n_exc, post, self.n + post)
        return CSR(np.float32(1), receptor, np.searchsorted(pre, np.arange(self.n + 1)), shape=(self.n, 2 * self.n))

    def update(self) -> jax.Array:
        """Advance by one step and return who fired, ``bool[n]``."""
        spikes = self.v.value >= self.threshold
        self.spike_counts.value += spikes.astype(jnp.int32)
        self.resting.value = jnp.where(spikes, self.refractory_steps, jnp.maximum(self.resting.value - 1, 0))

        arrived = (spikes @ self.synapses).reshape(2, self.n)
        self.g.value = self.g.value * self.decay + self.weight * arrived

        # Crank-Nicolson: the mean of the slopes before and after the step, exact to second order and stable for any g.
        v = jnp.where(spikes, self.reset, self.v.value)
        g_exc, g_inh = self.g.value
        g = 1 + g_exc + g_inh
        current = self.rest + self.drive + g_exc * self.reversal_exc + g_inh * self.reversal_inh - g * v
        integrated = v + current * (DT / self.tau) / (1 + g * (DT / self.tau / 2))
        self.v.value = jnp.where(self.resting.value > 0, v, integrated)
        return spikes

    def record(self) -> jax.Array:
        """Advance by one step and return which of the recorded neurons fired."""
        return self.update()[:: self.n // RASTER_NEURONS]

    def run_bin(self) -> tuple[jax.Array, jax.Array]:
        """Advance by 5 ms and return the recorded spikes, and how often each population has fired so far."""
        raster = for_loop(self.record, length=BIN)
        counts = self.spike_counts.value
        return raster, jnp.stack([counts[: self.n_exc].sum(), counts[self.n_exc :].sum()])


def figure(net: Network, raster: np.ndarray, counts: np.ndarray) -> Figure:
    """Spikes of some neurons above, the rates of both populations below."""
    colors = {"excitatory": "#3b6ea5", "inhibitory": "#b5402f"}
    fig, (above, below) = plt.subplots(
        2, 1, figsize=(7, 4.5), sharex=True, height_ratios=[2, 1], layout="constrained", dpi=200
    )
    excitatory = np.arange(RASTER_NEURONS) < RASTER_NEURONS * net.n_exc // net.n
    plot.raster(raster & excitatory, DT, ax=above, color=colors["excitatory"])
    plot.raster(raster & ~excitatory, DT, ax=above, color=colors["inhibitory"])
    above.set(xlabel="", ylabel=f"Neuron (1 in {net.n // RASTER_NEURONS})")
    for (name, color), count, neurons in zip(colors.items(), counts.T, (net.n_exc, net.n_inh), strict=True):
        width = BIN * DT
        plot.population_rate(count, width, neurons=neurons, bin=width, ax=below, color=color, label=name)
    below.legend(loc="upper right", ncols=2, frameon=False)
    for ax in (above, below):
        ax.spines[["top", "right"]].set_visible(False)
    return fig


def main(arguments: list[str] | None = None) -> int:
    """Simulate, report and plot; the exit status tells whether the rate is as published."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=int, default=1, help="simulate this many times 4000 neurons (default: 1)")
    parser.add_argument("--seconds", type=float, default=1.0, help="biological time (default: 1)")
    parser.add_argument("--seed", type=int, default=SEED, help=f"of connections and potentials (default: {SEED})")
    parser.add_argument("--plot", metavar="PATH", default="coba.png", help="where the picture goes (default: coba.png)")
    options = parser.parse_args(arguments)

    net = Network(options.scale, options.seed)
    bins = round(options.seconds * 1e3 / DT / BIN)
    seconds = bins * BIN * DT * 1e-3
    progress = ProgressBar(desc="simulating")
    simulate = jit(functools.partial(for_loop, net.run_bin, length=bins, progress=progress)).lower().compile()
    start = time.perf_counter()
    raster, total = jax.block_until_ready(simulate())
    wall = time.perf_counter() - start

    neurons = np.array([net.n_exc, net.n_inh])
    counts = np.diff(total, axis=0, prepend=0)
    exc_rate, inh_rate = counts.sum(0) / neurons / seconds
    spikes = counts.sum()
    rate = spikes / net.n / seconds
    events = int(np.dot(net.spike_counts.value, np.diff(net.synapses.indptr)))
    low, high = RATE_BAND
    print(f"neurons            {net.n:>14,}")
    print(f"synapses           {net.synapses.nse:>14,}")
    print(f"spikes             {spikes:>14,}")
    print(f"synaptic events    {events:>14,}")
    print(f"mean rate          {rate:>14.1f} Hz   accepted: {low:g} to {high:g}")
    print(f"  excitatory       {exc_rate:>14.1f} Hz")
    print(f"  inhibitory       {inh_rate:>14.1f} Hz")
    print(f"wall time          {wall:>14.3f} s    for {seconds:g} s of biological time, after compilation")
    print(f"real-time factor   {wall / seconds:>14.3f}      wall time / biological time")
    print(f"time per event     {wall / max(events, 1) * 1e9:>14.1f} ns   everything included")
    figure(net, np.reshape(raster, (-1, RASTER_NEURONS)), counts).savefig(options.plot)
    print(f"picture            {options.plot}")
    if options.seconds >= 1 and not low <= rate <= high:
        print(f"the mean rate of {rate:.1f} Hz is not between {low:g} and {high:g} Hz", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
