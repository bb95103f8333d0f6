import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikax_kernels import CSR, BinaryArray

VALUES = np.array([0.5, 0.0, -2.0, 3.0], np.float32)
ARITHMETIC = [operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod, operator.pow]
COMPARISONS = [operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne]


def events() -> BinaryArray:
    return BinaryArray(jnp.asarray(VALUES))


@pytest.mark.parametrize("operation", ARITHMETIC + COMPARISONS, ids=lambda operation: operation.__name__)
@pytest.mark.parametrize(
    "other", [2.0, np.array([1, 2, 3, 4], np.float32), jnp.array([1.0, 2, 3, 4])], ids=["number", "numpy", "jax"]
)
def test_arithmetic_and_comparisons_are_those_of_the_values_and_give_plain_arrays(operation: Any, other: Any) -> None:
    for got, expected in (
        (operation(events(), other), operation(jnp.asarray(VALUES), jnp.asarray(other))),
        (operation(other, events()), operation(jnp.asarray(other), jnp.asarray(VALUES))),
    ):
        assert isinstance(got, jax.Array)
        np.testing.assert_array_equal(got, expected)


def test_two_of_them_give_a_plain_array() -> None:
    np.testing.assert_array_equal(events() + events(), 2 * VALUES)
    np.testing.assert_array_equal(events() == events(), np.full(4, True))


def test_negative_and_absolute_values_are_plain_arrays() -> None:
    np.testing.assert_array_equal(-events(), -VALUES)
    np.testing.assert_array_equal(abs(events()), np.abs(VALUES))


def test_indexing_reshaping_and_the_transpose_keep_the_class() -> None:
    for got, expected in (
        (events()[1:], VALUES[1:]),
        (events()[2], VALUES[2]),
        (events().reshape(2, 2), VALUES.reshape(2, 2)),
        (events().reshape((2, 2)).T, VALUES.reshape(2, 2).T),
    ):
        assert isinstance(got, BinaryArray)
        np.testing.assert_array_equal(got.value, expected)


def test_iteration_ends() -> None:
    assert [float(event.value) for event in events()] == VALUES.tolist()
    assert len(events()) == 4


def test_shape_and_dtype_are_those_of_the_values() -> None:
    x = events().reshape(2, 2)
    assert (x.shape, x.ndim, x.size, x.dtype) == ((2, 2), 2, 4, jnp.float32)


def test_it_does_not_turn_into_an_array_by_itself() -> None:
    for convert in (np.asarray, jnp.asarray):
        with pytest.raises(TypeError, match=r"use \.value"):
            convert(events())
    for product in (
        lambda: jnp.ones((4, 4)) @ events(),  # type: ignore[operator]
        lambda: np.ones((4, 4)) @ events(),
        lambda: np.dot(np.ones((4, 4)), events()),
    ):
        with pytest.raises(TypeError):
            product()


def test_it_is_frozen_and_not_hashable() -> None:
    with pytest.raises(AttributeError):
        events().value = jnp.ones(4)  # type: ignore[misc]
    with pytest.raises(TypeError, match="unhashable"):
        hash(events())


def test_it_is_a_pytree() -> None:
    A = CSR.from_dense(np.arange(8, dtype=np.float32).reshape(4, 2))
    expected = (VALUES != 0) @ np.arange(8).reshape(4, 2)
    np.testing.assert_array_equal(jax.jit(lambda x: x @ A)(events()), expected)
    np.testing.assert_array_equal(
        jax.vmap(lambda x: x @ A)(BinaryArray(jnp.stack([VALUES, -VALUES]))), [expected, expected]
    )
    (path,), _ = jax.tree.flatten_with_path(events())
    assert jax.tree_util.keystr(path[0]) == ".value"


def test_the_gradient_passes_straight_through() -> None:
    weights = np.arange(8, dtype=np.float32).reshape(4, 2)
    gradient = jax.grad(lambda x: jnp.sum(BinaryArray(x) @ CSR.from_dense(weights)))(jnp.asarray(VALUES))
    np.testing.assert_array_equal(gradient, weights.sum(1))


def test_the_gradient_with_respect_to_it_is_one() -> None:
    weights = np.arange(8, dtype=np.float32).reshape(4, 2)
    gradient = jax.grad(lambda x: jnp.sum(x @ CSR.from_dense(weights)))(events())
    assert isinstance(gradient, BinaryArray)
    np.testing.assert_array_equal(gradient.value, weights.sum(1))
