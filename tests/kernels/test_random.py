import itertools
import time
from collections import Counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from spikax_kernels import ShapeError, StructureError
from spikax_kernels._random import random_compressed, random_lists, random_rows, random_weights
from tests.kernels.ops.test_random_columns import oracle

Array = Any
LIKELY = 1e-3  # keys are fixed, so a test of a true distribution that passes once passes always


def lists_of(indices: Array, indptr: Array) -> list[list[int]]:
    return [indices[a:b].tolist() for a, b in itertools.pairwise(np.asarray(indptr))]


def check_rows(indices: Array, indptr: Array, shape: tuple[int, int], *, allow_self: bool = True) -> None:
    """Ascending without repetition, in range, with no connection of a neuron to itself if none may be."""
    indices, indptr = np.asarray(indices), np.asarray(indptr)
    assert (indices.dtype, indptr.dtype, indptr[0], indptr[-1]) == (np.int32, np.int32, 0, len(indices))
    assert len(indptr) == shape[0] + 1
    row = np.repeat(np.arange(shape[0]), np.diff(indptr))
    assert np.all((indices >= 0) & (indices < shape[1]))
    assert np.all((np.diff(indices) > 0) | (np.diff(row) > 0))
    assert allow_self or not np.any(indices == row)


def uniform_targets(indices: Array, cols: int, rows: int, length: int) -> float:
    """The p-value of the targets of rows that each have so many distinct columns, if no column is favoured."""
    share = length / cols
    excess = np.bincount(np.asarray(indices).reshape(-1), minlength=cols) - rows * share
    # Draws without replacement: the counts of a row add up to its length, so their covariance is singular.
    statistic = np.sum(excess**2) / (rows * share * (1 - share)) * (cols - 1) / cols
    return float(scipy.stats.chi2.sf(statistic, cols - 1))


@settings(max_examples=60)
@given(st.integers(0, 30), st.integers(1, 30), st.floats(0, 1), st.booleans(), st.integers(0, 2**31))
def test_fan_out_and_fan_in_are_exact(rows: int, cols: int, share: float, allow_self: bool, seed: int) -> None:
    cols = cols if allow_self else max(rows, 1)
    rows = rows if allow_self else cols
    key, most = jax.random.key(seed), (rows - (not allow_self), cols - (not allow_self))
    fan_out = round(share * most[1]) if rows else 0
    indices, indptr = random_compressed(key, (rows, cols), per_row=fan_out, allow_self=allow_self)
    check_rows(indices, indptr, (rows, cols), allow_self=allow_self)
    assert np.all(np.diff(indptr) == fan_out)
    fan_in = round(share * most[0])
    indices, indptr = random_compressed(key, (rows, cols), per_col=fan_in, allow_self=allow_self)
    check_rows(indices, indptr, (rows, cols), allow_self=allow_self)
    np.testing.assert_array_equal(np.bincount(indices, minlength=cols), fan_in)


def test_columns_are_the_rows_of_the_transpose(key: jax.Array) -> None:
    indices, indptr = random_compressed(key, (40, 30), per_col=7)
    lists = np.asarray(random_lists(key, (30, 40), 7))
    pointers = np.arange(31) * 7
    expected = scipy.sparse.csc_array((np.ones(210), lists.reshape(-1), pointers), shape=(40, 30)).tocsr()
    np.testing.assert_array_equal(indices, expected.indices)
    np.testing.assert_array_equal(indptr, expected.indptr)


@pytest.mark.parametrize(("cols", "length"), [(500, 3), (500, 200), (500, 300), (500, 499), (50_000, 20)])
def test_every_target_is_equally_likely(key: jax.Array, cols: int, length: int) -> None:
    lists = random_lists(key, (4_000, cols), length)
    assert LIKELY < uniform_targets(lists, cols, 4_000, length) < 1 - LIKELY


@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_every_set_of_targets_is_equally_likely(key: jax.Array, length: int) -> None:
    counts = Counter(map(tuple, np.asarray(random_lists(key, (30_000, 5), length)).tolist()))
    assert set(counts) == set(itertools.combinations(range(5), length))
    assert scipy.stats.chisquare(list(counts.values())).pvalue > LIKELY


def test_without_autapses_every_other_target_is_equally_likely(key: jax.Array) -> None:
    lists = np.asarray(random_lists(key, (400, 400), 60, allow_self=False))
    offsets = (lists - np.arange(400)[:, None]) % 400
    assert offsets.min() == 1
    assert LIKELY < uniform_targets(offsets - 1, 399, 400, 60) < 1 - LIKELY
    assert LIKELY < uniform_targets(lists, 400, 400, 60) < 1 - LIKELY


def test_with_replacement_draws_are_independent(key: jax.Array) -> None:
    counts = Counter(map(tuple, np.asarray(random_lists(key, (30_000, 3), 2, replace=True)).tolist()))
    pairs = list(itertools.combinations_with_replacement(range(3), 2))
    expected = [30_000 / 9 * (1 if a == b else 2) for a, b in pairs]
    assert scipy.stats.chisquare([counts[pair] for pair in pairs], expected).pvalue > LIKELY
    assert random_lists(key, (2, 3), 10, replace=True).shape == (2, 10)


@pytest.mark.parametrize(("cols", "density"), [(200, 0.1), (2_000, 0.005), (40, 0.5), (300, 0.9)])
@pytest.mark.parametrize("axis", ["rows", "columns"])
def test_degrees_are_binomial(key: jax.Array, cols: int, density: float, axis: str) -> None:
    rows = 8_000
    indices, indptr = random_rows(key, (rows, cols) if axis == "rows" else (cols, rows), density)
    check_rows(indices, indptr, (rows, cols) if axis == "rows" else (cols, rows))
    degrees = np.diff(indptr) if axis == "rows" else np.bincount(indices, minlength=rows)
    expected = rows * scipy.stats.binom.pmf(np.arange(cols + 1), cols, density)
    observed = np.bincount(degrees, minlength=cols + 1)
    common = expected >= 8  # the test is asymptotic; what is rare is taken together
    observed = np.append(observed[common], observed[~common].sum())
    expected = np.append(expected[common], expected[~common].sum())
    assert scipy.stats.chisquare(observed, expected * rows / expected.sum()).pvalue > LIKELY


def test_pairs_are_independent(key: jax.Array) -> None:
    counts = Counter(map(tuple, lists_of(*random_rows(key, (40_000, 4), 0.3))))
    sets = [subset for size in range(5) for subset in itertools.combinations(range(4), size)]
    expected = [40_000 * 0.3 ** len(subset) * 0.7 ** (4 - len(subset)) for subset in sets]
    assert scipy.stats.chisquare([counts[subset] for subset in sets], expected).pvalue > LIKELY


def test_the_number_of_entries_is_binomial(key: jax.Array) -> None:
    sizes = [random_rows(k, (60, 50), 0.2)[0].size for k in jax.random.split(key, 100)]
    z = (np.array(sizes) - 600) / np.sqrt(3000 * 0.2 * 0.8)
    assert scipy.stats.kstest(z, "norm").pvalue > LIKELY


def test_by_density_without_autapses_the_diagonal_stays_empty(key: jax.Array) -> None:
    indices, indptr = random_rows(key, (300, 300), 0.5, allow_self=False)
    check_rows(indices, indptr, (300, 300), allow_self=False)
    assert abs(indices.size - 300 * 299 / 2) < 5 * np.sqrt(300 * 299 / 4)
    indices, indptr = random_rows(key, (5, 5), 1.0, allow_self=False)
    assert lists_of(indices, indptr) == [[column for column in range(5) if column != row] for row in range(5)]


def test_density_zero_and_one_are_nothing_and_everything(key: jax.Array) -> None:
    assert lists_of(*random_rows(key, (3, 4), 0.0)) == [[], [], []]
    assert lists_of(*random_rows(key, (3, 4), 1)) == [[0, 1, 2, 3]] * 3
    assert lists_of(*random_rows(key, (0, 4), 0.5)) == []
    assert lists_of(*random_rows(key, (2, 0), 0.5)) == [[], []]


@pytest.mark.parametrize("seed", [0, 1, 2**32 + 5])
def test_a_key_stands_for_one_structure_on_every_platform(seed: int) -> None:
    key = jax.random.key(seed)
    words = np.asarray(jax.random.key_data(key))
    expected = oracle(words, [4] * 6, 24, 50, replace=False, loops=True)
    assert random_lists(key, (6, 50), 4).reshape(-1).tolist() == expected


def test_it_is_the_same_inside_jit(key: jax.Array) -> None:
    choice: Any
    for choice in ({"per_row": 7}, {"per_col": 7}):
        got = jax.jit(lambda key, choice=choice: random_compressed(key, (40, 30), **choice))(key)
        for mine, expected in zip(got, random_compressed(key, (40, 30), **choice), strict=True):
            assert mine.dtype == expected.dtype
            np.testing.assert_array_equal(mine, expected)


def test_a_batch_of_keys_gives_a_stack(key: jax.Array) -> None:
    keys = jax.random.split(key, 3)
    stack = jax.vmap(lambda key: random_lists(key, (6, 20), 4))(keys)
    np.testing.assert_array_equal(stack, [random_lists(k, (6, 20), 4) for k in keys])
    assert not np.array_equal(stack[0], stack[1])


def test_it_is_the_same_in_64_bits(key: jax.Array) -> None:
    expected = random_rows(key, (40, 30), 0.3)
    with jax.enable_x64(True):
        got = random_rows(jax.random.key(0), (40, 30), 0.3)
    for mine, other in zip(got, expected, strict=True):
        assert mine.dtype == other.dtype
        np.testing.assert_array_equal(mine, other)


def test_a_raw_key_is_as_good_as_a_typed_one(key: jax.Array) -> None:
    raw: Any
    for raw in (jax.random.PRNGKey(0), np.zeros(2, np.uint32)):
        np.testing.assert_array_equal(random_lists(raw, (5, 20), 3), random_lists(key, (5, 20), 3))


@pytest.mark.parametrize("impl", ["rbg", "unsafe_rbg"])
def test_keys_of_other_generators_work(impl: str) -> None:
    a, b = (random_lists(jax.random.key(seed, impl=impl), (5, 1000), 9).tolist() for seed in (0, 1))
    assert a != b
    assert a == random_lists(jax.random.key(0, impl=impl), (5, 1000), 9).tolist()


def test_nothing_dense_is_made(key: jax.Array) -> None:
    start = time.perf_counter()
    assert random_lists(key, (1_000, 2_000_000_000), 5).shape == (1_000, 5)
    indices, _ = random_rows(key, (1_000_000, 1_000_000), 1e-7)
    assert abs(indices.size - 1e5) < 5 * np.sqrt(1e5)
    # One bit a pair would be 125 GB.
    assert time.perf_counter() - start < 60


def test_weights_are_one_or_given_or_drawn(key: jax.Array) -> None:
    assert random_weights(key, 0.5, (7,)).shape == ()
    np.testing.assert_array_equal(random_weights(key, np.arange(7.0), (7,)), np.arange(7.0))
    drawn = random_weights(key, jax.random.normal, (50_000,))
    assert scipy.stats.kstest(drawn, "norm").pvalue > LIKELY
    with pytest.raises(ShapeError, match=r"weight: got shape \(6,\); expected \(\), \(1,\) or \(7,\)"):
        random_weights(key, np.ones(6), (7,))


def test_weights_are_independent_of_the_structure(key: jax.Array) -> None:
    lists = random_lists(key, (20_000, 1_000), 1).reshape(-1)
    weights = random_weights(key, jax.random.uniform, lists.shape)
    assert scipy.stats.pearsonr(lists, weights).pvalue > LIKELY


def test_what_cannot_be_is_an_error_that_says_what_can(key: jax.Array) -> None:
    typo: Any
    for typo, message in (
        ({}, "got 0 of density, fan_out and fan_in; expected one"),
        ({"density": 0.1, "per_row": 2}, "got 2 of density"),
        ({"density": 1.5}, r"density: got 1\.5; expected 0 to 1"),
        ({"density": float("nan")}, "density: got nan"),
        ({"density": 0.1, "replace": True}, "replace: got True with density="),
        ({"per_row": 5}, "got 5 synapses for each neuron, which has 4 neurons .* expected 0 to 4, or replace=True"),
        ({"per_col": 4, "allow_self": False}, "got 4 synapses for each neuron, which has 3 neurons"),
        ({"per_row": -1}, "got -1 synapses"),
    ):
        with pytest.raises(StructureError, match=message):
            random_compressed(key, (4, 4), **typo)
    with pytest.raises(StructureError, match=r"which has 0 neurons to choose from; expected 0 to 0$"):
        random_lists(key, (4, 0), 1, replace=True)
    with pytest.raises(ShapeError, match="allow_self: got False for 4 and 5 neurons; expected a square matrix"):
        random_lists(key, (4, 5), 1, allow_self=False)
    with pytest.raises(ShapeError, match="expected at most 2147483647 neurons"):
        random_lists(key, (4, 2**31), 1)
    with pytest.raises(ShapeError, match=r"key: got keys of shape \(2,\); expected one key"):
        random_lists(jax.random.split(key), (4, 4), 1)
    with pytest.raises(StructureError, match="density: got a traced key"):
        jax.jit(lambda key: random_rows(key, (4, 4), 0.5))(key)
    seed: Any = 0
    with pytest.raises(TypeError, match="key"):
        random_lists(seed, (4, 4), 1)


def test_a_structure_may_be_made_while_a_function_is_differentiated(key: jax.Array) -> None:
    def f(x: jax.Array) -> jax.Array:
        return jnp.sum(x[random_lists(key, (3, 5), 2)])

    expected = np.bincount(np.asarray(random_lists(key, (3, 5), 2)).reshape(-1), minlength=5)
    np.testing.assert_array_equal(jax.grad(f)(jnp.zeros(5)), expected)
