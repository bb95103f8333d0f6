"""From one form to another and back: what SciPy and NumPy make of it."""

import builtins
from typing import Any

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from jax.experimental import sparse as jax_sparse

from spikax_kernels import (
    COO,
    CSC,
    CSR,
    Dense,
    FixedNumPerPost,
    FixedNumPerPre,
    MissingExtraError,
    ShapeError,
    StructureError,
)
from tests.kernels._oracle import assert_close
from tests.kernels.formats._formats import (
    FORMATS,
    GROUPED,
    SPARSE,
    dense,
    entries,
    example,
    formats,
    matrices,
    sparse,
    weighted,
)

DENSE = np.array([[0, 1.5, 0, 2], [0, 0, 0, 0], [-1, 0, 0.25, 0]], np.float32)
FORMS = ("tocsr", "tocsc", "tocoo")
exact = hypothesis.settings(max_examples=60, derandomize=True)


@exact
@hypothesis.given(matrices(), st.sampled_from(FORMS))
def test_the_other_forms_are_the_same_matrix(A: Any, form: str) -> None:
    B = getattr(A, form)()
    assert type(B).__name__ == form[2:].upper()
    assert (B.shape, B.nse, B.dtype, B.data.ndim) == (A.shape, A.nse, A.dtype, min(A.data.ndim, 1))
    np.testing.assert_array_equal(dense(B), dense(A))
    np.testing.assert_array_equal(A.todense(), dense(A))


@exact
@hypothesis.given(matrices())
def test_coordinates_and_nnz_are_those_of_the_entries(A: Any) -> None:
    data, row, col = entries(A)
    np.testing.assert_array_equal(np.stack(A.coordinates()), np.stack([row, col]))
    assert int(A.nnz) == A.nse == data.size


@exact
@hypothesis.given(matrices())
def test_sorting_is_that_of_scipy(A: Any) -> None:
    B = A.sort_indices()
    np.testing.assert_array_equal(dense(B), dense(A))
    assert bool(B.has_sorted_indices)
    if isinstance(A, (CSR, CSC)):
        form = scipy.sparse.csr_array if isinstance(A, CSR) else scipy.sparse.csc_array
        data = np.broadcast_to(np.asarray(A.data).reshape(-1), A.nse).copy()
        theirs = form((data, np.array(A.indices), np.array(A.indptr)), shape=A.shape)
        assert bool(A.has_sorted_indices) == bool(theirs.has_sorted_indices)
        theirs.sort_indices()
        np.testing.assert_array_equal(B.indices, theirs.indices)


@exact
@hypothesis.given(matrices())
def test_merging_duplicates_is_that_of_scipy(A: Any) -> None:
    data, row, col = entries(A)
    theirs = scipy.sparse.coo_array((data, (row, col)), shape=A.shape)
    theirs.sum_duplicates()
    B = A.sum_duplicates()
    assert B.nse == theirs.nnz
    np.testing.assert_array_equal(dense(B), theirs.toarray())
    assert B.sum_duplicates().nse == B.nse


@formats
@weighted
def test_every_form_under_jit(kind: Any, homogeneous: bool) -> None:
    A = example(kind, homogeneous=homogeneous)
    results: list[Any] = jax.jit(
        lambda A: [A.tocsr(), A.tocsc(), A.tocoo(), A.T, A.sum_duplicates(nse=A.nse), A.astype(jnp.float16)]
    )(A)
    for B in results[:3] + results[4:5]:
        assert_close(dense(B), dense(A))
    assert_close(dense(results[3]), dense(A).T)
    assert_close(dense(results[5]), dense(A), 1e-3)


@formats
def test_conversions_are_differentiable(kind: Any) -> None:
    A = example(kind)
    weights = np.random.default_rng(0).normal(size=A.shape).astype(np.float32)
    row, col = map(np.asarray, A.coordinates())
    expected = weights[row, col].reshape(A.data.shape)
    for convert in (
        lambda A: A,
        lambda A: A.tocsr(),
        lambda A: A.tocsc(),
        lambda A: A.tocoo(),
        lambda A: A.sum_duplicates(),
        lambda A: A.T.T,
    ):
        gradient = jax.grad(lambda data, convert=convert: jnp.sum(weights * convert(A.with_data(data)).todense()))
        assert_close(gradient(A.data), expected)
        assert_close(jax.jit(gradient)(A.data), expected)


@sparse
def test_transposing_copies_nothing(kind: Any) -> None:
    A = example(kind)
    assert {id(leaf) for leaf in jax.tree.leaves(A.T)} == {id(leaf) for leaf in jax.tree.leaves(A)}
    assert type(A.T.T) is kind
    assert A.T.shape == (5, 6)


def test_transposes_are_grouped_the_other_way() -> None:
    kinds = [type(example(kind).T) for kind in FORMATS]
    assert kinds == [CSC, CSR, COO, FixedNumPerPost, FixedNumPerPre, Dense]


# --- dense


@formats
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0), (1, 1), (3, 4)])
def test_from_dense_stores_what_is_not_zero(kind: Any, shape: tuple[int, int]) -> None:
    array = DENSE[: shape[0], : shape[1]]
    A = kind.from_dense(array)
    assert A.shape == shape
    np.testing.assert_array_equal(dense(A), array)
    np.testing.assert_array_equal(A.todense(), array)
    if kind in (CSR, CSC, COO):
        assert A.nse == np.count_nonzero(array)


@formats
def test_from_dense_under_jit_pads_to_nse(kind: Any) -> None:
    A = jax.jit(lambda array: kind.from_dense(array, nse=12))(DENSE)
    assert A.nse == 12
    np.testing.assert_array_equal(dense(A), DENSE)
    gradient = jax.grad(lambda array: jnp.sum(kind.from_dense(array, nse=12).todense() ** 2))(jnp.asarray(DENSE))
    np.testing.assert_array_equal(gradient, 2 * DENSE)
    assert kind.from_dense(DENSE, nse=12).nse == 12


@sparse
def test_nse_that_is_missing_or_too_small_is_an_error_or_nan(kind: Any) -> None:
    with pytest.raises(StructureError, match=r"from_dense.*pass nse="):
        jax.jit(kind.from_dense)(DENSE)
    with pytest.raises(StructureError, match=r"got nse=[01] for"):
        kind.from_dense(np.ones((3, 4)), nse=1 if kind in (CSR, CSC, COO) else 0)
    lost = 8 if kind is FixedNumPerPost else 9
    assert jnp.isnan(jax.jit(lambda array: kind.from_dense(array, nse=lost).data)(np.ones((3, 4)))).all()
    counted = jax.jit(lambda array: kind.from_dense(array, nse=lost).data)(np.ones((3, 4), np.int32))
    assert (counted == np.iinfo(np.int32).min).all()


def test_nse_of_lists_of_one_length_is_a_multiple() -> None:
    with pytest.raises(ShapeError, match="got nse=7 for 3 lists of one length; expected a multiple"):
        FixedNumPerPre.from_dense(DENSE, nse=7)


@formats
def test_from_dense_says_what_it_takes(kind: Any) -> None:
    with pytest.raises(ShapeError, match=r"got shape \(3,\); expected rank 2"):
        kind.from_dense(np.ones(3))
    with pytest.raises(TypeError, match="got bool; expected real weights"):
        kind.from_dense(DENSE != 0)


# --- SciPy, and JAX's own sparse matrices


@exact
@hypothesis.given(matrices())
def test_to_scipy_and_back(A: Any) -> None:
    theirs = A.to_scipy()
    np.testing.assert_array_equal(theirs.toarray(), dense(A))
    for kind in FORMATS:
        np.testing.assert_array_equal(dense(kind.from_scipy(theirs)), dense(A))


@formats
def test_to_scipy_is_the_format_most_like_it(kind: Any) -> None:
    name = {CSR: "csr", FixedNumPerPre: "csr", CSC: "csc", FixedNumPerPost: "csc"}.get(kind, "coo")
    A = example(kind)
    assert A.to_scipy().format == name
    assert A.astype(jnp.float16).to_scipy().dtype == np.float32


def test_from_scipy_keeps_the_order_of_entries() -> None:
    theirs = scipy.sparse.csr_array(([1.0, 2.0, 3.0], [2, 0, 2], [0, 3]), shape=(1, 3))
    A = CSR.from_scipy(theirs)
    np.testing.assert_array_equal(A.indices, [2, 0, 2])
    np.testing.assert_array_equal(CSC.from_scipy(theirs.T).indices, [2, 0, 2])


@pytest.mark.parametrize("of", [scipy.sparse.lil_array, scipy.sparse.coo_matrix, scipy.sparse.dia_array])
@formats
def test_from_scipy_takes_every_format_of_it(kind: Any, of: Any) -> None:
    np.testing.assert_array_equal(dense(kind.from_scipy(of(DENSE))), DENSE)


def test_scipy_is_asked_for_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("scipy"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match="pip install scipy"):
        example(CSR).to_scipy()


@exact
@hypothesis.given(matrices())
def test_to_jax_and_back(A: Any) -> None:
    np.testing.assert_array_equal(A.to_bcoo().todense(), dense(A))
    np.testing.assert_array_equal(A.to_bcsr().todense(), dense(A))
    for kind in FORMATS:
        np.testing.assert_array_equal(dense(kind.from_bcoo(A.to_bcoo())), dense(A))
        np.testing.assert_array_equal(dense(kind.from_bcsr(A.to_bcsr())), dense(A))


@pytest.mark.parametrize("kind", [CSR, CSC, COO, Dense])
def test_to_jax_and_back_under_jit(kind: Any) -> None:
    A = example(kind)
    there = jax.jit(lambda A: (A.to_bcoo(), A.to_bcsr()))(A)
    back: Any = jax.jit(lambda bcoo, bcsr: (kind.from_bcoo(bcoo), kind.from_bcsr(bcsr)))(*there)
    for B in back:
        assert_close(dense(B), dense(A))


def test_padding_stays_padding() -> None:
    padded = jax_sparse.BCOO.fromdense(jnp.asarray(DENSE), nse=9)
    for kind in (CSR, CSC, COO):
        A = kind.from_bcoo(padded)
        assert (A.nse, int(A.nnz)) == (9, 4)
        np.testing.assert_array_equal(dense(A), DENSE)
        np.testing.assert_array_equal(A.to_bcoo().todense(), DENSE)
        np.testing.assert_array_equal(A.to_scipy().toarray(), DENSE)
        assert A.sum_duplicates().nse == 4


def test_a_batch_of_jax_is_refused() -> None:
    batch = jax_sparse.BCOO.fromdense(jnp.ones((2, 3, 4)), n_batch=1)
    with pytest.raises(ShapeError, match="from_bcoo: got 1 batch and 0 dense axes"):
        COO.from_bcoo(batch)
    rows = jax_sparse.BCSR.fromdense(jnp.ones((2, 3, 4)), n_batch=1)
    with pytest.raises(ShapeError, match="from_bcsr: got 1 batch"):
        CSR.from_bcsr(rows)


def test_structure_does_not_overflow_32_bits() -> None:
    shape = (2**20, 2**20)
    row, col = np.array([2**20 - 1, 0, 2**20 - 1], np.int32), np.array([2**20 - 1, 5, 2**20 - 1], np.int32)
    A = COO(np.array([1, 2, 4], np.float32), row, col, shape=shape)
    results: list[Any] = [A.sum_duplicates(), jax.jit(lambda A: A.sum_duplicates(nse=2))(A)]
    for B in results:
        np.testing.assert_array_equal(B.data, [2, 5])
        np.testing.assert_array_equal(B.row, [0, 2**20 - 1])
        np.testing.assert_array_equal(B.col, [5, 2**20 - 1])
    np.testing.assert_array_equal(A.multiply(A).data, [5, 4, 20])


@pytest.mark.parametrize("kind", GROUPED)
def test_sorting_keeps_the_dual(kind: Any) -> None:
    A = example(kind).with_dual()
    B = jax.jit(lambda A: A.sort_indices())(A)
    x = np.ones(5, np.float32)
    assert bool(B.has_sorted_indices)
    assert_close(B @ x, dense(A) @ x)
    assert_close(B.with_data(A.sort_indices().data) @ x, dense(A) @ x)
    assert not bool(A.has_sorted_indices)


def test_one_weight_for_all_stays_one() -> None:
    for kind in SPARSE:
        A = example(kind, homogeneous=True)
        for B in (A.T, A.tocsr(), A.tocsc(), A.tocoo(), A.sort_indices(), A.astype(jnp.float16)):
            assert B.data.shape == (1,)
