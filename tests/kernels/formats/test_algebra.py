"""Elementwise arithmetic, sums and diagonals: what NumPy makes of the dense matrices."""

from typing import Any

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikax_kernels import COO, CSC, CSR, Dense, DTypeError, FixedNumPerPost, FixedNumPerPre, ShapeError, StructureError
from tests.kernels._oracle import assert_close
from tests.kernels.formats._formats import FORMATS, dense, example, formats, matrices, sparse, weighted

exact = hypothesis.settings(max_examples=60, derandomize=True)
LIKE: dict[Any, Any] = {CSR: CSR, FixedNumPerPre: CSR, CSC: CSC, FixedNumPerPost: CSC, COO: COO, Dense: Dense}


@formats
@weighted
def test_numbers_scale_the_weights_and_keep_one_weight_one(kind: Any, homogeneous: bool) -> None:
    A = example(kind, homogeneous=homogeneous)
    for B, expected in (
        (A * 2, 2 * dense(A)),
        (0.5 * A, 0.5 * dense(A)),
        (A * jnp.float32(3), 3 * dense(A)),
        (np.float32(3) * A, 3 * dense(A)),
        (A / 4, dense(A) / 4),
        (-A, -dense(A)),
        (abs(A), abs(dense(A))),
    ):
        assert type(B) is kind
        assert B.data.shape == A.data.shape
        assert_close(dense(B), expected)


@exact
@hypothesis.given(matrices())
def test_the_absolute_value_is_that_of_the_sums(A: Any) -> None:
    np.testing.assert_array_equal(dense(abs(A)), abs(dense(A)))
    np.testing.assert_array_equal(dense(jax.jit(abs)(A)), abs(dense(A)))


@formats
@weighted
@pytest.mark.parametrize("shape", [(6, 5), (5,), (1, 5), (6, 1), (1, 1), (1,)])
def test_a_dense_array_broadcasts(kind: Any, homogeneous: bool, shape: tuple[int, ...]) -> None:
    A = example(kind, homogeneous=homogeneous)
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    for other in (values, jnp.asarray(values)):
        assert_close(dense(A * other), dense(A) * values)
        assert_close(dense(other * A), dense(A) * values)
        assert_close(dense(A / other), dense(A) / values)
        assert_close(dense(A.multiply(other)), dense(A) * values)


@exact
@hypothesis.given(st.data())
def test_sums_and_products_of_two_matrices(draw: st.DataObject) -> None:
    shape = draw.draw(st.sampled_from([(0, 3, 0), (1, 1, 1), (5, 4, 9), (3, 6, 20)]))
    A, B = (draw.draw(matrices(shape=shape)) for _ in range(2))
    for C, expected in ((A + B, dense(A) + dense(B)), (A - B, dense(A) - dense(B)), (A * B, dense(A) * dense(B))):
        assert type(C) is LIKE[type(A)]
        np.testing.assert_array_equal(dense(C), expected)
    both = np.zeros(A.shape, bool)
    both[tuple(map(np.asarray, A.coordinates()))] = True
    other = np.zeros(A.shape, bool)
    other[tuple(map(np.asarray, B.coordinates()))] = True
    assert (A + B).nse == np.sum(both | other)
    assert (A * B).sum_duplicates().nse == np.sum(both & other)


@pytest.mark.parametrize("first", FORMATS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("second", FORMATS, ids=lambda kind: kind.__name__)
def test_formats_mix(first: Any, second: Any) -> None:
    A, B = example(first), example(second, 1)
    for C, expected in (
        (A + B, dense(A) + dense(B)),
        (A - B, dense(A) - dense(B)),
        (A * B, dense(A) * dense(B)),
        (A.add(B), dense(A) + dense(B)),
        (A.multiply(B), dense(A) * dense(B)),
    ):
        assert_close(dense(C), expected)
    assert isinstance(A + B, Dense if Dense in (first, second) else LIKE[first])


@sparse
@weighted
def test_sums_and_products_under_jit_take_nse(kind: Any, homogeneous: bool) -> None:
    A, B = example(kind, homogeneous=homogeneous), example(kind, 1)
    total, product = jax.jit(lambda A, B: (A.add(B, nse=40), A.multiply(B, nse=20)))(A, B)
    assert (total.nse, product.nse) == (40, 20)
    assert_close(dense(total), dense(A) + dense(B))
    assert_close(dense(product), dense(A) * dense(B))
    # Structure that is known is counted inside jit, too.
    total, product = jax.jit(lambda data: (A.with_data(data) + B, A.with_data(data) * B))(A.data)
    assert (total.nse, product.nse) == ((A + B).nse, (A * B).nse)


@sparse
def test_nse_that_is_missing_or_too_small_is_an_error_or_nan(kind: Any) -> None:
    A, B = example(kind), example(kind, 1)
    for name, combine in (("add", lambda A, B: A + B), ("add", lambda A, B: A - B), ("multiply", lambda A, B: A * B)):
        with pytest.raises(StructureError, match=f"{name}: got traced structure.*pass nse="):
            jax.jit(combine)(A, B)
    for name in ("add", "multiply"):
        with pytest.raises(StructureError, match=f"{name}: got nse=2 for [0-9]+ entries; expected at least as many"):
            getattr(A, name)(B, nse=2)
        assert jnp.isnan(jax.jit(lambda A, B, name=name: getattr(A, name)(B, nse=2).data)(A, B)).all()
    assert jnp.isnan(jax.jit(lambda A: A.sum_duplicates(nse=2).data)(A)).all()


@formats
def test_arithmetic_is_differentiable(kind: Any) -> None:
    A, B = example(kind), example(kind, 1)
    weights = np.random.default_rng(0).normal(size=(3, *A.shape)).astype(np.float32)
    row, col = map(np.asarray, A.coordinates())
    other = np.zeros(B.shape, np.float32)
    np.add.at(other, tuple(map(np.asarray, B.coordinates())), np.asarray(B.data).reshape(-1))

    def ours(data: jax.Array, other: jax.Array) -> jax.Array:
        C, D = A.with_data(data), B.with_data(other)
        return sum(jnp.sum(w * M.todense()) for w, M in zip(weights, (C + D, C * D, abs(C)), strict=True))  # type: ignore[return-value]

    def expected(data: jax.Array, other: jax.Array) -> jax.Array:
        C = jnp.zeros(A.shape).at[row, col].add(data.reshape(-1))
        D = jnp.zeros(A.shape).at[B.coordinates()].add(other.reshape(-1))
        return sum(jnp.sum(w * M) for w, M in zip(weights, (C + D, C * D, abs(C)), strict=True))  # type: ignore[return-value]

    assert_close(jax.grad(ours, (0, 1))(A.data, B.data), jax.grad(expected, (0, 1))(A.data, B.data))


@formats
def test_a_matrix_and_a_dense_array_add_up_to_a_dense_array(kind: Any) -> None:
    A, values = example(kind), np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    for got, expected in (
        (A + values, dense(A) + values),
        (values + A, dense(A) + values),
        (A - values, dense(A) - values),
        (values - A, values - dense(A)),
    ):
        assert isinstance(got, jax.Array)
        assert_close(got, expected)


@formats
def test_dtypes_are_those_that_jax_promotes_to(kind: Any) -> None:
    A = example(kind)
    half, counts = A.astype(jnp.float16), A.with_data(np.ones(A.data.shape, np.int32))
    for got, dtype in (
        (half * 2, "float16"),
        (half * jnp.float32(2), "float32"),
        (half + A, "float32"),
        (half * A, "float32"),
        (half + np.ones((6, 5), np.float32), "float32"),
        (counts * 2, "int32"),
        (counts / 2, "float32"),
        (counts * 0.5, "float32"),
        (counts.sum(), "int32"),
        (half.sum(), "float16"),
        (half.diagonal(), "float16"),
    ):
        assert got.dtype == dtype


@formats
@pytest.mark.parametrize(
    ("combine", "error", "message"),
    [
        (lambda A: A + A.T, ShapeError, r"got \(6, 5\) \+ \(5, 6\); expected equal shapes"),
        (lambda A: A * A.T, ShapeError, r"got \(6, 5\) \* \(5, 6\)"),
        (lambda A: A + 1.0, ShapeError, r"got \(6, 5\) \+ \(\); expected equal shapes"),
        (lambda A: A + np.ones(5), ShapeError, r"got \(6, 5\) \+ \(5,\)"),
        (lambda A: A * np.ones(6), ShapeError, r"got \(6, 5\) \* \(6,\); expected a shape that broadcasts to \(6, 5\)"),
        (lambda A: A * np.ones((1, 6, 5)), ShapeError, r"got \(6, 5\) \* \(1, 6, 5\)"),
        (lambda A: A * {}, TypeError, "unsupported operand"),
        (lambda A: 1 / A, TypeError, "unsupported operand"),
        (lambda A: A + None, TypeError, "unsupported operand"),
        (lambda A: A.multiply("two"), DTypeError, "multiply: got str; expected a number, array or matrix"),
        (lambda A: A * np.ones(5, complex), DTypeError, "got an array of complex128; expected real numbers"),
        (lambda A: A.sum(2), ShapeError, "sum: got axis=2; expected 0, 1 or None"),
        (lambda A: A.astype(bool), DTypeError, "astype: got bool; expected a real dtype"),
    ],
    ids=range(13),
)
def test_what_does_not_fit_is_named(kind: Any, combine: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        combine(example(kind))


@exact
@hypothesis.given(matrices())
def test_sums_and_diagonals_are_those_of_the_dense_matrix(A: Any) -> None:
    for axis in (None, 0, 1, -1, -2):
        np.testing.assert_array_equal(A.sum(axis), dense(A).sum(axis))
    for k in range(-7, 8):
        expected = np.diagonal(dense(A), k) if -A.shape[0] <= k <= A.shape[1] else np.zeros(0)
        np.testing.assert_array_equal(A.diagonal(k), expected)


def test_padding_takes_part_in_nothing() -> None:
    array = np.array([[1, 0, 2], [0, -3, 0]], np.float32)
    for kind in (CSR, CSC, COO, FixedNumPerPre, FixedNumPerPost):
        A = jax.jit(lambda array, kind=kind: kind.from_dense(array, nse=6))(array)
        A = A.with_data(jnp.where(A.data == 0, 99.0, A.data))
        other = np.arange(6, dtype=np.float32).reshape(2, 3)
        for got, expected in (
            ((A + A).todense(), 2 * array),
            ((A * A).todense(), array**2),
            ((A * other).todense(), array * other),
            (abs(A).todense(), abs(array)),
            (A.sum(0), array.sum(0)),
            (A.sum(), array.sum()),
            (A.diagonal(), np.diagonal(array)),
            (A[1], array[1]),
            (A.slice_rows([1, 0]).todense(), array[::-1]),
            (A.with_dual().sum(1) if kind is not COO else A.sum(1), array.sum(1)),
        ):
            np.testing.assert_array_equal(got, expected)
        assert int(A.nnz) == 3
