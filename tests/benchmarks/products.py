"""``spikes @ A`` beside other libraries and a plain C loop, over the table of shapes.

    python -m tests.benchmarks.products --help


Every product of a case is timed in turns, on the same arrays, and each call gets another draw of events. A figure is
the median of the rounds, in microseconds for one call, that is, for one batch if the events are a batch.

- ``C loop``: ``loop.c``, called in a loop in C on one thread: no dispatch, no threads.
- In ``scan``, the call is the body of a ``lax.scan`` over draws, which is how a simulation runs it.
- ``eager``: called from Python, without ``jit``.
"""

from __future__ import annotations

import argparse
import functools
import os
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tests.benchmarks.timing import settled

if TYPE_CHECKING:
    from spikax_kernels.ops._spec import Spec
    from tests.benchmarks.peers import Arrays, Peer

DRAWS = 8
STEPS = 64  # of a scan, so that its own start does not count
LONG, FEW = 64, 100_000  # steps of a scan of calls with few events, so that its own start does not count
SAMPLE = 2e-3  # seconds that one sample should take, to be long beside the clock

Run: TypeAlias = "tuple[Callable[[], Any], int]"
"""What is timed, and how many products it makes."""


def options() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="CPUs to run on")
    parser.add_argument("--rounds", type=int, default=7, help="samples of each product")
    parser.add_argument("--entries", type=float, default=2e7, help="leave out cases with more entries than this")
    parser.add_argument("--only", nargs="+", help="the products to time")
    parser.add_argument("--cases", default="", help="the cases whose name contains this")
    parser.add_argument("--into", type=Path, default=Path("build/benchmarks"), help="where table and picture go")
    return parser.parse_args()


def draw(spec: Spec) -> Arrays:
    """The arrays of a case."""
    from tests.benchmarks.peers import Arrays

    rng = np.random.default_rng()
    data, indices, indptr = (array.reshape(array.shape[-1]) for array in spec.matrix(rng))
    if indptr.size == 0:
        indptr = np.arange(spec.rows + 1, dtype=np.int32) * (indices.size // max(spec.rows, 1))
    events = np.stack([spec.vector(spec.rows, rng) for _ in range(DRAWS)])
    return Arrays(data, indices, indptr.astype(np.int32), (spec.rows, spec.cols), events)


def runs(name: str, peer: Peer, steps: int) -> dict[str, Run]:
    """Calls on all draws, in each way that the product can be called."""
    import jax
    import jax.numpy as jnp

    from tests.benchmarks.drawn import scan

    def calls(function: Callable[[Any], Any]) -> Run:
        def run() -> None:
            for x in peer.events:
                result = function(x)
            jax.block_until_ready(result)

        return run, DRAWS

    if not peer.traceable:
        return {name: calls(peer.call)}
    ways = {name: calls(jax.jit(peer.call))}
    if name in ("spikax", "brainevent"):
        stack = jnp.stack(peer.events)

        place = jnp.asarray(np.random.default_rng().integers(stack.shape[-1]))
        repeated = functools.partial(scan, None, stack, place, product=lambda _, x: peer.call(x), steps=steps)
        ways[f"{name}, scan"] = lambda: jax.block_until_ready(repeated()), steps
        ways[f"{name}, eager"] = calls(peer.call)
    return ways


def sampled(run: Run, number: int) -> float:
    """Microseconds of one call."""
    function, calls = run
    return settled(function, number) / calls * 1e6


def timed(spec: Spec, only: list[str], rounds: int) -> tuple[int, dict[str, float]]:
    """The events of one call, and the microseconds of each product."""
    from tests.benchmarks import peers

    case = draw(spec)
    lengths = np.diff(case.indptr)
    events = int((case.events.reshape(-1, spec.rows) @ lengths).sum()) // DRAWS
    steps = LONG if events < FEW else DRAWS
    functions: dict[str, Run] = {"C loop": (peers.PlainLoop()(case), DRAWS)}
    for name, peer in peers.available(case, only):
        functions |= runs(name, peer, steps)
    numbers = {}
    for name, run in functions.items():
        sampled(run, 1)  # compiles
        once = sampled(run, 1) * run[1] * 1e-6
        numbers[name] = max(1, round(SAMPLE / once))
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, run in functions.items():
            times[name].append(sampled(run, numbers[name]))
    return events, {name: statistics.median(each) for name, each in times.items()}


def facts(threads: int) -> str:
    """What the figures were measured on."""
    from importlib.metadata import PackageNotFoundError, version

    import jax

    cpu = next((line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")), "unknown CPU")
    found = [f"JAX {jax.__version__}"]
    for name in ("brainevent", "scipy", "torch"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"no {name}")
    return f"{cpu}, {threads} thread{'s' * (threads > 1)}; Python {sys.version.split()[0]}, {', '.join(found)}"


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []


def table(rows: dict[str, tuple[int, dict[str, float]]], columns: list[str]) -> str:
    """The figures in Markdown; a cell holds microseconds and, for another library, the ratio to ours."""
    lines = ["| case | events | " + " | ".join(columns) + " |", "| --- | --: |" + " --: |" * len(columns)]
    for name, (events, times) in rows.items():
        cells = []
        for column in columns:
            if column not in times:
                cells.append("")
                continue
            mine = times["spikax" if "," not in column else f"spikax,{column.split(',')[1]}"]
            ratio = "" if column.startswith("spikax") else f" ({times[column] / mine:.3g} x)"
            cells.append(f"{times[column]:.3g}{ratio}")
        lines.append(f"| {name} | {events:,} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plot(rows: dict[str, tuple[int, dict[str, float]]], path: Path) -> None:
    """Draw how many times as long as ours each other product takes, over the number of events."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(7, 4), layout="constrained", dpi=150)
    names = dict.fromkeys(name for _, times in rows.values() for name in times if "," not in name)
    for name in names:
        if name == "spikax":
            continue
        points = [(max(events, 1), times[name] / times["spikax"]) for events, times in rows.values() if name in times]
        ax.plot(*zip(*points, strict=True), "o", markersize=4, alpha=0.7, label=name)
    ax.axhline(1, color="black", linewidth=0.8)
    ax.set(xscale="log", yscale="log", xlabel="Events delivered in a call", ylabel="Time, of ours")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, ncols=2)
    fig.savefig(path)


def main() -> None:
    """Time all cases and print a table."""
    chosen = options()
    if hasattr(os, "sched_setaffinity"):  # before JAX, whose pool has a thread for each CPU
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: chosen.threads])
    from spikax_kernels.ops._spec import PRODUCTS
    from tests.benchmarks import peers

    only = chosen.only or list(peers.PEERS)
    rows: dict[str, tuple[int, dict[str, float]]] = {}
    for spec in PRODUCTS:
        if "bench" not in spec.tags or chosen.cases not in spec.name or spec.rows * spec.fan_out > chosen.entries:
            continue
        rows[spec.name] = timed(spec, only, chosen.rounds)
        print(spec.name, *(f"{name} {value:.3g}" for name, value in rows[spec.name][1].items()), sep="; ", flush=True)
    columns = list(dict.fromkeys(name for _, times in rows.values() for name in times))
    text = (
        f"Microseconds a call, and how many times as long as ours. {facts(chosen.threads)}\n\n{table(rows, columns)}\n"
    )
    print(f"\n{text}")
    chosen.into.mkdir(parents=True, exist_ok=True)
    (chosen.into / f"products-{chosen.threads}.md").write_text(text)
    plot(rows, chosen.into / f"products-{chosen.threads}.png")


if __name__ == "__main__":
    main()
