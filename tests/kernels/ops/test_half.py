"""Half precision: sums are made in float32 and rounded once, to the nearest, as NumPy rounds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikax_core import use_backend
from spikax_kernels.ops.dense.op import dense
from spikax_kernels.ops.gather.op import gather
from spikax_kernels.ops.scatter.op import scatter
from tests.kernels._oracle import NATIVE, Array

dtypes = pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
backends = pytest.mark.parametrize("backend", [*NATIVE, "reference"])


def every(dtype: str) -> Array:
    """All numbers of a dtype, with its subnormal ones only where float32 has them as normal ones."""
    numbers = np.arange(2**16, dtype=np.uint16).view(np.dtype(dtype))
    return numbers[~is_subnormal(numbers.astype(np.float32))]


def is_subnormal(numbers: Array) -> Array:
    """Where float32 has less than its precision, and may be flushed to zero."""
    return (numbers != 0) & (np.abs(numbers) < np.finfo(np.float32).tiny)


def assert_same(got: jax.Array, expected: Array) -> None:
    """The same numbers of the same dtype."""
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(np.asarray(got).astype(np.float32), expected.astype(np.float32))


@dtypes
def test_every_number_is_read_and_written_as_it_is(dtype: str) -> None:
    weights = every(dtype)
    got = dense(jnp.asarray(weights)[None], jnp.array([True]))
    assert_same(got, weights)


@dtypes
def test_sums_are_rounded_to_the_nearest_and_ties_to_even(dtype: str) -> None:
    rng = np.random.default_rng(0)
    numbers = every(dtype)
    numbers = numbers[np.isfinite(numbers.astype(np.float32))]
    one = rng.choice(numbers, 200_000)
    near = (one.astype(np.float32) * rng.choice([1e-3, 2**-8, 2**-9, 2**-11, 2**-12, -0.5, 1.0], one.size)).astype(
        dtype
    )
    with np.errstate(over="ignore"):
        wide = one.astype(np.float32) + near.astype(np.float32)
        expected = wide.astype(dtype)
    keep = ~(is_subnormal(wide) | is_subnormal(near.astype(np.float32)))
    got = dense(jnp.asarray(np.stack([one, near])[:, keep]), jnp.array([True, True]))
    assert_same(got, expected[keep])


@dtypes
@backends
def test_many_small_numbers_are_not_lost_beside_a_large_sum(dtype: str, backend: str) -> None:
    # In half precision 2048 + 1 is 2048, and 256 + 1 is 256 in bfloat16.
    size = 4096
    ones, columns = jnp.ones(size, dtype), jnp.arange(size, dtype=jnp.int32)
    none, events = jnp.zeros(0, jnp.int32), jnp.ones(size, bool)
    with use_backend(backend):
        assert gather(ones, columns, none, events, rows=1)[0] == size
        assert scatter(ones, 0 * columns, none, events, cols=1)[0] == size
        assert dense(ones[:, None], events)[0] == size
        assert dense(ones[None], events, transpose=True)[0] == size


@dtypes
@backends
def test_the_gradient_of_a_weight_that_many_lanes_share_is_summed_in_float32(dtype: str, backend: str) -> None:
    lanes = 4096
    events, indices = jnp.ones((lanes, 1), bool), jnp.zeros((1, 1), jnp.int32)
    none = jnp.zeros((1, 0), jnp.int32)
    with use_backend(backend):
        gradient = jax.grad(lambda data: scatter(data, indices, none, events, cols=1).sum())(jnp.ones((1, 1), dtype))
    assert gradient[0, 0] == lanes
