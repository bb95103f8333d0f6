"""One result, to the last bit: for any number of threads, from run to run, and whatever else runs at the time."""

import concurrent.futures
import faulthandler
import functools
import os
import subprocess
import sys
import time
from typing import Any

import jax
import numpy as np
import pytest

from spikax_kernels import CSR, BinaryArray, Dense, FixedNumPerPost, FixedNumPerPre
from tests.kernels._oracle import Array, assert_close, matrix

# Prints the size of XLA's thread pool, then a digest of each product and gradient of more than a million events.
PROGRAM = """
import glob, hashlib, os, sys
if sys.argv[1:]:
    os.sched_setaffinity(0, [int(sys.argv[1])])
import jax, jax.numpy as jnp, numpy as np
from spikax_kernels import CSR

def digest(array):
    return hashlib.sha256(np.asarray(array).tobytes()).hexdigest()

rng = np.random.default_rng(0)
SHAPES = (
    (4000, 3000, 2_000_000, ()),
    (2000, 70_000, 1_500_000, ()),
    (2000, 4_500_000, 1_500_000, ()),
    (2000, 800_000, 400_000, ()),
    (3000, 2000, 200_000, (16,)),
)
for rows, cols, entries, lanes in SHAPES:
    indptr = np.sort(np.append(rng.integers(0, entries, rows - 1), [0, entries])).astype(np.int32)
    indices = rng.integers(0, cols, entries, dtype=np.int32)
    A = CSR(rng.normal(size=entries).astype(np.float32), indices, indptr, shape=(rows, cols))
    x, y = rng.random((*lanes, rows)) < 0.8, rng.normal(size=(cols, *lanes)).astype(np.float32)
    for B in (A, A.with_data(np.float32(0.1))):
        loss = lambda data, x, y: jnp.sum((x @ B.with_data(data)) * y.T)
        for result in ((x @ B), (x.astype(np.float32) * 0.3) @ B, B @ y, jax.grad(loss)(B.data, x, y)):
            print(digest(result))
print(sum(open(path).read().startswith("tf_XLAEigen") for path in glob.glob("/proc/self/task/*/comm")))
"""


@functools.cache
def results(threads: int, *, one_core: bool = False) -> tuple[list[str], int]:
    """The digests and the size of the pool of a process of its own."""
    core = [str(min(os.sched_getaffinity(0)))] if one_core else []
    output = subprocess.check_output(
        [sys.executable, "-c", PROGRAM, *core],
        env=os.environ | {"NPROC": str(threads), "XLA_FLAGS": ""},  # XLA takes the size of its pool from NPROC
        text=True,
        timeout=120,
    ).split()
    return output[:-1], int(output[-1])


@pytest.mark.skipif(sys.platform != "linux", reason="the size of the pool is read from /proc")
def test_the_number_of_threads_changes_no_bit() -> None:
    alone, size = results(1)
    assert (size, len(alone)) == (1, 40)
    assert len(set(alone)) > 12
    for threads in (2, 7):
        digests, size = results(threads)
        assert size == threads
        assert digests == alone


@pytest.mark.skipif(sys.platform != "linux", reason="needs sched_setaffinity")
@pytest.mark.parametrize("threads", [1, 7])
def test_threads_on_one_core_end_with_the_same_bits(threads: int) -> None:
    digests, size = results(threads, one_core=True)
    assert size == threads
    assert digests == results(1)[0]


def large(entries: int = 1_200_000, rows: int = 3_000, cols: int = 2_000) -> CSR:
    rng = np.random.default_rng(1)
    indptr = np.sort(np.append(rng.integers(0, entries, rows - 1), [0, entries])).astype(np.int32)
    indices = rng.integers(0, cols, entries, dtype=np.int32)
    return CSR(rng.normal(size=entries).astype(np.float32), indices, indptr, shape=(rows, cols))


def spikes(size: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).random(size) < 0.9


def test_a_large_product_is_right_and_the_same_each_time() -> None:
    A = large()
    dense = matrix(A.data, A.indices, A.indptr, A.shape[1])
    rows, cols = spikes(A.shape[0]), spikes(A.shape[1])
    first = np.asarray(rows @ A), np.asarray(A @ cols)
    assert_close(first, (rows @ dense, dense @ cols), 1e-4)
    for _ in range(30):
        np.testing.assert_array_equal(rows @ A, first[0])
        np.testing.assert_array_equal(A @ cols, first[1])


def work(A: Any, x: Any, y: Any) -> list[Array]:
    """Both products, of vectors and of a batch, and a gradient, each computed apart."""
    gradient = jax.grad(lambda data: (x @ A.with_data(data)).sum())(A.data)
    return [np.asarray(z) for z in (x @ A, A @ y, np.stack([y, ~y]) @ A.T, gradient)]


def shared_matrices() -> list[Any]:
    """Matrices of every format, of which some are small, and some large enough for several threads.

    None is divided among devices: when threads fill the queue of one device, XLA may wait for ever for a place in it
    while the other devices wait for that one to join.
    """
    A, few = large(300_000), large(2_000, 50, 60)
    one = few.with_data(0.3)
    return [
        *(A, few, one, one.with_dual(), A.tocsc(), few.tocoo(), A.with_dual()),
        FixedNumPerPre.random(jax.random.key(0), (3_000, 2_000), fan_out=60, weight=jax.random.normal),
        FixedNumPerPost.random(jax.random.key(1), (50, 60), fan_in=20),
        Dense(few.todense()),
    ]


def test_many_python_threads_share_matrices() -> None:
    # Set HAMMER_SECONDS for more than a glance.
    seconds = float(os.environ.get("HAMMER_SECONDS", "4"))
    jobs = []
    for A in shared_matrices():
        x, y = BinaryArray(jax.numpy.asarray(spikes(A.shape[0]))), spikes(A.shape[1])
        jobs.append((functools.partial(work, A, x, y), work(A, x, y)))
    deadline = time.monotonic() + seconds

    def hammer(number: int) -> int:
        rounds = 0
        while rounds == 0 or time.monotonic() < deadline:
            run, expected = jobs[(number + rounds) % len(jobs)]
            for got, want in zip(run(), expected, strict=True):
                np.testing.assert_array_equal(got, want)
            rounds += 1
        return rounds

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        running = [pool.submit(hammer, i) for i in range(16)]
        done, waiting = concurrent.futures.wait(running, seconds + 240)
        if waiting:
            faulthandler.dump_traceback(all_threads=True)
            os._exit(1)  # what hangs in native code cannot be ended otherwise
        assert min(future.result() for future in done) >= 1


def test_all_devices_at_once() -> None:
    A, x = large(), spikes(3_000)
    expected = np.asarray(x @ A)
    product = jax.jit(lambda x, A: x @ A)
    placed = [jax.device_put((x, A), device) for device in jax.devices()]
    assert len(placed) == 4
    for _ in range(5):
        waiting = [product(*operands) for operands in placed for _ in range(3)]  # dispatched before any has ended
        for got in waiting:
            np.testing.assert_array_equal(got, expected)
