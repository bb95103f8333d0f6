"""Structure that describes no matrix, on a GPU: to be run under compute-sanitizer, which watches every access.

    XLA_PYTHON_CLIENT_ALLOCATOR=platform compute-sanitizer --error-exitcode=1 python -m tests.cuda.hostile

With that allocator each array is an allocation of its own, so that an access right behind it is found, too.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from spikax_kernels.ops.coo.op import coo
from spikax_kernels.ops.dense.op import dense
from spikax_kernels.ops.gather.op import gather
from spikax_kernels.ops.random_columns.op import random_columns
from spikax_kernels.ops.scatter.op import scatter
from spikax_kernels.ops.sddmm.op import sddmm

ROWS, COLS, ENTRIES, LANES = 70, 33, 999, 6


def wild(rng: np.random.Generator, size: tuple[int, ...], index: str, most: int) -> np.ndarray:
    """Any values at all, many of them extreme, many of them right."""
    limits = np.iinfo(index)
    extreme = np.array([limits.min, limits.min + 1, -most, -1, 0, most - 1, most, limits.max - 1, limits.max], index)
    values = np.where(rng.random(size) < 0.4, rng.choice(extreme, size), rng.integers(0, most, size))
    return values.astype(index)


def main() -> None:
    """Call every operator in many ways."""
    rng = np.random.default_rng(0)
    count = 0
    for index, dtype, backend in itertools.product(
        ("int32", "int64"), ("float32", "bfloat16", "float64"), ("cuda", "cuda_deterministic")
    ):
        with jax.enable_x64(True):
            for lanes, lanes_of_structure, entries in (((), (), ENTRIES), ((LANES,), (1,), ENTRIES), ((3,), (3,), 0)):
                indices = wild(rng, (*lanes_of_structure, entries), index, COLS)
                indptr = wild(rng, (*lanes_of_structure, ROWS + 1), index, max(entries, 1))
                row = wild(rng, (*lanes_of_structure, entries), index, ROWS)
                data = rng.normal(size=(*lanes_of_structure, entries)).astype(dtype)
                pre = rng.random((*lanes, ROWS)) < 0.5
                post = np.where(rng.random((*lanes, COLS)) < 0.5, 1, 0).astype(dtype)
                over = (1,) * len(lanes)
                calls = (
                    (functools.partial(scatter, cols=COLS, backend=backend), (data, indices, indptr, pre)),
                    (functools.partial(gather, rows=ROWS, backend=backend), (data, indices, indptr, post)),
                    (functools.partial(coo, size=COLS, backend=backend), (data, row, indices, pre)),
                    (
                        functools.partial(sddmm, dtype=jnp.dtype(dtype), lanes=over, backend=backend),
                        (pre, post, indices, indptr),
                    ),
                    (
                        functools.partial(dense, backend=backend),
                        (rng.normal(size=(*over, ROWS, COLS)).astype(dtype), pre),
                    ),
                )
                for function, operands in calls:
                    jax.block_until_ready(jax.jit(function)(*map(jnp.asarray, operands)))
                    count += 1
    lengths = wild(rng, (50,), "int32", 40)
    for loops in (True, False):
        draw = functools.partial(random_columns, rows=50, entries=700, cols=COLS, loops=loops, backend="cuda")
        jax.block_until_ready(jax.jit(draw)(jnp.array([1, 2], jnp.uint32), jnp.asarray(lengths)))
        count += 1
    # So many events that they are packed into bits.
    events = rng.random(300_001) < 0.1
    wide = wild(rng, (2_000_000,), "int32", events.size)
    pointers = wild(rng, (1_001,), "int32", wide.size)
    packed = functools.partial(gather, rows=1_000, backend="cuda")
    jax.block_until_ready(jax.jit(packed)(jnp.ones(1), *map(jnp.asarray, (wide, pointers, events))))
    print(f"{count + 1} programs ran")


if __name__ == "__main__":
    main()
