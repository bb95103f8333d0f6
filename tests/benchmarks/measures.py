"""What ``table.py`` measures: one function for each row of the contract's table, which gives its figures."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.sparse import BCOO

from spikax_kernels import CSR
from tests.benchmarks import delivery as threads
from tests.benchmarks.drawn import (
    Array,
    Product,
    backward,
    calls,
    enough,
    forward,
    matrix,
    oracle,
    scanned,
    spikes,
    waits,
)
from tests.benchmarks.timing import by_turns, median, seconds

FLOOR_STEPS = 10_000  # of a scan, so that its own start does not count
LANES = 32
SYNAPSES = 100_000_000


class Figure(NamedTuple):
    """One line of the table; ``bound`` is ``"≤"`` or ``"≥"`` and a number."""

    case: str
    value: float
    unit: str
    bound: str
    beside: str


def floor(rounds: int) -> Iterator[Figure]:
    """A step of a silent network in ``lax.scan``, of which all but the product is one addition."""
    n = 1000
    rng = np.random.default_rng()

    @functools.partial(jax.jit, static_argnames=("silent", "steps"))
    def simulate(A: CSR, drive: jax.Array, threshold: float, *, silent: bool, steps: int = FLOOR_STEPS) -> jax.Array:
        def step(v: jax.Array, _: None) -> tuple[jax.Array, None]:
            # That nobody fires is known only while it runs: the events depend on the step before, and on an argument.
            events = v > threshold
            return drive + 0.9 * v + (events if silent else events @ A), None

        return jax.lax.scan(step, drive, None, length=steps)[0]

    for shared in (False, True):
        A = matrix(n, n, 100, shared=shared, rng=rng)
        drive = rng.normal(size=n).astype(np.float32)
        once = simulate(A, drive, 1.0, silent=False, steps=1)
        np.testing.assert_allclose(once, 1.9 * drive + (drive > 1) @ oracle(A), rtol=1e-4, atol=1e-4)
        runs = [functools.partial(simulate, A, jnp.asarray(drive), 1e3, silent=silent) for silent in (False, True)]
        np.testing.assert_allclose(runs[0](), runs[1](), rtol=1e-5)  # so nobody has fired
        times = by_turns(rounds, *(waits(run) for run in runs))
        step, empty = (1e6 * median(each) / FLOOR_STEPS for each in times)
        yield Figure(f"{n} neurons, {_kind(shared)}", step, "µs", "≤ 1.5", f"{empty:.3g} µs without the product")


def delivery(rounds: int) -> Iterator[Figure]:
    """Nanoseconds an event on one and on two threads, and the ratio of both."""
    with threads.one_core() as single:
        for case in threads.CASES:
            one, two, loop = threads.times(case, rounds, single)
            plain, most = f"C loop {median(loop):.3g} ns", f"≤ {case.most}"
            yield Figure(f"{case.name}, one thread", median(one), "ns", most, plain)
            if case.beyond:
                yield Figure(f"{case.name}, two threads", median(two), "ns", most, plain)
            gain, pair = f"≥ {case.gain}", f"{median(one):.3g} against {median(two):.3g} ns"
            yield Figure(f"{case.name}, two threads against one", median(one / two), "x", gain, pair)


def peers(rounds: int) -> Iterator[Figure]:
    """A vector of which 1 % is not zero, in both directions, beside libraries that look at every entry."""
    rng = np.random.default_rng()
    for n, k in ((10_000, 100), (10_000, 1_000), (100_000, 100)):
        A = matrix(n, n, k, shared=False, rng=rng)
        S = oracle(A)
        row = np.repeat(np.arange(n, dtype=np.int32), np.diff(np.asarray(A.indptr)))
        B = BCOO((A.data, jnp.stack([row, A.indices], axis=-1)), shape=A.shape)
        stack = np.where(spikes(0.01, n, rng=rng), rng.normal(size=n), 0).astype(np.float32)
        for name, product, ours in (("x @ A", forward, A), ("A @ x", backward, A.with_dual())):
            plain = functools.partial(_each, product, S.astype(np.float32), stack)
            times = by_turns(rounds, calls(ours, stack, product, S), calls(B, stack, product, S), plain)
            mine, *others = (1e6 * median(each) / len(stack) for each in times)
            for library, other, ratios in zip(("BCOO", "scipy"), others, times[1:] / times[0], strict=True):
                case = f"`{name}`, {n:,} x {k:,}, {library}"
                yield Figure(case, median(ratios), "x", "≥ 20", f"{mine:.3g} against {other:.3g} µs")


def collect(rounds: int) -> Iterator[Figure]:
    """``A @ spikes`` without the dual index, for which every entry is looked at, as SciPy does."""
    rng = np.random.default_rng()
    for n, k in ((4_000, 80), (10_000, 1_000), (100_000, 100)):
        A = matrix(n, n, k, shared=False, rng=rng)
        S = oracle(A)
        for rate in (0.01, 0.5, 1.0):
            stack = spikes(rate, n, rng=rng)
            plain = functools.partial(_each, backward, S.astype(np.float32), stack.astype(np.float32))
            times = by_turns(rounds, calls(A, stack, backward, S), plain)
            mine, other = (1e6 * median(each) / len(stack) for each in times)
            case = f"{n:,} x {k:,}, {rate:.0%}, scipy"
            yield Figure(case, median(times[1] / times[0]), "x", "≥ 1", f"{mine:.3g} against {other:.3g} µs")


def dual(rounds: int) -> Iterator[Figure]:
    """``A @ spikes`` through the dual index beside ``spikes @ A``."""
    rng = np.random.default_rng()
    for n, k, rate in ((4_000, 80, 0.002), (10_000, 1_000, 0.002), (10_000, 1_000, 0.1), (100_000, 100, 0.01)):
        for shared in (False, True):
            A = matrix(n, n, k, shared=shared, rng=rng)
            S, stack, steps = oracle(A), spikes(rate, n, rng=rng), enough(n * k * rate)
            times = by_turns(
                rounds,
                scanned(A.with_dual(), stack, backward, S, steps=steps, rng=rng),
                scanned(A, stack, forward, S, steps=steps, rng=rng),
            )
            across, along = (1e6 * median(each) / steps for each in times)
            case = f"{n:,} x {k:,}, {rate:.1%}, {_kind(shared)}"
            yield Figure(case, median(times[0] / times[1]), "x", "≤ 1.3", f"{across:.3g} against {along:.3g} µs")


def batch(rounds: int) -> Iterator[Figure]:
    """32 event vectors in one call beside as many calls, both called from Python and both in one program."""
    rng = np.random.default_rng()
    for n, k in ((4_000, 80), (10_000, 1_000)):
        for rate, shared in itertools.product((0.002, 0.05, 0.5), (False, True)):
            A = matrix(n, n, k, shared=shared, rng=rng)
            S, stack, steps = oracle(A), spikes(rate, LANES, n, rng=rng), enough(LANES * n * k * rate)
            singles = stack.reshape(-1, n)
            ways = {
                "in a program": (
                    scanned(A, stack, forward, S, steps=steps, rng=rng),
                    scanned(A, singles, forward, S, steps=LANES * steps, rng=rng),
                    steps,
                ),
                "from Python": (
                    calls(A, stack, forward, S),
                    calls(A, singles, forward, S, waiting=LANES),
                    len(stack),
                ),
            }
            for way, (together, alone, number) in ways.items():
                times = by_turns(rounds, together, alone)
                one, many = (1e6 * median(each) / number for each in times)
                case = f"{n:,} x {k:,}, {rate:.1%}, {_kind(shared)}, {way}"
                yield Figure(case, median(times[1] / times[0]), "x", "≥ 4", f"{one:.3g} against {many:.3g} µs")


def random(rounds: int) -> Iterator[Figure]:
    """Drawing 10^8 synapses, each time by another key."""
    n = 100_000
    each = SYNAPSES // n
    seed = np.random.default_rng().integers(2**32)
    keys = iter(jax.random.split(jax.random.key(seed), 3 * (rounds + 1)))
    ways: dict[str, Callable[[], CSR]] = {
        "density": lambda: CSR.random(next(keys), (n, n), density=each / n),
        "fan_out": lambda: CSR.random(next(keys), (n, n), fan_out=each),
        "fan_in": lambda: CSR.random(next(keys), (n, n), fan_in=each),
    }
    for name, draw in ways.items():
        # Ten standard deviations of a sum of independent pairs, where a sum is not given.
        spread = 0 if name == "fan_out" else 10 * each**0.5
        A = draw()
        first = np.asarray(A.indices[: A.indptr[1]])
        assert abs(A.nse - SYNAPSES) <= (10 * SYNAPSES**0.5 if name == "density" else 0)
        assert abs(np.diff(np.asarray(A.indptr)) - each).max() <= spread
        assert np.unique(first).size == first.size
        assert 0 <= int(A.indices.min()) <= int(A.indices.max()) < n
        del A  # so that a draw does not find the memory of two matrices taken
        times = [seconds(functools.partial(_drawn, draw)) for _ in range(rounds)]
        yield Figure(f"{SYNAPSES:.0e} synapses by {name}", median(times), "s", "≤ 10", f"{min(times):.3g} s at best")


def _drawn(draw: Callable[[], CSR]) -> None:
    jax.block_until_ready(draw())


def _each(product: Product, S: Any, stack: Array) -> None:
    for x in stack:
        product(S, x)


def _kind(shared: bool) -> str:
    return "one weight" if shared else "per entry"


ROWS: dict[str, Callable[[int], Iterator[Figure]]] = {
    "floor": floor,
    "delivery": delivery,
    "peers": peers,
    "collect": collect,
    "dual": dual,
    "batch": batch,
    "random": random,
}
"""The rows of the table; each function takes the number of rounds."""
