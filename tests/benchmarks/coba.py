"""The demo's network, timed beside the same network in a bare ``lax.scan``, in brainevent and in Brian2.

    python -m tests.benchmarks.coba --scale 1 10

All run the simulation loop alone, compiled before, one biological second at 0.1 ms a step, in turns, so that whatever
else the machine does meets all of them. ``ratio`` is the time of each over ours.

- ``spikax``: ``docs/examples/coba.py`` as it stands: States, ``for_loop``, products of ``CSR``.
- ``bare scan``: the same step as a pure function in ``jax.lax.scan``, over the same native handlers.
- ``brainevent``: the bare scan again, with the products of brainevent's ``CSR``.
- ``Brian2``: its C++ standalone mode. ``exponential_euler`` is the method that Brian2's examples use for conductances;
  forward ``euler`` is cheaper and less accurate.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import json
import pathlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import brainevent
import jax
import jax.numpy as jnp

from spikax_kernels import CSR
from spikax_transform import for_loop, jit

HERE = pathlib.Path(__file__).parent
Product = Callable[[jax.Array], jax.Array]


def load_example() -> Any:
    """The module ``docs/examples/coba.py``."""
    spec = importlib.util.spec_from_file_location("coba_example", HERE.parents[1] / "docs" / "examples" / "coba.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def ours(example: Any, scale: int, bins: int) -> Callable[[], Any]:
    """The demo's loop, compiled; each call starts anew from the initial States."""
    net = example.Network(scale, example.SEED)
    cells = (net.v, net.g, net.resting, net.spike_counts)
    initial = [cell.value for cell in cells]
    simulate = jit(functools.partial(for_loop, net.run_bin, length=bins)).lower().compile()

    def run() -> Any:
        for cell, value in zip(cells, initial, strict=True):
            cell.value = value
        return simulate()

    return run


def bare(example: Any, net: Any, bins: int, product: Product) -> Callable[[], Any]:
    """The same loop in ``lax.scan``, without States, with the given product of spikes and synapses."""
    tau, stride = net.tau / example.DT, net.n // example.RASTER_NEURONS
    Carry = tuple[jax.Array, jax.Array, jax.Array, jax.Array]

    def step(carry: Carry, _: None) -> tuple[Carry, jax.Array]:
        v, g, resting, counts = carry
        spikes = v >= net.threshold
        counts = counts + spikes.astype(jnp.int32)
        resting = jnp.where(spikes, net.refractory_steps, jnp.maximum(resting - 1, 0))
        g = g * net.decay + net.weight * product(spikes).reshape(2, net.n)
        v = jnp.where(spikes, net.reset, v)
        g_exc, g_inh = g
        leak = 1 + g_exc + g_inh
        current = net.rest + net.drive + g_exc * net.reversal_exc + g_inh * net.reversal_inh - leak * v
        v = jnp.where(resting > 0, v, v + current / tau / (1 + leak * (0.5 / tau)))
        return (v, g, resting, counts), spikes[::stride]

    def run_bin(carry: Carry, _: None) -> tuple[Carry, tuple[jax.Array, jax.Array]]:
        carry, raster = jax.lax.scan(step, carry, None, length=example.BIN)
        counts = carry[3]
        return carry, (raster, jnp.stack([counts[: net.n_exc].sum(), counts[net.n_exc :].sum()]))

    carry = (net.v.value, net.g.value, net.resting.value, net.spike_counts.value)
    run = jax.jit(lambda carry: jax.lax.scan(run_bin, carry, None, length=bins)).lower(carry).compile()
    return lambda: run(carry)


def brainevent_product(matrix: CSR) -> Product:
    """The product of spikes with the same matrix in brainevent."""
    theirs = brainevent.CSR((matrix.data.reshape(1), matrix.indices, matrix.indptr), shape=matrix.shape)

    def product(spikes: jax.Array) -> jax.Array:
        result: jax.Array = brainevent.BinaryArray(spikes) @ theirs
        return result

    return product


def brian2(scale: int, seconds: float, method: str) -> float:
    """The wall time of Brian2's loop, from a process of its own."""
    command = [
        sys.executable,
        str(HERE / "coba_brian2.py"),
        f"--scale={scale}",
        f"--seconds={seconds}",
        f"--method={method}",
    ]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    wall: float = json.loads(output.splitlines()[-1])["seconds"]
    return wall


def wall(run: Callable[[], Any]) -> float:
    """The wall time of one call."""
    start = time.perf_counter()
    jax.block_until_ready(run())
    return time.perf_counter() - start


def main() -> None:
    """Time all at each scale and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    example = load_example()
    bins = round(options.seconds * 1e3 / example.DT / example.BIN)
    for scale in options.scale:
        net = example.Network(scale, example.SEED)
        loops: dict[str, Callable[[], float]] = {
            "spikax": functools.partial(wall, ours(example, scale, bins)),
            "bare scan": functools.partial(wall, bare(example, net, bins, net.synapses.__rmatmul__)),
            "brainevent": functools.partial(wall, bare(example, net, bins, brainevent_product(net.synapses))),
            "Brian2, exponential_euler": functools.partial(brian2, scale, options.seconds, "exponential_euler"),
            "Brian2, euler": functools.partial(brian2, scale, options.seconds, "euler"),
        }
        for name in ("spikax", "bare scan", "brainevent"):
            loops[name]()  # what compiles at the first call only, as brainevent's kernels do; Brian2 has a process each
        times: dict[str, list[float]] = {name: [] for name in loops}
        for _ in range(options.repeats):
            for name, loop in loops.items():
                times[name].append(loop())
        medians = {name: statistics.median(each) / options.seconds for name, each in times.items()}
        print(f"\n{net.n:,} neurons: seconds of wall time for a biological second, of {options.repeats} runs")
        print(f"{'':28}{'median':>10}{'least':>10}{'ratio':>10}")
        for name, median in medians.items():
            least = min(times[name]) / options.seconds
            print(f"{name:28}{median:10.3f}{least:10.3f}{median / medians['spikax']:10.2f}", flush=True)


if __name__ == "__main__":
    main()
