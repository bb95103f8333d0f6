"""The matrix as a value: what it is built from, what it refuses, and all that JAX does to pytrees."""

import copy
import pickle
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

from spikax_kernels import CSR, DTypeError, ShapeError, StructureError
from tests.kernels._oracle import assert_close, matrix, small, spikes

DENSE = np.array([[0, 1.5, 0, 2], [0, 0, 0, 0], [-1, 0, 0.25, 0]], np.float32)


def example(seed: int = 0, **kind: Any) -> CSR:
    data, indices, indptr = small(seed, **kind)
    return CSR(data, indices, indptr, shape=(6, 5))


def dense(A: CSR) -> Any:
    return matrix(A.data, A.indices, A.indptr, A.shape[1]).toarray()


def test_from_dense_stores_the_nonzero_entries_row_by_row() -> None:
    A, expected = CSR.from_dense(DENSE), scipy.sparse.csr_array(DENSE)
    for name in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(A, name), getattr(expected, name))
    assert (A.shape, A.nse, A.dtype, A.ndim) == (DENSE.shape, 4, jnp.float32, 2)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0), (1, 1)])
def test_from_dense_takes_any_shape(shape: tuple[int, int]) -> None:
    A = CSR.from_dense(np.ones(shape, np.float32))
    assert A.shape == shape
    np.testing.assert_array_equal(A.todense(), np.ones(shape))


def test_from_dense_keeps_nan() -> None:
    np.testing.assert_array_equal(CSR.from_dense(np.array([[0, np.nan]], np.float32)).todense(), [[0, np.nan]])


def test_from_dense_uses_32_bit_indices_even_where_64_bits_are_enabled() -> None:
    with jax.enable_x64(True):
        A = CSR.from_dense(DENSE.astype(np.float64))
    assert (A.indices.dtype, A.indptr.dtype, A.dtype) == (jnp.int32, jnp.int32, jnp.float64)


def test_from_dense_says_why_it_cannot_run_inside_jit() -> None:
    with pytest.raises(StructureError, match="outside jit"):
        jax.jit(lambda dense: CSR.from_dense(dense).data)(DENSE)
    with pytest.raises(ShapeError, match=r"\(3,\); expected rank 2"):
        CSR.from_dense(np.ones(3))


@pytest.mark.parametrize("homogeneous", [False, True])
def test_todense_adds_what_is_stored_twice(homogeneous: bool) -> None:
    A = example(homogeneous=homogeneous)
    assert_close(A.todense(), dense(A))


def test_todense_drops_what_is_out_of_range() -> None:
    A = CSR(np.ones(4, np.float32), np.array([0, -1, 2, 1]), np.array([1, 2, 9]), shape=(2, 2), check=False)
    np.testing.assert_array_equal(A.todense(), dense(A))
    np.testing.assert_array_equal(jax.jit(CSR.todense)(A), [[0, 0], [0, 1]])


def test_todense_takes_structure_of_two_widths() -> None:
    with jax.enable_x64(True):
        A = CSR(np.ones(2), np.array([1, 0], np.int32), np.array([0, 1, 2], np.int64), shape=(2, 2))
        np.testing.assert_array_equal(A.todense(), [[0, 1], [1, 0]])


def test_todense_is_differentiable() -> None:
    A = example()
    weights = jnp.asarray(np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32))
    got = jax.grad(lambda data: jnp.sum(weights * A.with_data(data).todense()))(A.data)
    row = np.repeat(np.arange(6), np.diff(A.indptr))
    assert_close(got, weights[row, A.indices])


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"shape": (3,)}, ShapeError, r"shape: got \(3,\); expected two lengths"),
        ({"shape": (3, -1)}, ShapeError, r"shape: got \(3, -1\)"),
        ({"shape": (2, 4)}, ShapeError, "indptr: got 4 row pointers for 2 rows; expected 3"),
        ({"data": np.ones(2)}, ShapeError, r"data: got shape \(2,\); expected \(\), \(1,\) or \(3,\)"),
        ({"data": np.ones(3, complex)}, DTypeError, "data: got complex64; expected real weights"),
        ({"data": np.ones(3, bool)}, DTypeError, "data: got bool"),
        ({"indices": np.zeros((3, 1), np.int32)}, ShapeError, r"indices: got shape \(3, 1\); expected rank 1"),
        ({"indices": [0, 1, 2]}, DTypeError, "indices: got list; expected an int32 or int64 array"),
        ({"indptr": np.zeros(4, np.float32)}, DTypeError, "indptr: got float32"),
        ({"indptr": np.zeros(4, np.uint8)}, DTypeError, "indptr: got uint8"),
        ({"indices": np.array([0, 4, 1])}, StructureError, "indices: row 2 points at column 4; expected 0 to 3"),
        ({"indices": np.array([0, 1, -1])}, StructureError, "indices: row 2 points at column -1"),
        ({"indptr": np.array([0, 2, 1, 3])}, StructureError, "indptr: row 1 begins at 2 and ends at 1"),
        ({"indptr": np.array([-1, 0, 1, 3])}, StructureError, "indptr: row 0 begins at -1; expected 0"),
        ({"indptr": np.array([0, 1, 4, 4])}, StructureError, "indptr: row 1 ends at 4; expected 3 at most"),
    ],
)
def test_what_does_not_fit_is_named(changed: dict[str, Any], error: type[Exception], message: str) -> None:
    arguments: dict[str, Any] = {
        "data": np.ones(3),
        "indices": np.array([0, 1, 1]),
        "indptr": np.array([0, 1, 1, 3]),
        "shape": (3, 4),
    }
    CSR(**arguments)
    with pytest.raises(error, match=message):
        CSR(**(arguments | changed))


def test_entries_that_no_row_points_at_are_not_checked() -> None:
    A = CSR(np.ones(3, np.float32), np.array([0, 1, 99]), np.array([0, 1, 2]), shape=(2, 2))
    np.testing.assert_array_equal(A.todense(), np.eye(2))


def test_values_are_checked_only_where_they_are_known() -> None:
    def build(indices: jax.Array) -> jax.Array:
        return CSR(jnp.ones(1), indices, jnp.array([0, 1]), shape=(1, 2)).todense()

    np.testing.assert_array_equal(jax.jit(build)(jnp.array([7])), [[0, 0]])
    with pytest.raises(StructureError):
        build(jnp.array([7]))


def test_indices_beyond_32_bits_say_what_to_set() -> None:
    arguments = (np.ones(1, np.float32), np.array([2**40]), np.array([0, 1]))
    with pytest.raises(StructureError, match="jax_enable_x64"):
        CSR(*arguments, shape=(1, 2**41))
    with jax.enable_x64(True):
        assert CSR(*arguments, shape=(1, 2**41)).indices[0] == 2**40


def test_more_entries_than_32_bits_count_say_what_to_set() -> None:
    many = 2**31 + 1
    indices = np.broadcast_to(np.int32(0), many)  # which takes no memory
    with pytest.raises(StructureError, match=r"indptr: got values beyond 32 bits; set.*'jax_enable_x64', True"):
        CSR(1.0, indices, np.array([0, many]), shape=(1, 1), check=False)


def test_64_bit_indices_of_numpy_need_no_setting_where_they_fit() -> None:
    A = CSR(np.ones(1, np.float32), np.array([3], np.int64), np.array([0, 1], np.int64), shape=(1, 4))
    assert (A.indices.dtype, A.indptr.dtype) == (jnp.int32, jnp.int32)


def test_it_is_frozen() -> None:
    A = example()
    with pytest.raises(AttributeError, match=r"'data' cannot be set.*with_data"):
        A.data = jnp.ones(3)
    with pytest.raises(AttributeError, match="frozen"):
        del A.indices
    with pytest.raises(AttributeError, match="frozen"):
        A.extra = 1


def test_a_number_for_all_weights_has_a_dtype_of_its_own() -> None:
    A = CSR(0.5, np.array([0]), np.array([0, 1]), shape=(1, 1))
    assert (np.ones(1, np.float16) @ A).dtype == jnp.float32
    assert not A.data.weak_type
    assert not A.with_data(2.0).data.weak_type


def test_with_data_shares_the_structure() -> None:
    A = example()
    B = A.with_data(2 * A.data)
    assert B.indices is A.indices
    assert B.indptr is A.indptr
    assert_close(B.todense(), 2 * dense(A))
    assert_close(A.with_data(3.0).todense(), dense(A.with_data(np.full(A.nse, 3.0, np.float32))))
    with pytest.raises(ShapeError, match="one weight per entry"):
        A.with_data(jnp.ones(2))


def test_repr_says_what_it_is() -> None:
    A = CSR.from_dense(DENSE)
    assert repr(A) == "CSR(shape=(3, 4), nse=4, dtype=float32, heterogeneous)"
    assert repr(A.with_data(1.0)) == "CSR(shape=(3, 4), nse=4, dtype=float32, homogeneous)"
    assert repr(stack(A, A)) == "CSR(stack of (2,), shape=(3, 4), nse=4, dtype=float32, heterogeneous)"
    assert repr(jax.tree.map(jnp.shape, A)) == "CSR((4,), (4,), (4,), shape=(3, 4))"


# --- as a pytree


def stack(*matrices: CSR) -> CSR:
    stacked: CSR = jax.tree.map(lambda *leaves: jnp.stack(leaves), *matrices)
    return stacked


def test_every_array_is_a_leaf_and_the_shape_is_static() -> None:
    A = example()
    leaves, tree = jax.tree.flatten_with_path(A)
    assert {jax.tree_util.keystr(path): leaf for path, leaf in leaves}.keys() == {".data", ".indices", ".indptr"}
    assert [id(leaf) for _, leaf in leaves] == [id(A.data), id(A.indices), id(A.indptr)]
    others: list[Any] = [jax.tree.structure(B) for B in (example(1), CSR(*jax.tree.leaves(A), shape=(6, 9)))]
    assert [other == tree for other in others] == [True, False]


def test_unflattening_checks_nothing() -> None:
    tree = jax.tree.structure(example())
    for leaves in (["data", "indices", -1], [3, 2, 1], [object(), object(), object()]):
        A = jax.tree.unflatten(tree, leaves)
        assert [A.data, A.indices, A.indptr] == leaves


def test_tree_map() -> None:
    A = example()
    B = jax.tree.map(lambda leaf: leaf, A)
    assert isinstance(B, CSR)
    np.testing.assert_array_equal(B.todense(), A.todense())


def test_copies_and_pickles_are_equal() -> None:
    A = example()
    for B in (copy.copy(A), copy.deepcopy(A), pickle.loads(pickle.dumps(A))):
        assert B.shape == A.shape
        for mine, other in zip(jax.tree.leaves(B), jax.tree.leaves(A), strict=True):
            np.testing.assert_array_equal(mine, other)
            assert mine.dtype == other.dtype


def test_on_the_host_it_still_multiplies() -> None:
    A = example()
    B = jax.device_get(A)
    assert isinstance(B.data, np.ndarray)
    assert_close(spikes(6) @ B, spikes(6) @ dense(A))
    assert_close(B @ spikes(5), dense(A) @ spikes(5))


def test_argument_of_jit_without_retracing() -> None:
    traces = []

    @jax.jit
    def deliver(A: CSR, x: jax.Array) -> jax.Array:
        traces.append(A)
        return x @ A

    for seed in range(3):
        A, x = example(seed), spikes(6, seed)
        assert_close(deliver(A, x), x @ dense(A))
    assert len(traces) == 1


def test_closure_of_two_jits() -> None:
    A, x = example(), spikes(6)
    first, second = jax.jit(lambda x: x @ A), jax.jit(lambda x: 2 * (x @ A))
    for _ in range(2):
        assert_close(first(x), x @ dense(A))
        assert_close(second(x), 2 * (x @ dense(A)))
    assert_close(A @ spikes(5), dense(A) @ spikes(5))  # no tracer stayed behind


def test_carry_of_a_scan() -> None:
    def step(A: CSR, x: jax.Array) -> tuple[CSR, jax.Array]:
        return A.with_data(0.5 * A.data), x @ A

    A, xs = example(), spikes(6, lanes=(4,))
    last, ys = jax.lax.scan(step, A, xs)
    assert_close(ys, np.stack([x @ dense(A) / 2**i for i, x in enumerate(xs)]))
    assert_close(last.todense(), dense(A) / 16)


def test_result_of_jit_and_of_cond() -> None:
    A = example()
    doubled = jax.jit(lambda A: jax.lax.cond(True, lambda: A.with_data(2 * A.data), lambda: A))(A)
    assert_close(doubled.todense(), 2 * dense(A))


def test_donated() -> None:
    A, expected = example(), dense(example())
    doubled = jax.jit(lambda A: A.with_data(2 * A.data), donate_argnums=0)(A)
    assert_close(doubled.todense(), 2 * expected)
    assert A.data.is_deleted()


def test_built_inside_jit() -> None:
    data, indices, indptr = small()
    got = jax.jit(lambda *arrays: spikes(6) @ CSR(*arrays, shape=(6, 5)))(data, indices, indptr)
    assert_close(got, spikes(6) @ matrix(data, indices, indptr, 5))


def test_a_stack_is_vmapped_over() -> None:
    matrices, xs = [example(seed) for seed in range(3)], spikes(6, lanes=(3,))
    A = stack(*matrices)
    assert_close(
        jax.vmap(lambda A, x: x @ A)(A, xs), np.stack([x @ dense(B) for x, B in zip(xs, matrices, strict=True)])
    )
    assert_close(jax.vmap(lambda A: A @ spikes(5))(A), np.stack([dense(B) @ spikes(5) for B in matrices]))
    assert_close(jax.vmap(CSR.todense)(A), np.stack([dense(B) for B in matrices]))


def test_weights_alone_are_vmapped_over() -> None:
    A, weights = example(), np.random.default_rng(0).normal(size=(3, 17)).astype(np.float32)
    got = jax.vmap(lambda data: spikes(6) @ A.with_data(data))(weights)
    assert_close(got, np.stack([spikes(6) @ dense(A.with_data(data)) for data in weights]))
    got = jax.vmap(lambda weight: spikes(6) @ A.with_data(weight))(weights[:, 0])
    assert_close(got, np.stack([spikes(6) @ dense(A.with_data(weight)) for weight in weights[:, 0]]))


def test_a_stack_without_vmap_is_an_error() -> None:
    A = stack(example(), example())
    for product in (lambda: spikes(6) @ A, lambda: A @ spikes(5), A.todense):
        with pytest.raises(ShapeError, match=r"stack of \(2,\).*use jax.vmap"):
            product()


def test_the_gradient_of_a_whole_matrix_is_a_matrix() -> None:
    A, x = example(), spikes(6)
    gradient = jax.grad(lambda A: jnp.sum((x @ A) ** 2), allow_int=True)(A)
    assert isinstance(gradient, CSR)
    assert gradient.indices.dtype == gradient.indptr.dtype == jax.dtypes.float0
    assert_close(gradient.data, jax.grad(lambda data: jnp.sum((x @ A.with_data(data)) ** 2))(A.data))
    assert "CSR(shape=(6, 5)" in repr(gradient)
