"""Nanoseconds for each event that a product delivers, on one and on two threads, and those of the plain C loop.

Half of the neurons fire in each call, so that it delivers ten million events: many beside the targets, all of which are
set to zero by each call.
"""

from __future__ import annotations

import functools
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

import numpy as np

from tests.benchmarks.drawn import Run, check, forward, matrix, oracle, scanned, spikes
from tests.benchmarks.peers import Arrays, PlainLoop
from tests.benchmarks.timing import Times, cache, settled, use_cores

ROWS, FAN_OUT, RATE = 20_000, 1_000, 0.5


class Case(NamedTuple):
    """A number of targets, each float32, and how they are reached."""

    cols: int
    shared: bool
    ordered: bool

    @property
    def name(self) -> str:
        """What the table calls it."""
        return f"{self.cols:,} targets, {'one weight' if self.shared else 'per entry'}{', sorted' * self.ordered}"

    @property
    def beyond(self) -> bool:
        """Whether the targets are more than the last cache holds."""
        return self.cols > 1_000_000

    @property
    def most(self) -> float:
        """Nanoseconds an event that the contract allows."""
        if self.beyond:
            return 2.5
        if self.cols > 64_000:
            return 1.3 if self.shared else 1.6
        return 0.8 if self.shared else 1.0

    @property
    def gain(self) -> float:
        """How many times as fast two threads have to be: more where the targets fit the cache of a core."""
        return 1.7 if 4 * self.cols <= cache(2) * 1024 else 1.3


CASES = [
    Case(cols, shared, ordered)
    for cols in (4_000, 64_000, 250_000, 1_000_000, 8_500_000)
    for shared, ordered in ((False, False), (True, False), (False, True))
]


@functools.lru_cache(maxsize=1)
def runs(case: Case, seed: int) -> tuple[tuple[Run, Run], int]:
    """Our products and the C loop, on the same arrays and for each draw of events, and the number of all events."""
    rng = np.random.default_rng(seed)
    A = matrix(ROWS, case.cols, FAN_OUT, shared=case.shared, ordered=case.ordered, rng=rng)
    stack = spikes(RATE, ROWS, rng=rng)
    S = oracle(A)
    ours = scanned(A, stack, forward, S, steps=len(stack), rng=rng)
    data, indices, indptr = (np.asarray(array) for array in (A.data, A.indices, A.indptr))
    y = np.zeros(case.cols, np.float32)
    loop = PlainLoop()(Arrays(data, indices, indptr, A.shape, stack), y)
    loop()
    check(y, forward, S, stack[-1])
    return (ours, loop), int((stack @ np.diff(indptr)).sum())


def prepare(case: Case, seed: int) -> None:
    """Draw, compile and check what ``sample`` times."""
    runs(case, seed)


def sample(case: Case, seed: int, which: int) -> float:
    """Nanoseconds an event, once, of our products (0) or of the C loop (1)."""
    functions, events = runs(case, seed)
    return 1e9 * settled(functions[which]) / events


def one_core() -> ProcessPoolExecutor:
    """A process for products on one thread: XLA makes its thread pool once for a process."""
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), use_cores, (1,))


def times(case: Case, rounds: int, single: ProcessPoolExecutor) -> tuple[Times, Times, Times]:
    """Nanoseconds an event in each round: on one thread, on two, and of the C loop.

    Both processes draw the same arrays, and they work by turns.
    """
    seed = int(np.random.SeedSequence().generate_state(1)[0])
    made = single.submit(prepare, case, seed)
    prepare(case, seed)
    made.result()
    turns = []
    for _ in range(rounds):
        one = single.submit(sample, case, seed, 0).result()
        two = sample(case, seed, 0)
        turns.append((one, two, single.submit(sample, case, seed, 1).result()))
    one, two, loop = np.array(turns).T
    return one, two, loop
