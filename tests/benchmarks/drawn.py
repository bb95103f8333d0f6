"""Random matrices and events, and runs over them that have been checked with SciPy."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse

from spikax_kernels import CSR
from spikax_kernels.ops._spec import Spec

Array: TypeAlias = np.ndarray[Any, Any]
Product: TypeAlias = Callable[[Any, Any], Any]
Run: TypeAlias = Callable[[], Any]

DRAWS = 8  # of events; each call takes the next
SCAN = 3_000_000  # events that a scan should deliver, to be long beside its own start
MOST_STEPS = 2_000


def forward(A: Any, x: Any) -> Any:
    """Events along the rows of a matrix."""
    return x @ A


def backward(A: Any, x: Any) -> Any:
    """Events along the columns of a matrix."""
    return A @ x


def matrix(rows: int, cols: int, fan_out: int, *, shared: bool, rng: np.random.Generator, ordered: bool = False) -> CSR:
    """Random weights and targets, rows of random lengths, their targets in any order unless ``ordered``."""
    data, indices, indptr = Spec("", rows, cols, fan_out, homogeneous=shared).matrix(rng)
    if ordered:
        row = np.repeat(np.arange(rows, dtype=np.int64), np.diff(indptr))
        indices = np.sort(row << 32 | indices).astype(np.int32)  # what is left are the lower bits, the column
    return CSR(data, indices, indptr, shape=(rows, cols))


def spikes(rate: float, *shape: int, rng: np.random.Generator) -> Array:
    """Draws of events, ``bool[DRAWS, *shape]``."""
    return rng.random((DRAWS, *shape), np.float32) < rate


def oracle(A: CSR) -> Any:
    """The same matrix in SciPy, in float64."""
    data = np.broadcast_to(np.asarray(A.data, np.float64), A.indices.shape)
    return scipy.sparse.csr_array((data, np.asarray(A.indices), np.asarray(A.indptr)), shape=A.shape)


def check(y: Any, product: Product, S: Any, x: Array) -> None:
    """Raise unless this is what SciPy gives for these events."""
    values = x.astype(np.float64)
    # Sums are of at most some ten thousand terms, at each of which float32 rounds by 6e-8 of the sum.
    positive = scipy.sparse.csr_array((abs(S.data), S.indices, S.indptr), shape=S.shape)  # `abs(S)` would sort S
    slack = 1e-4 * product(positive, abs(values))
    if not np.all(abs(np.asarray(y) - product(S, values)) <= slack):
        raise AssertionError(f"a product of {S.shape} is not the one that SciPy gives")


def waits(run: Callable[[], jax.Array]) -> Run:
    """The same, which ends when its result is there."""
    return lambda: run().block_until_ready()


def calls(A: Any, stack: Array, product: Product, S: Any, *, waiting: int = 1) -> Run:
    """Calls of a jitted product from Python, one for each draw; so many are started before they are waited for."""
    multiply = jax.jit(product)
    xs = [jnp.asarray(x) for x in stack]
    check(multiply(A, xs[0]), product, S, stack[0])

    def run() -> None:
        for i in range(0, len(xs), waiting):
            jax.block_until_ready([multiply(A, x) for x in xs[i : i + waiting]])

    return run


@functools.partial(jax.jit, static_argnames=("product", "steps"))
def scan(A: Any, stack: jax.Array, place: jax.Array, *, product: Product, steps: int) -> jax.Array:
    """A loop in one program over the draws, again and again, as a simulation runs products."""

    # Of each result one element is used, at a place that is not known when this is compiled: that takes the whole of a
    # native call, and adds nothing to it.
    def step(total: jax.Array, i: jax.Array) -> tuple[jax.Array, None]:
        return total + product(A, stack[i % len(stack)])[..., place].sum(), None

    return jax.lax.scan(step, jnp.zeros(()), jnp.arange(steps))[0]


def scanned(A: CSR, stack: Array, product: Product, S: Any, *, steps: int, rng: np.random.Generator) -> Run:
    """Runs of such a loop, checked."""
    xs, place = jnp.asarray(stack), int(rng.integers(S.shape[1] if product is forward else S.shape[0]))
    run = functools.partial(scan, A, xs, jnp.asarray(place), product=product, steps=steps)
    check(jax.jit(product)(A, xs[0]), product, S, stack[0])
    # The sum over all steps is the product of how often each source has fired.
    times = np.bincount(np.arange(steps) % len(stack), minlength=len(stack))
    fired = times @ stack.reshape(len(stack), -1, stack.shape[-1]).sum(1)
    line = S[:, [place]].tocsr() if product is forward else S[[place]].T.tocsr()
    check(run(), forward, line, fired)
    return waits(run)


def enough(events: float) -> int:
    """The steps of a scan that make it long beside its start, of products of so many events."""
    return int(np.clip(SCAN / events, DRAWS, MOST_STEPS))
