"""``take_rows``: dense copies of rows, which NumPy's indexing of the dense matrix must equal."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikax_core import use_backend
from spikax_kernels import DTypeError
from spikax_kernels.ops import rows
from tests.kernels._oracle import NATIVE, OPERATORS, Array, assert_close, matrix, row_pointers, small, todense

take_rows: Any = rows.take_rows  # which takes arrays of NumPy, too
ROWS = np.array([3, 0, 5, 3, 2], np.int32)
backends = pytest.mark.parametrize("backend", [*NATIVE, "reference"])
kinds = pytest.mark.parametrize("homogeneous", [False, True], ids=["per entry", "homogeneous"])


def example(*, equal: bool = False, homogeneous: bool = False, seed: int = 0) -> tuple[Array, Array, Array]:
    data, indices, indptr = small(seed, entries=18, homogeneous=homogeneous)
    return data, indices, indptr[:0] if equal else indptr


def full(data: Any, indices: Array, indptr: Array) -> jax.Array:
    return todense(jnp.broadcast_to(data, indices.shape), indices, row_pointers(indices, indptr, 6), 5)


@backends
@kinds
@pytest.mark.parametrize("equal", [False, True], ids=["any rows", "equal rows"])
def test_rows_are_those_of_the_dense_matrix(backend: str, homogeneous: bool, equal: bool) -> None:
    arrays = example(equal=equal, homogeneous=homogeneous)
    with use_backend(backend):
        got = take_rows(*arrays, ROWS, shape=(6, 5))
    assert_close(got, matrix(*arrays[:2], row_pointers(arrays[1], arrays[2], 6), 5).toarray()[ROWS])


@pytest.mark.parametrize("index", ["int32", "int64"])
def test_a_row_that_there_is_not_is_zero(index: str) -> None:
    most = np.iinfo(index)
    with jax.enable_x64(index == "int64"):
        got = take_rows(*example(), np.array([-1, 6, most.min, most.max], index), shape=(6, 5))
    np.testing.assert_array_equal(got, np.zeros((4, 5)))


def test_no_rows_are_an_empty_array() -> None:
    assert take_rows(*example(), np.zeros(0, np.int32), shape=(6, 5)).shape == (0, 5)


def test_rows_must_be_of_a_dtype_that_indices_have() -> None:
    with pytest.raises(DTypeError, match="rows: got int8; expected int32 or int64"):
        take_rows(*example(), np.zeros(1, np.int8), shape=(6, 5))


@kinds
def test_derivatives_are_those_of_the_dense_matrix(homogeneous: bool) -> None:
    data, indices, indptr = example(homogeneous=homogeneous)

    def ours(data: Any) -> jax.Array:
        return jnp.sum(jnp.sin(take_rows(data, indices, indptr, ROWS, shape=(6, 5))) ** 2)

    def dense(data: Any) -> jax.Array:
        return jnp.sum(jnp.sin(full(data, indices, indptr)[ROWS]) ** 2)

    assert_close(jax.grad(ours)(data), jax.grad(dense)(data))
    assert_close(jax.jit(jax.hessian(ours))(data), jax.jit(jax.hessian(dense))(data))


def test_vmap_over_rows_and_weights_is_one_call() -> None:
    data, indices, indptr = example()
    stack, which = np.stack([data, -data, 2 * data]), np.stack([ROWS, ROWS[::-1], ROWS + 1])

    def call(data: Any, which: Any) -> Any:
        return take_rows(data, indices, indptr, which, shape=(6, 5))

    text = jax.jit(jax.vmap(call)).lower(stack, which).as_text()
    assert text.count(f"custom_call @{OPERATORS[0].target}(") == 1
    dense = np.asarray(full(data, indices, indptr))
    padded = np.concatenate([dense, np.zeros((1, 5))])  # row 6 is none
    expected = np.stack([by * padded[at] for by, at in zip((1, -1, 2), which, strict=True)])
    assert_close(jax.vmap(call)(stack, which), expected)
