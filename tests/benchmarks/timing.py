"""Functions timed by turns, on a number of cores that is set before JAX makes its thread pool."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

Times: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"

SAMPLE = 5e-3  # seconds that one sample should take, to be long beside the clock
PAUSE = 20e-3  # seconds after which threads of another library that wait busily have gone to sleep
WARM = 20e-3  # seconds of work after which threads that have slept are on cores of their own


def use_cores(count: int) -> None:
    """Run this process on so many cores, with as many threads in XLA's pool; call it before JAX is imported."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])
    os.environ["NPROC"] = str(count)  # where XLA looks first for the size of its pool


def seconds(run: Callable[[], Any], number: int = 1) -> float:
    """Wall time of one call, which has to wait for its result, of so many in a row."""
    start = time.perf_counter()
    for _ in range(number):
        run()
    return (time.perf_counter() - start) / number


def settled(run: Callable[[], Any], number: int = 1) -> float:
    """The same, as amid a long simulation: undisturbed by what was timed before, and with all threads at work."""
    time.sleep(PAUSE)
    start = time.perf_counter()
    while time.perf_counter() - start < WARM:
        run()
    return seconds(run, number)


def by_turns(rounds: int, *runs: Callable[[], Any]) -> Times:
    """Seconds of each function in each round, ``[functions, rounds]``: whatever else the machine does meets all."""
    numbers = []
    for run in runs:
        run()  # compiles, and brings the arrays into memory
        numbers.append(max(1, round(SAMPLE / seconds(run))))
    rows = [[settled(run, number) for run, number in zip(runs, numbers, strict=True)] for _ in range(rounds)]
    return np.array(rows).T


def median(values: Iterable[float]) -> float:
    """The median."""
    return float(statistics.median(values))


def cache(level: int) -> int:
    """The KiB of a core's cache of this level; 0 where the system does not tell."""
    path = Path(f"/sys/devices/system/cpu/cpu0/cache/index{level}/size")  # index 1 is the first of instructions
    try:
        return int(path.read_text().strip().removesuffix("K"))
    except OSError:
        return 0
