"""``A[...]`` and ``slice_rows``: what NumPy takes from the dense matrix."""

from typing import Any

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikax_kernels import COO, CSC, CSR, Dense, FixedNumPerPost, FixedNumPerPre, StructureError
from tests.kernels._oracle import assert_close
from tests.kernels.formats._formats import dense, example, formats, matrices, weighted

KEYS: list[Any] = [
    2,
    -1,
    np.int32(3),
    slice(1, 4),
    slice(None, None, -2),
    slice(4, 1),
    slice(None),
    [0, 5, 0],
    [],
    np.array([[0, 1], [2, -1]]),
    np.array([True, False, True, False, False, True]),
    (2, 3),
    (-1, -1),
    (2, slice(1, 3)),
    (2, [0, 0, 4]),
    (slice(1, 3), 2),
    (slice(None), 2),
    (slice(None), [3, 1]),
    (slice(None), slice(2, None)),
    (slice(0, 4), [1, 2, 1]),
    ([0, 2, 4], [1, 2, 3]),
    ([[0], [2]], [1, 2, 3]),
    ([0, 2], 3),
    ([0, 2], slice(None)),
    (slice(None), np.array([[0, 1], [2, 3]])),
]


@formats
@pytest.mark.parametrize("key", KEYS, ids=repr)
def test_parts_are_those_of_the_dense_matrix(kind: Any, key: Any) -> None:
    A = example(kind)
    assert_close(A[key], dense(A)[key])


@formats
def test_traced_positions(kind: Any) -> None:
    A = example(kind)
    assert_close(jax.jit(lambda A, i: A[i])(A, 2), dense(A)[2])
    assert_close(jax.jit(lambda A, i, j: A[i, j])(A, -1, 3), dense(A)[-1, 3])
    assert_close(jax.vmap(lambda i: A[i])(jnp.arange(6)), dense(A))
    assert_close(jax.jit(lambda A, i: A[i, 1:3])(A, jnp.array([4, 1])), dense(A)[[4, 1], 1:3])
    beyond = jnp.array([4, 9, -9])
    assert_close(jax.jit(lambda A, i: A[i])(A, beyond), dense(A)[4] * np.array([[1], [0], [0]]))
    assert_close(jax.jit(lambda A, i: A[0, i])(A, beyond), dense(A)[0, 4] * np.array([1, 0, 0]))


@formats
def test_parts_are_differentiable(kind: Any) -> None:
    A = example(kind)
    row, col = A.coordinates()
    for key in (2, (2, 3), [0, 2, 2], slice(1, 4), (slice(None), 1)):
        weights = np.random.default_rng(0).normal(size=dense(A)[key].shape).astype(np.float32)

        def expected(data: jax.Array, key: Any = key, weights: Any = weights) -> jax.Array:
            matrix = jnp.zeros(A.shape).at[row, col].add(data.reshape(-1))
            return jnp.sum(weights * matrix[np.array(key) if isinstance(key, list) else key])

        got = jax.grad(lambda data, key=key, weights=weights: jnp.sum(weights * A.with_data(data)[key]))(A.data)
        assert_close(got, jax.grad(expected)(A.data))


@formats
@pytest.mark.parametrize(
    ("key", "message"),
    [
        (6, "index 6 is out of bounds"),
        ([0, -7], "index -7 is out of bounds"),
        ((0, 5), "index 5 is out of bounds"),
        ((0, 0, 0), "got 3 indices for a matrix; expected one or two"),
        (None, "got the index None"),
        (..., "got the index Ellipsis"),
        (0.5, "arrays used as indices must be of integer"),
        (np.ones(5, bool), "boolean index did not match"),
    ],
    ids=range(8),
)
def test_what_is_no_part_is_an_index_error(kind: Any, key: Any, message: str) -> None:
    with pytest.raises(IndexError, match=message):
        example(kind)[key]


@formats
def test_a_traced_mask_is_an_error(kind: Any) -> None:
    with pytest.raises(StructureError, match="a traced index of bool; expected integers"):
        jax.jit(lambda mask: example(kind)[mask])(np.ones(6, bool))


@formats
def test_iterating_gives_the_rows(kind: Any) -> None:
    A = example(kind)
    assert_close(np.stack(list(A)), dense(A))


# --- sparse slices


@formats
@weighted
@pytest.mark.parametrize("rows", [[2], [4, 0, 4, 4], [], slice(1, 5), slice(None, None, -1), np.arange(6) % 2 == 0, -1])
def test_slices_of_rows(kind: Any, homogeneous: bool, rows: Any) -> None:
    A = example(kind, homogeneous=homogeneous)
    expected = np.atleast_2d(dense(A)[rows])
    B = A.slice_rows(rows)
    same = {CSR: CSR, FixedNumPerPre: FixedNumPerPre, CSC: CSC, FixedNumPerPost: CSC, COO: COO, Dense: Dense}
    assert type(B) is same[kind]
    assert B.shape == expected.shape
    assert_close(dense(B), expected)
    if kind is not Dense:
        assert B.data.shape == ((1,) if homogeneous else B.data.shape)
        # Rows that are traced need nse.
        traced = jax.jit(lambda A, rows: A.slice_rows(rows, nse=30))(A, np.atleast_1d(np.arange(6)[rows]))
        assert_close(dense(traced), expected)


@hypothesis.settings(max_examples=60, derandomize=True)
@hypothesis.given(matrices(), st.data())
def test_any_rows_of_any_matrix(A: Any, draw: st.DataObject) -> None:
    size = A.shape[0]
    rows = draw.draw(st.lists(st.integers(-size, size - 1), max_size=5)) if size else []
    np.testing.assert_array_equal(dense(A.slice_rows(rows)), dense(A)[np.array(rows, int)])
    np.testing.assert_array_equal(A[rows], dense(A)[np.array(rows, int)])


@formats
def test_slices_of_rows_are_differentiable(kind: Any) -> None:
    A = example(kind)
    weights = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    rows = np.array([4, 0, 4])
    got = jax.grad(lambda data: jnp.sum(weights * A.with_data(data).slice_rows(rows).todense()))(A.data)
    row, col = A.coordinates()

    def expected(data: jax.Array) -> jax.Array:
        return jnp.sum(weights * jnp.zeros(A.shape).at[row, col].add(data.reshape(-1))[rows])

    assert_close(got, jax.grad(expected)(A.data))


def test_nse_that_is_missing_or_too_small_is_an_error_or_nan() -> None:
    for kind in (CSR, CSC, COO, FixedNumPerPost):
        A = example(kind)
        with pytest.raises(StructureError, match=r"slice_rows: got traced structure.*pass nse="):
            jax.jit(lambda A, rows: A.slice_rows(rows))(A, np.array([0, 1]))
        with pytest.raises(StructureError, match="slice_rows: got nse=1 for"):
            A.slice_rows([0, 4, 5], nse=1)
        assert jnp.isnan(jax.jit(lambda A, rows: A.slice_rows(rows, nse=1).data)(A, np.arange(6))).all()


@formats
def test_rows_out_of_range_are_an_error_where_they_are_known(kind: Any) -> None:
    A = example(kind)
    with pytest.raises(IndexError, match="out of bounds"):
        A.slice_rows([6])
    with pytest.raises(IndexError, match=r"slice_rows: got rows of shape \(1, 1\); expected rank 1"):
        A.slice_rows([[1]])
    B = jax.jit(lambda A, rows: A.slice_rows(rows, nse=18))(A, np.array([7, 2, -8]))
    assert_close(dense(B), np.stack([np.zeros(5), dense(A)[2], np.zeros(5)]))
