"""RandomState: keys that never repeat, and come again from the same seed."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import spikax_transform as st


def test_it_holds_a_typed_key() -> None:
    assert jnp.issubdtype(st.RandomState(0).value.dtype, jax.dtypes.prng_key)


@pytest.mark.parametrize("seed", [7, np.int64(7), jax.random.key(7), jax.random.PRNGKey(7), jnp.int32(7)], ids=repr)
def test_a_seed_may_be_a_number_a_key_or_a_raw_key(seed: Any) -> None:
    assert jax.random.bits(st.RandomState(seed).value) == jax.random.bits(jax.random.key(7))


@pytest.mark.parametrize("seed", [1.5, "a", None, True, np.zeros(3)], ids=str)
def test_anything_else_is_refused(seed: Any) -> None:
    with pytest.raises(st.RandomKeyError):
        st.RandomState(seed)


def test_split_keys_differ_from_each_other_and_from_the_next() -> None:
    rng = st.RandomState(0)
    keys = [rng.split_key(), *rng.split_key(3), rng.split_key()]
    assert len({tuple(jax.random.key_data(key).tolist()) for key in keys}) == 5


def test_seeding_starts_again() -> None:
    rng = st.RandomState(1)
    first = jax.random.bits(rng.split_key())
    rng.seed(1)
    assert jax.random.bits(rng.split_key()) == first


def test_a_loop_draws_what_the_same_calls_draw_outside() -> None:
    rng = st.RandomState(5)
    drawn = st.for_loop(lambda: jax.random.uniform(rng.split_key()), length=4)
    key, expected = jax.random.key(5), []
    for _ in range(4):
        key, sub = jax.random.split(key)
        expected.append(jax.random.uniform(sub))
    np.testing.assert_array_equal(drawn, expected)
    assert jnp.array_equal(jax.random.key_data(rng.value), jax.random.key_data(key))
