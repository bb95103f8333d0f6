"""Named argument shapes: what a row of an operator's ``specs.py`` says, and how it becomes arrays.

One table per operator feeds its tests and its benchmarks, so that a case added once is checked and timed everywhere.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, Any]


@dataclasses.dataclass(frozen=True)
class Spec:
    """A matrix and the events that meet it.

    Attributes:
        name: What the case is called in tests and benchmarks.
        rows: The number of rows.
        cols: The number of columns.
        fan_out: The mean number of entries in a row.
        rate: The fraction of events that are active.
        homogeneous: Whether all entries share one weight.
        events: ``"bool"``, ``"binary"`` (numbers of which only being active counts) or ``"valued"``.
        lanes: The batch axes of the events; the matrix is not batched.
        dtype: The dtype of the weights.
        index: The dtype of the structure.
        equal: Whether each row holds ``fan_out`` entries, so that there are no row pointers.
        tags: ``"test"`` where a dense product can check it, ``"bench"`` where its speed is of interest.
    """

    name: str
    rows: int
    cols: int
    fan_out: float
    rate: float = 0.1
    homogeneous: bool = False
    events: Literal["bool", "binary", "valued"] = "bool"
    lanes: tuple[int, ...] = ()
    dtype: str = "float32"
    index: str = "int32"
    equal: bool = False
    tags: frozenset[str] = frozenset({"test"})

    def matrix(self, rng: np.random.Generator) -> tuple[Array, Array, Array]:
        """``(data, indices, indptr)`` with rows unsorted, a column in them twice, of Poisson length or equal."""
        lengths = np.full(self.rows, int(self.fan_out)) if self.equal else rng.poisson(self.fan_out, self.rows)
        indptr = np.concatenate([[0], np.cumsum(lengths if self.cols else 0 * lengths)]).astype(self.index)
        indices = rng.integers(0, max(self.cols, 1), indptr[-1]).astype(self.index)
        data = rng.normal(size=1 if self.homogeneous else indptr[-1]).astype(self.dtype)
        return self._leading(data), self._leading(indices), self._leading(indptr[:0] if self.equal else indptr)

    def vector(self, size: int, rng: np.random.Generator) -> Array:
        """Events ``[*lanes, size]``."""
        active = rng.random((*self.lanes, size)) < self.rate
        if self.events == "bool":
            return active
        return np.where(active, rng.normal(size=active.shape), 0).astype(self.dtype)

    @property
    def binary(self) -> bool:
        """Whether only being active counts."""
        return self.events != "valued"

    def _leading(self, array: Array) -> Array:
        return array.reshape((1,) * len(self.lanes) + array.shape)


BENCH = frozenset({"bench"})
BOTH = frozenset({"test", "bench"})
SIZES = (
    (1_000, 10),
    (1_000, 100),
    (10_000, 100),
    (10_000, 1_000),
    (10_000, 10_000),
    (100_000, 100),
    (1_000_000, 10),
)
"""What is timed: the number of neurons, and of the synapses of each."""

PRODUCTS = (
    # Edges: nothing there, nothing active, everything active.
    Spec("no rows", 0, 7, 3.0),
    Spec("no columns", 7, 0, 3.0),
    Spec("no entries", 7, 5, 0.0),
    Spec("one by one", 1, 1, 1.0, rate=1.0),
    Spec("silent", 40, 30, 5.0, rate=0.0),
    Spec("all active", 40, 30, 5.0, rate=1.0),
    # Every kind of event, weight and dtype, at sizes that are no multiple of a vector or of a block of events.
    *(
        Spec(f"{events}, {'homogeneous' if one else 'per entry'}, {dtype}, {index}", 301, 97, 11.0, 0.2, one, events,
             dtype=dtype, index=index)
        for events in ("bool", "binary", "valued")
        for one in (True, False)
        for dtype in ("float32", "float64")
        for index in ("int32", "int64")
    ),
    # Rows of one length.
    Spec("equal rows", 301, 97, 11.0, 0.2, equal=True),
    Spec("equal rows, float64", 301, 97, 11.0, 0.2, events="valued", dtype="float64", index="int64", equal=True),
    Spec("equal rows, homogeneous, batch", 301, 97, 11.0, 0.2, True, lanes=(5,), equal=True),
    Spec("equal rows, none", 0, 97, 11.0, equal=True),
    Spec("equal rows, empty", 301, 97, 0.0, equal=True),
    # Half precision.
    *(
        Spec(f"{events}, {'one weight' if one else 'per entry'}, {dtype}", 301, 97, 11.0, 0.2, one, events, dtype=dtype)
        for events in ("bool", "binary", "valued")
        for one in (True, False)
        for dtype in ("float16", "bfloat16")
    ),
    Spec("bfloat16, batch", 301, 97, 11.0, 0.2, events="valued", lanes=(5,), dtype="bfloat16"),
    # Integers have no native kernel and run the reference.
    Spec("integers", 60, 40, 5.0, dtype="int32"),
    Spec("batch", 301, 97, 11.0, 0.2, lanes=(5,)),
    Spec("batch of batches, valued", 60, 40, 5.0, 0.3, events="valued", lanes=(2, 3)),
    Spec("empty batch", 60, 40, 5.0, lanes=(0,)),
    # So many events that they are packed into bits where they are read in any order.
    Spec("packed", 20_001, 17_003, 3.0, 0.05),
    Spec("packed, valued, float64, batch", 5_001, 4_003, 3.0, 0.05, events="valued", lanes=(3,), dtype="float64"),
    # Enough work for several threads.
    Spec("threads, narrow", 5_000, 400, 100.0, 0.5),
    Spec("threads, batch", 2_000, 3_000, 20.0, 0.1, True, lanes=(16,)),
    # Many lanes of one matrix, which go together if enough of them fire at once.
    Spec("lanes together", 300, 97, 11.0, 0.6, lanes=(21,)),
    Spec("lanes together, valued, float64", 300, 97, 11.0, 0.6, events="valued", lanes=(21,), dtype="float64"),
    Spec("lanes together, homogeneous, bfloat16", 300, 97, 11.0, 0.6, True, lanes=(21,), dtype="bfloat16"),
    # A result that is larger than a core's cache, and one that threads have together.
    Spec("far, homogeneous", 300, 1_100_000, 1_000.0, 0.6, True),
    Spec("far, short rows, valued", 20_000, 1_100_000, 8.0, 0.5, events="valued"),
    Spec("ranges", 500, 2_200_000, 600.0, 0.8),
    Spec("ranges, homogeneous", 500, 2_200_000, 600.0, 0.8, True),
    # One step of a network: n neurons that send to k others; at 20 Hz, 0.2 % of them fire in 0.1 ms.
    Spec("network, 4 k x 80", 4_000, 4_000, 80.0, 0.002, True, tags=BOTH),
    Spec("network, 4 k x 80, equal rows", 4_000, 4_000, 80.0, 0.002, True, equal=True, tags=BENCH),
    Spec("network, 4 k x 80, silent", 4_000, 4_000, 80.0, 0.0, True, tags=BENCH),
    # From little to much: neurons, synapses of each, and the share that fires.
    *(
        Spec(f"{n:,} x {k:,}, {rate:g} %, {'one weight' if one else 'per entry'}", n, n, k, rate / 100, one, tags=BENCH)
        for n, k in SIZES
        for rate in (0.01, 1.0, 10.0, 100.0)
        for one in (True, False)
    ),
    *(
        Spec(f"{n:,} x {k:,}, {rate:g} %, batch of 32", n, n, k, rate / 100, lanes=(32,), tags=BENCH)
        for n, k in ((4_000, 80), (10_000, 1_000))
        for rate in (0.2, 10.0)
    ),
)  # fmt: skip
"""The table of the products of a matrix with events."""
