import math
from fractions import Fraction

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from spikax_kernels._binomial import binomial

MOST = 2**64 - 1


def draws(*values: int) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    return np.array([min(max(value, 0), MOST) for value in values], np.uint64)


@given(st.integers(1, 60), st.floats(0, 1), st.data())
def test_a_count_begins_where_the_distribution_function_says(
    trials: int, probability: float, data: st.DataObject
) -> None:
    p, count = Fraction(probability), data.draw(st.integers(0, trials - 1))
    below = sum(math.comb(trials, k) * p**k * (1 - p) ** (trials - k) for k in range(count + 1))
    edge = int(below * 2**64)  # so many of the draws are for this count or less
    got = binomial(draws(edge - 2, edge + 2), trials, probability)
    if 2 < edge <= MOST - 2:
        assert got[0] <= count < got[1]


@pytest.mark.parametrize(
    ("trials", "probability"), [(100_000, 0.01), (1_000_000, 2e-5), (3_000, 0.5), (1000, 0.99), (2**31 - 1, 1e-9)]
)
def test_counts_of_many_trials_are_those_of_scipy(trials: int, probability: float) -> None:
    quantiles = np.linspace(0.001, 0.999, 999)
    expected = scipy.stats.binom.ppf(quantiles, trials, probability)
    got = binomial((quantiles * 2.0**64).astype(np.uint64), trials, probability)
    # SciPy's function is rounded, so a draw beside an edge may fall to either side.
    assert np.mean(got != expected) <= 0.002
    assert np.abs(got - expected).max() <= 1


def test_extreme_draws_are_extreme_counts() -> None:
    np.testing.assert_array_equal(binomial(draws(0, MOST), 5, 0.5), [0, 5])
    low, high = binomial(draws(0, MOST), 1_000_000, 0.5)
    # 2^-64 is 9.1 standard deviations of 500.
    assert 500_000 - 4600 < low < 500_000 - 4500 < 500_000 + 4500 < high < 500_000 + 4600


def test_certainty_and_impossibility_are_exact() -> None:
    for probability, count in ((0.0, 0), (1.0, 7)):
        np.testing.assert_array_equal(binomial(draws(0, MOST), 7, probability), [count, count])
    np.testing.assert_array_equal(binomial(draws(0, MOST), 0, 0.3), [0, 0])


@pytest.mark.parametrize("probability", [5e-324, 1e-30, 1 - 2.0**-53])
def test_probabilities_at_the_edge_of_floating_numbers_work(probability: float) -> None:
    usual = 0 if probability < 0.5 else 1000
    np.testing.assert_array_equal(binomial(draws(2**20, 2**63, MOST - 2**20), 1000, probability)[1], usual)
