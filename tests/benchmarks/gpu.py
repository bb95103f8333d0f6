"""Products and the demo's network on a GPU, beside brainevent's CUDA kernels, cuSPARSE (cupy, torch) and JAX's BCOO.

    python -m tests.benchmarks.gpu --help

A figure is the median of the rounds, in microseconds for one product. One program makes ``DRAWS`` of them, each of
another draw of events, so that nothing can be left out; cupy and torch are called as often and then waited for. Square
shapes of 1000 to 10 000 neurons, and batches of 10, are those that brainevent times itself with.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from spikax_core import use_backend
from spikax_kernels import CSR
from tests.benchmarks.timing import by_turns, median, seconds

DRAWS = 8
EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


class Case(NamedTuple):
    """A matrix with so many entries in each row, and the events that meet it."""

    rows: int
    cols: int
    fan_out: int
    rate: float
    direction: str = "x @ A"
    homogeneous: bool = True
    batch: int = 0

    def __str__(self) -> str:
        weights = "one weight" if self.homogeneous else "per entry"
        batch = f", batch of {self.batch}" if self.batch else ""
        return (
            f"{self.direction}, {self.rows:,} x {self.cols:,}, {self.fan_out:,} each, {self.rate:.2%}, {weights}{batch}"
        )


CASES = (
    *(
        Case(n, n, n // share, rate, direction, homogeneous)
        for n, share in ((1_000, 10), (5_000, 100), (10_000, 10))
        for rate in (0.001, 0.1, 0.99)
        for direction, homogeneous in (("x @ A", True), ("x @ A", False), ("A @ x", False))
    ),
    *(Case(1_000, 1_000, 100, 0.5, direction, batch=10) for direction in ("x @ A", "A @ x")),
    *(Case(10_000, 10_000, 1_000, rate, batch=32) for rate in (0.002, 0.1, 0.5)),
    Case(100_000, 100_000, 1_000, 0.01, homogeneous=False),
    Case(1_000_000, 1_000_000, 100, 0.01, homogeneous=False),
    Case(1_000_000, 1_000_000, 100, 0.01, "A @ x", homogeneous=False),
    Case(1_000_000, 1_000_000, 100, 1.0),
    Case(1_000_000, 1_000_000, 100, 1.0, homogeneous=False),
)


class Arrays(NamedTuple):
    """The arrays of a case; events are ``[draws, (batch,) neurons]``."""

    data: Any
    indices: Any
    indptr: Any
    shape: tuple[int, int]
    events: Any


def draw(case: Case) -> Arrays:
    """Arrays on the GPU, of this run alone."""
    rng = np.random.default_rng()
    entries = case.rows * case.fan_out
    data = np.array([0.5], np.float32) if case.homogeneous else rng.random(entries, np.float32)
    indices = rng.integers(0, case.cols, entries, dtype=np.int32)
    indptr = np.arange(case.rows + 1, dtype=np.int32) * case.fan_out
    size = case.rows if case.direction == "x @ A" else case.cols
    lanes = (case.batch,) if case.batch else ()
    events = rng.random((DRAWS, *lanes, size)) < case.rate
    return Arrays(
        jnp.asarray(data), jnp.asarray(indices), jnp.asarray(indptr), (case.rows, case.cols), jnp.asarray(events)
    )


Product = Callable[[Any], Any]


def spikax(case: Case, a: Arrays) -> Product:
    """``CSR``."""
    A = CSR(a.data, a.indices, a.indptr, shape=a.shape, check=False)
    if case.direction == "x @ A":
        return lambda x: x @ A
    return lambda x: A @ (x.T if case.batch else x)


def brainevent(case: Case, a: Arrays) -> Product:
    """``brainevent.CSR`` on its default backend, ``cuda_raw``."""
    import brainevent as be

    A = be.CSR((a.data, a.indices, a.indptr), shape=a.shape)
    if case.direction == "x @ A":
        function: Product = lambda x: be.BinaryArray(x) @ A  # noqa: E731
    else:
        function = lambda x: A @ be.BinaryArray(x.T if case.batch else x)  # noqa: E731
    function(a.events[0])  # it keeps a workspace on the matrix, which would else be a tracer of the first `jit`
    return function


def bcoo(case: Case, a: Arrays) -> Product | None:
    """``jax.experimental.sparse.BCOO``."""
    from jax.experimental.sparse import BCOO

    if a.indices.size > 20_000_000:
        return None  # minutes
    row = jnp.repeat(jnp.arange(case.rows, dtype=jnp.int32), case.fan_out, total_repeat_length=a.indices.size)
    A = BCOO((jnp.broadcast_to(a.data, a.indices.shape), jnp.stack([row, a.indices], axis=-1)), shape=a.shape)
    if case.direction == "x @ A":
        return lambda x: x.astype(jnp.float32) @ A
    return lambda x: A @ x.astype(jnp.float32).T


def transposed(case: Case, a: Arrays) -> tuple[Any, Any, Any, tuple[int, int]]:
    """CSR arrays of the matrix that the events are multiplied by from the right, as cuSPARSE is fast at."""
    import scipy.sparse

    arrays = (np.broadcast_to(np.asarray(a.data), a.indices.shape), np.asarray(a.indices), np.asarray(a.indptr))
    A = scipy.sparse.csr_array(arrays, shape=a.shape)
    A = A.T.tocsr() if case.direction == "x @ A" else A
    return A.data, A.indices, A.indptr, A.shape


def cupy(case: Case, a: Arrays) -> tuple[Product, list[Any], Callable[[], None]]:
    """``cupyx.scipy.sparse``, which calls cuSPARSE."""
    import cupy as cp
    import cupyx.scipy.sparse as sparse

    data, indices, indptr, shape = transposed(case, a)
    A = sparse.csr_matrix((cp.asarray(data), cp.asarray(indices), cp.asarray(indptr)), shape=shape)
    events = [cp.asarray(np.asarray(x, np.float32).T.copy()) for x in a.events]
    return lambda x: A @ x, events, cp.cuda.Device().synchronize


def torch(case: Case, a: Arrays) -> tuple[Product, list[Any], Callable[[], None]]:
    """``torch.sparse_csr_tensor``."""
    import torch as th

    data, indices, indptr, shape = transposed(case, a)
    arrays = [th.from_numpy(np.array(array)).cuda() for array in (indptr, indices, data)]
    A = th.sparse_csr_tensor(*arrays, size=shape)
    events = [th.from_numpy(np.asarray(x, np.float32).T.copy()).cuda() for x in a.events]
    return lambda x: A @ x, events, th.cuda.synchronize


def traced(function: Product, events: Any) -> Callable[[], Any]:
    """One program of a product for each draw."""
    program = jax.jit(lambda events: [function(x) for x in events])
    draws = list(events)
    return lambda: jax.block_until_ready(program(draws))


def functions(case: Case, only: list[str]) -> dict[str, Callable[[], Any]]:
    """What is timed, each making all draws."""
    a = draw(case)
    found: dict[str, Callable[[], Any]] = {}
    if "spikax" in only:
        found["spikax"] = traced(spikax(case, a), a.events)
    if "deterministic" in only:
        ours = spikax(case, a)

        def exactly(x: Any) -> Any:
            with use_backend("cuda_deterministic"):
                return ours(x)

        found["deterministic"] = traced(exactly, a.events)
    for name, peer in (("brainevent", brainevent), ("jax BCOO", bcoo)):
        if name not in only or (name == "brainevent" and importlib.util.find_spec("brainevent") is None):
            continue
        try:
            function = peer(case, a)
        except Exception as error:  # noqa: BLE001  # what another library cannot do is a gap in the table
            print(f"{name}: {case}: {type(error).__name__}: {str(error)[:200]}", file=sys.stderr)
            continue
        if function is not None:
            found[name] = traced(function, a.events)
    for name, library in (("cupy", cupy), ("torch", torch)):
        if name in only and importlib.util.find_spec(name) is not None:
            product, events, wait = library(case, a)

            def run(product: Product = product, events: list[Any] = events, wait: Callable[[], None] = wait) -> None:
                for x in events:
                    product(x)
                wait()

            found[name] = run
    return found


def timed(case: Case, only: list[str], rounds: int) -> dict[str, float]:
    """Microseconds of a product, in turns."""
    runs = functions(case, only)
    times = by_turns(rounds, *runs.values()) / DRAWS * 1e6
    return {name: median(each) for name, each in zip(runs, times, strict=True)}


def coba(scales: list[int]) -> list[str]:
    """Microseconds of a step of the demo's network, which is a scan of ten thousand steps."""
    sys.path.insert(0, str(EXAMPLES))
    network = importlib.import_module("coba")
    from spikax_transform import for_loop, jit

    lines = ["| neurons | us a step | rate, Hz |", "| --: | --: | --: |"]
    for scale in scales:
        net = network.Network(scale, network.SEED)
        steps = 10_000 if scale <= 100 else 1_000
        simulate = jit(functools.partial(for_loop, lambda net=net: net.update().sum(), length=steps)).lower().compile()
        rate = float(simulate().sum()) / net.n / (steps * network.DT * 1e-3)
        samples = [seconds(lambda simulate=simulate: jax.block_until_ready(simulate())) for _ in range(3)]  # type: ignore[misc]
        lines.append(f"| {net.n:,} | {median(samples) / steps * 1e6:.1f} | {rate:.1f} |")
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    """Time all and print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ["spikax", "deterministic", "brainevent", "cupy", "torch", "jax BCOO"]
    parser.add_argument("--rounds", type=int, default=7, help="samples of each product")
    parser.add_argument("--only", nargs="+", default=names, help="the products to time")
    parser.add_argument("--cases", default="", help="the cases whose name contains this; none for the network alone")
    parser.add_argument("--scales", type=int, nargs="*", default=[1, 10, 100, 1000], help="times 4000 neurons")
    parser.add_argument("--into", type=Path, default=Path("build/benchmarks"), help="where the tables go")
    chosen = parser.parse_args()
    device = jax.devices()[0]
    lines = [f"{device.device_kind}, JAX {jax.__version__}", ""]
    lines += ["| case | " + " | ".join(names) + " |", "| --- |" + " --: |" * len(names)]
    for case in CASES:
        if chosen.cases == "none" or chosen.cases not in str(case):
            continue
        times = timed(case, chosen.only, chosen.rounds)
        cells = []
        for name in names:
            beside = name in times and name != "spikax" and "spikax" in times
            ratio = f" ({times[name] / times['spikax']:.2g} x)" if beside else ""
            cells.append(f"{times[name]:.1f}{ratio}" if name in times else "")
        lines.append(f"| {case} | " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    lines += ["", *coba(chosen.scales)]
    chosen.into.mkdir(parents=True, exist_ok=True)
    (chosen.into / "gpu.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
