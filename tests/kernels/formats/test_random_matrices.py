"""The ``random`` constructors of the formats: what they ask of a draw is what the matrix has."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikax_kernels import COO, CSC, CSR, FixedNumPerPost, FixedNumPerPre, ShapeError, StructureError

SHAPE = (60, 45)
LISTS: tuple[Any, ...] = (CSR, CSC, COO)
each = pytest.mark.parametrize("kind", LISTS, ids=lambda kind: kind.__name__)


@pytest.fixture
def key() -> jax.Array:
    return jax.random.key(3)


def pairs(A: Any) -> np.ndarray[Any, Any]:
    """How many entries stand at each place."""
    row, column = map(np.asarray, A.coordinates())
    counts = np.zeros(A.shape, int)
    np.add.at(counts, (row, column), 1)
    return counts


@each
def test_fan_out_is_the_length_of_rows_and_fan_in_that_of_columns(kind: Any, key: jax.Array) -> None:
    for A, axis, length in ((kind.random(key, SHAPE, fan_out=7), 1, 7), (kind.random(key, SHAPE, fan_in=9), 0, 9)):
        counts = pairs(A)
        assert counts.max() == 1
        np.testing.assert_array_equal(counts.sum(axis), np.full(SHAPE[1 - axis], length))


@pytest.mark.parametrize(("kind", "choice", "axis"), [(FixedNumPerPre, "fan_out", 1), (FixedNumPerPost, "fan_in", 0)])
def test_rectangles_are_those_of_compressed_matrices(kind: Any, choice: str, axis: int, key: jax.Array) -> None:
    compressed: Any = CSR if axis else CSC
    A, B = (cls.random(key, SHAPE, **{choice: 7}) for cls in (kind, compressed))
    np.testing.assert_array_equal(pairs(A), pairs(B))


@each
def test_a_density_is_the_mean_number_of_entries(kind: Any, key: jax.Array) -> None:
    sizes = [kind.random(k, SHAPE, density=0.2).nse for k in jax.random.split(key, 30)]
    mean, spread = 0.2 * 60 * 45, (60 * 45 * 0.2 * 0.8 / 30) ** 0.5
    assert abs(np.mean(sizes) - mean) < 4 * spread


def test_formats_that_are_drawn_alike_are_the_same_matrix(key: jax.Array) -> None:
    weights: Any = {"weight": jax.random.normal, "fan_out": 7}
    A, B = CSR.random(key, SHAPE, **weights), COO.random(key, SHAPE, **weights)
    np.testing.assert_array_equal(A.todense(), B.todense())


@each
def test_a_matrix_may_be_drawn_inside_jit(kind: Any, key: jax.Array) -> None:
    for choice in ({"fan_out": 7}, {"fan_in": 9}):

        def draw(key: jax.Array, choice: Any = choice) -> Any:
            return kind.random(key, SHAPE, weight=jax.random.uniform, **choice).todense()

        np.testing.assert_array_equal(jax.jit(draw)(key), draw(key))


@each
def test_weights_are_one_each_or_one_for_all(kind: Any, key: jax.Array) -> None:
    assert kind.random(key, SHAPE, fan_out=7).data.shape == ()
    A = kind.random(key, SHAPE, fan_out=7, weight=jnp.arange(420.0))
    np.testing.assert_array_equal(A.data, np.arange(420.0))
    with pytest.raises(ShapeError, match=r"weight: got shape \(419,\); expected \(\), \(1,\) or \(420,\)"):
        kind.random(key, SHAPE, fan_out=7, weight=jnp.arange(419.0))


@each
def test_no_neuron_connects_to_itself_if_it_may_not(kind: Any, key: jax.Array) -> None:
    for choice in ({"fan_out": 29}, {"fan_in": 29}, {"density": 1.0}):
        A = kind.random(key, (30, 30), allow_self=False, **choice)
        np.testing.assert_array_equal(pairs(A), 1 - np.eye(30, dtype=int))
    with pytest.raises(ShapeError, match="allow_self: got False for"):
        kind.random(key, SHAPE, fan_out=2, allow_self=False)


@each
def test_pairs_may_repeat_if_they_may(kind: Any, key: jax.Array) -> None:
    counts = pairs(kind.random(key, (20, 5), fan_out=40, replace=True))
    np.testing.assert_array_equal(counts.sum(1), np.full(20, 40))
    with pytest.raises(StructureError, match="got 40 synapses for each neuron, which has 5 neurons to choose from"):
        kind.random(key, (20, 5), fan_out=40)
