"""``x @ A`` and ``A @ x`` in every format: the dense products."""

from typing import Any

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikax_kernels import BinaryArray, Dense, DTypeError, ShapeError
from tests.kernels._oracle import Array, assert_close, effective, spikes, through
from tests.kernels.formats._formats import FORMATS, dense, example, formats, grouped, matrices, weighted

kinds_of_events = pytest.mark.parametrize("events", ["bool", "binary", "float32"])


def as_events(x: Any, events: str) -> Any:
    if events == "binary":
        return BinaryArray(jnp.asarray(x, jnp.float32))
    return jnp.asarray(x).astype(events)


def assert_products(A: Any, rows: Array, cols: Array, events: str) -> None:
    binary = events != "float32"
    assert_close(as_events(rows, events) @ A, effective(rows, binary) @ dense(A))
    assert_close(A @ as_events(cols, events), dense(A) @ effective(cols, binary))


@formats
@weighted
@kinds_of_events
def test_products_of_vectors_and_of_batches(kind: Any, homogeneous: bool, events: str) -> None:
    A = example(kind, homogeneous=homogeneous)
    assert_products(A, spikes(6), spikes(5), events)
    assert_products(A, spikes(6, lanes=(3,)), spikes(4, lanes=(5,)), events)
    assert_products(A, spikes(6, lanes=(0,)), spikes(0, lanes=(5,)), events)


@hypothesis.settings(max_examples=150, derandomize=True)
@hypothesis.given(
    A=matrices(), events=st.sampled_from(["bool", "binary", "float32"]), dual=st.booleans(), draw=st.data()
)
def test_products_are_those_of_the_dense_matrix(A: Any, events: str, dual: bool, draw: st.DataObject) -> None:
    if dual and hasattr(A, "with_dual"):
        A = A.with_dual()
    rows, cols = (
        np.array(draw.draw(st.lists(st.integers(-3, 3), min_size=size, max_size=size)), np.float32) for size in A.shape
    )
    assert_products(A, rows, cols, events)


@formats
@pytest.mark.parametrize("weights", ["float16", "float64", "int32"])
def test_every_dtype_of_weights(kind: Any, weights: str) -> None:
    with jax.enable_x64(weights == "float64"):
        A = example(kind)
        A = A.with_data(np.round(3 * np.asarray(A.data)).astype(weights))
        assert A.dtype == weights
        for x in (spikes(6) != 0, np.round(3 * spikes(6))):
            got = x @ A
            assert_close(got, x @ dense(A))
            assert got.dtype == (weights if x.dtype == bool else ("float64" if weights == "float64" else "float32"))


@formats
def test_numpy_on_either_side(kind: Any) -> None:
    A = example(kind)
    for x in (spikes(6), spikes(6) != 0, spikes(6).astype(np.float16)):
        assert isinstance(x @ A, jax.Array)
        assert_close(x @ A, x @ dense(A), 1e-3)


@formats
def test_it_is_no_array_by_itself(kind: Any) -> None:
    for convert in (np.asarray, jnp.asarray):
        with pytest.raises(TypeError, match=f"{kind.__name__} does not turn into an array by itself; use todense"):
            convert(example(kind))


@formats
def test_64_bit_structure(kind: Any) -> None:
    with jax.enable_x64(True):
        A = jax.tree.map(lambda x: x.astype(jnp.int64) if x.dtype == jnp.int32 else x, example(kind))
        assert all(leaf.dtype == jnp.int64 for leaf in jax.tree.leaves(A)[1:])
        D, x, y = dense(A), spikes(6), spikes(5)
        assert_close((x @ A, A @ y, A.todense(), A[1]), (x @ D, D @ y, D, D[1]))
        matrices = A + A, A * A, abs(A), A.tocsr(), A.tocsc(), A.tocoo(), A.sum_duplicates(), A.slice_rows([4, 0])
        expected = 2 * D, D * D, abs(D), D, D, D, D, D[[4, 0]]
        assert_close([dense(B) for B in matrices], list(expected))
        if hasattr(A, "with_dual"):
            assert_close(A.with_dual() @ y, D @ y)
        if kind is not Dense:
            mesh = jax.make_mesh((4,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))
            assert_close(x @ A.shard(mesh, "i"), x @ D)
        assert (x.astype(np.float64) @ A).dtype == np.float64


@formats
@pytest.mark.parametrize("half", ["float16", "bfloat16"])
def test_half_precision_in_every_operation(kind: Any, half: str) -> None:
    A = example(kind).astype(half)
    D, x = dense(A), spikes(6) != 0
    arrays = x @ A, A.todense(), A.sum(1), A[1], A.diagonal()
    assert all(array.dtype == half for array in arrays)
    for got, expected in zip(arrays, (x @ D, D, D.sum(1), D[1], D.diagonal()), strict=True):
        assert_close(got, expected, 1e-2)
    for B, expected in ((A + A, 2 * D), (A * A, D * D), (abs(A), abs(D)), (A.tocsc(), D), (A.slice_rows([2]), D[[2]])):
        assert B.dtype == half
        assert_close(dense(B), expected, 2e-2)
    gradient = jax.grad(lambda data: jnp.sum(spikes(6) @ A.with_data(data)))(A.data)
    assert gradient.dtype == half


@formats
def test_what_is_not_read_may_hold_anything(kind: Any) -> None:
    A = example(kind)
    row, col = (np.asarray(at).reshape(A.data.shape) for at in A.coordinates())
    for bad in (np.inf, np.nan):
        one_row = A.with_data(np.where(row != 1, bad, A.data).astype(np.float32))
        one_column = A.with_data(np.where(col != 1, bad, A.data).astype(np.float32))
        assert_close((np.arange(6) == 1) @ one_row, dense(A)[1])
        assert_close(one_row[1], dense(A)[1])
        assert_close(one_column @ (np.arange(5) == 1), dense(A)[:, 1])
        assert_close(one_column[:, 1], dense(A)[:, 1])


@formats
def test_an_inactive_event_contributes_nothing_whatever_its_weights(kind: Any) -> None:
    A = kind.from_dense(np.array([[np.inf, np.nan], [1, 2]], np.float32))
    for x in (np.array([False, True]), np.array([0, 1.0], np.float32)):
        np.testing.assert_array_equal(x @ A, [1, 2])
        np.testing.assert_array_equal(A.T @ x, [1, 2])


@formats
@pytest.mark.parametrize(
    ("product", "error", "message"),
    [
        (lambda A: np.ones(5) @ A, ShapeError, r"got \(5,\) @ \(6, 5\); expected equal inner lengths, not 5 and 6"),
        (lambda A: A @ np.ones(6), ShapeError, r"got \(6, 5\) @ \(6,\)"),
        (lambda A: np.ones((2, 2, 6)) @ A, ShapeError, r"rank 1 or 2 \(for more, use jax.vmap\)"),
        (lambda A: np.ones(6, complex) @ A, DTypeError, "events: got complex64; expected bool or a real dtype"),
        (lambda A: [1.0] * 6 @ A, TypeError, "unsupported operand type.*list"),
        (lambda A: A @ A, TypeError, "unsupported operand type"),
    ],
    ids=range(6),
)
def test_what_does_not_fit_is_named(kind: Any, product: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        product(example(kind))


@formats
@weighted
@pytest.mark.parametrize("events", ["binary", "float32"])
@pytest.mark.parametrize("left", [True, False], ids=["x @ A", "A @ x"])
def test_gradients_are_those_of_the_dense_product(kind: Any, homogeneous: bool, events: str, left: bool) -> None:
    A, x = example(kind, homogeneous=homogeneous), spikes(6 if left else 5)
    row, col = A.coordinates()

    def ours(data: jax.Array, x: jax.Array) -> jax.Array:
        B, e = A.with_data(data), as_events(x, events)
        return jnp.sum(jnp.sin(e @ B if left else B @ e) ** 2)

    def expected(data: jax.Array, x: jax.Array) -> jax.Array:
        e = through(x, events == "binary")
        matrix = jnp.zeros(A.shape).at[row, col].add(data.reshape(-1))
        return jnp.sum(jnp.sin(e @ matrix if left else matrix @ e) ** 2)

    assert_close(jax.grad(ours, (0, 1))(A.data, x), jax.grad(expected, (0, 1))(A.data, x))
    assert_close(jax.jacfwd(jax.grad(ours))(A.data, x), jax.jacfwd(jax.grad(expected))(A.data, x), 1e-4)


@formats
@kinds_of_events
def test_sddmm_samples_the_outer_product(kind: Any, events: str) -> None:
    A, y, x = example(kind), spikes(6), spikes(5)
    row, col = (np.asarray(at).reshape(A.data.shape) for at in A.coordinates())
    binary = events != "float32"
    expected = effective(y, binary)[row] * effective(x, binary)[col]
    assert_close(A.sddmm(as_events(y, events), as_events(x, events)), expected)
    assert_close(A.sddmm(y, as_events(x, events)), y[row] * effective(x, binary)[col])


@formats
def test_sddmm_is_the_gradient_of_the_weights(kind: Any) -> None:
    A, x, ct = example(kind), spikes(6), spikes(5)
    assert_close(A.sddmm(x, ct), jax.grad(lambda data: (x @ A.with_data(data)) @ ct)(A.data))


@formats
def test_sddmm_names_what_does_not_fit(kind: Any) -> None:
    A = example(kind)
    with pytest.raises(ShapeError, match=r"sddmm: got \(5,\) and \(6,\) for \(6, 5\); expected a vector for each axis"):
        A.sddmm(spikes(5), spikes(6))
    with pytest.raises(DTypeError, match="sddmm: got list and ndarray"):
        A.sddmm([1.0], spikes(5))


# --- the dual


@grouped
@weighted
@kinds_of_events
def test_with_a_dual_both_products_are_event_driven(kind: Any, homogeneous: bool, events: str) -> None:
    A = example(kind, homogeneous=homogeneous).with_dual()
    assert_products(A, spikes(6), spikes(5), events)
    assert_products(A.T, spikes(5), spikes(6), events)
    assert_products(A, spikes(6, lanes=(3,)), spikes(4, lanes=(5,)), events)
    for product, size in ((lambda x: x @ A, 6), (lambda x: A @ x, 5)):
        text = str(jax.make_jaxpr(product)(as_events(spikes(size), events)))
        assert "spikax_scatter" in text
        assert "spikax_gather" not in text


@grouped
def test_the_dual_copies_no_weight_that_is_shared(kind: Any) -> None:
    assert example(kind, homogeneous=True).with_dual().dual.data is None
    assert example(kind).with_dual().with_data(2.0).dual.data is None
    assert example(kind, homogeneous=True).with_dual().with_data(example(kind).data).dual.data is not None


@grouped
@weighted
@pytest.mark.parametrize("events", ["binary", "float32"])
def test_gradients_through_the_dual_are_those_without(kind: Any, homogeneous: bool, events: str) -> None:
    A = example(kind, homogeneous=homogeneous)

    def loss(B: Any, data: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
        B = B.with_data(data)
        return jnp.sum(jnp.sin(B @ as_events(x, events)) ** 2) + jnp.sum((as_events(y, events) @ B) ** 2)

    arguments = A.data, spikes(5), spikes(6)
    with_dual, without = (jax.jit(jax.grad(loss, (1, 2, 3))) for _ in range(2))
    assert_close(with_dual(A.with_dual(), *arguments), without(A, *arguments))
    hessians = (jax.hessian(loss, 1)(B, *arguments) for B in (A.with_dual(), A))
    assert_close(*hessians, 1e-4)  # type: ignore[call-arg]


@grouped
def test_the_gradient_of_a_whole_matrix_with_a_dual_is_in_its_weights(kind: Any) -> None:
    A, x = example(kind), spikes(5)
    got = jax.grad(lambda B: jnp.sum((B @ x) ** 2), allow_int=True)(A.with_dual())
    assert_close(got.data, jax.grad(lambda data: jnp.sum((A.with_data(data) @ x) ** 2))(A.data))
    np.testing.assert_array_equal(got.dual.data, 0)


@grouped
def test_a_dual_is_built_inside_jit_and_vmapped_over(kind: Any) -> None:
    A, B = example(kind), example(kind, 1)
    got = jax.jit(lambda A: A.with_dual() @ spikes(5))(A)
    assert_close(got, dense(A) @ spikes(5))
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), A.with_dual(), B.with_dual())
    expected = np.stack([dense(A) @ spikes(5), dense(B) @ spikes(5)])
    assert_close(jax.vmap(lambda A: A @ spikes(5))(stacked), expected)


@grouped
def test_gradients_through_the_dual_are_summed_over_devices(kind: Any) -> None:
    A, xs = example(kind), spikes(5, lanes=(4,))

    def loss(data: jax.Array) -> Any:
        def part(data: jax.Array, x: jax.Array) -> Any:
            return jax.lax.psum(jnp.sum(jnp.sin(A.with_dual().with_data(data) @ x[0])), "i")

        mesh = jax.make_mesh((4,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))
        return jax.shard_map(part, mesh=mesh, in_specs=(jax.P(), jax.P("i")), out_specs=jax.P())(data, xs)

    def expected(data: jax.Array) -> jax.Array:
        matrix = jnp.zeros(A.shape).at[A.coordinates()].add(data.reshape(-1))
        return jnp.sum(jnp.sin(xs @ matrix.T))

    assert_close(jax.jit(jax.value_and_grad(loss))(A.data), jax.value_and_grad(expected)(A.data))


def test_a_matrix_of_integers_with_a_dual_has_no_derivative_but_a_product() -> None:
    for kind in FORMATS:
        if hasattr(kind, "with_dual"):
            A = example(kind)
            A = A.with_data(jnp.round(3 * A.data).astype(jnp.int32)).with_dual()
            x = (spikes(5) != 0).astype(np.int32)
            assert_close(A @ x, dense(A) @ x)
            assert jax.grad(lambda w, A=A, x=x: w * jnp.sum(A @ x).astype(float))(1.0) == np.sum(dense(A) @ x)
