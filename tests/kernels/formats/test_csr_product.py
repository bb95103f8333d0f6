"""``x @ A`` and ``A @ x``: the dense products, for whatever can meet."""

from typing import Any

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikax_core import use_backend
from spikax_kernels import CSR, BinaryArray, DTypeError, ShapeError
from tests.kernels._oracle import Array, assert_close, effective, matrix, small, spikes, through, todense

WEIGHTS = ("float16", "bfloat16", "float32", "float64", "int32")
EVENTS = ("bool", "uint8", "int32", "float16", "float32", "float64", "binary")
BINARY = ("bool", "binary")

left, right = jax.jit(lambda x, A: x @ A), jax.jit(lambda A, x: A @ x)


def as_events(x: Any, events: str) -> Any:
    """``x`` as events of this kind; ``binary`` ones are a BinaryArray of float32."""
    if events == "binary":
        return BinaryArray(jnp.asarray(x, jnp.float32))
    return jnp.asarray(x).astype(events)


def dense(A: CSR) -> Any:
    return matrix(A.data, A.indices, A.indptr, A.shape[1]).toarray()


def example(**kind: Any) -> CSR:
    data, indices, indptr = small(**kind)
    return CSR(data, indices, indptr, shape=(6, 5))


def assert_products(A: CSR, rows: Array, cols: Array, events: str) -> None:
    """Both products with these values, exactly: sums of small integers are exact in every dtype."""
    binary = events in BINARY
    for got, expected in (
        (left(as_events(rows, events), A), effective(rows, binary) @ dense(A)),
        (right(A, as_events(cols, events)), dense(A) @ effective(cols, binary)),
    ):
        np.testing.assert_array_equal(np.asarray(got).astype(float), expected)


# Few shapes, since each is compiled.
shapes = st.sampled_from([(0, 3, 0), (3, 0, 0), (1, 1, 1), (4, 3, 0), (5, 4, 9), (3, 6, 20)])
integers = st.integers(-3, 3)


def some(size: int, of: st.SearchStrategy[int] = integers) -> st.SearchStrategy[list[int]]:
    return st.lists(of, min_size=size, max_size=size)


@st.composite
def matrices(draw: st.DrawFn) -> CSR:
    """Any rows: empty ones, unsorted ones, with entries stored twice; one weight for all or one each."""
    rows, cols, entries = draw(shapes)
    inner = sorted(draw(some(max(rows - 1, 0), st.integers(0, entries))))
    indptr = np.array([0, *inner, entries] if rows else [0], np.int32)
    indices = np.array(draw(some(entries, st.integers(0, max(cols - 1, 0)))), np.int32)
    shape = draw(st.sampled_from([(entries,), (), (1,)]))
    data = np.array(draw(some(int(np.prod(shape)))), np.float32).reshape(shape)
    return CSR(data, indices, indptr, shape=(rows, cols))


@hypothesis.settings(max_examples=200, derandomize=True)
@hypothesis.given(A=matrices(), events=st.sampled_from(["bool", "float32", "binary"]), draw=st.data())
def test_products_are_those_of_the_dense_matrix(A: CSR, events: str, draw: st.DataObject) -> None:
    rows, cols = (np.array(draw.draw(some(size)), np.float32) for size in A.shape)
    assert_products(A, rows, cols, events)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("events", EVENTS)
def test_every_dtype_meets_every_other(weights: str, events: str) -> None:
    with jax.enable_x64("float64" in (weights, events)):
        _, indices, indptr = small()
        rng = np.random.default_rng(0)
        A = CSR(jnp.asarray(rng.integers(-4, 5, 17)).astype(weights), indices, indptr, shape=(6, 5))
        low = 0 if events == "uint8" else -2
        rows, cols = rng.integers(low, 3, 6), rng.integers(low, 3, 5)
        assert_products(A, rows, cols, events)
        x = as_events(rows, events)
        with jax.numpy_dtype_promotion("standard"):
            expected = A.dtype if events in BINARY else (A.data[:1] * x[:1]).dtype
        assert (x @ A).dtype == expected


@pytest.mark.parametrize("index", ["int32", "int64"])
def test_structure_of_either_width(index: str) -> None:
    data, indices, indptr = small()
    with jax.enable_x64(True):
        for other in ("int32", "int64"):
            A = CSR(data, indices.astype(index), indptr.astype(other), shape=(6, 5))
            assert [str(array.dtype) for array in (A.indices, A.indptr)] == [index, other]
            assert_close(spikes(6) @ A, spikes(6) @ dense(A))
            assert_close(A @ spikes(5), dense(A) @ spikes(5))


@pytest.mark.parametrize("homogeneous", [False, True])
@pytest.mark.parametrize("events", [*BINARY, "float32"])
@pytest.mark.parametrize("count", [0, 1, 4])
def test_a_matrix_of_events_is_a_batch(homogeneous: bool, events: str, count: int) -> None:
    A, binary = example(homogeneous=homogeneous), events in BINARY
    rows, cols = spikes(6, lanes=(count,)), spikes(count, lanes=(5,))
    assert_close(as_events(rows, events) @ A, effective(rows, binary) @ dense(A))
    assert_close(A @ as_events(cols, events), dense(A) @ effective(cols, binary))


def test_numpy_on_either_side() -> None:
    A = example()
    for rows, cols in (
        (spikes(6), spikes(5)),
        (spikes(6) != 0, spikes(5) != 0),
        (spikes(6, lanes=(2,)), spikes(2, lanes=(5,))),
    ):
        for product, expected in ((rows @ A, rows @ dense(A)), (A @ cols, dense(A) @ cols)):
            assert isinstance(product, jax.Array)
            assert_close(product, expected)


def test_one_weight_for_all_gives_what_as_many_equal_ones_give() -> None:
    A = example()
    for weight in (2.5, np.float32(2.5), jnp.array([2.5])):
        one, each = A.with_data(weight), A.with_data(np.full(A.nse, 2.5, np.float32))
        assert_close(spikes(6) @ one, spikes(6) @ dense(each))
        assert_close(one @ spikes(5), dense(each) @ spikes(5))


def test_half_precision_adds_up_in_single() -> None:
    # 4096 times 1 and then 1: in float16 the sum would stay at 2048.
    A = CSR(jnp.ones((), jnp.float16), np.zeros(4097, np.int32), np.arange(4098), shape=(4097, 1))
    np.testing.assert_array_equal(np.ones(4097, bool) @ A, [4096])  # 4097 rounded to float16
    B = CSR(A.data, A.indices, np.array([0, 4097]), shape=(1, 1))
    np.testing.assert_array_equal(B @ np.ones(1, bool), [4096])
    np.testing.assert_array_equal(B.todense(), [[4096]])


def test_nan_and_negative_events_are_active() -> None:
    A = CSR.from_dense(np.array([[1, 0], [0, 2]], np.float32))
    for x in (np.array([np.nan, -1], np.float32), np.array([-1, np.nan], np.float32)):
        np.testing.assert_array_equal(BinaryArray(jnp.asarray(x)) @ A, [1, 2])
        np.testing.assert_array_equal(x @ A, x * [1, 2])


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_an_inactive_event_contributes_nothing_whatever_its_weights(bad: float) -> None:
    A = CSR.from_dense(np.array([[bad, bad], [1, 2]], np.float32))
    for x in (np.array([False, True]), np.array([0, 1.0], np.float32)):
        np.testing.assert_array_equal(x @ A, [1, 2])
        np.testing.assert_array_equal(CSR.from_dense(np.array([[bad, 1], [bad, 2]], np.float32)) @ x, [1, 2])
        np.testing.assert_array_equal(np.stack([x, x]) @ A, [[1, 2], [1, 2]])


MISFITS: list[tuple[Any, type[Exception], str]] = [
    (lambda A: np.ones(5) @ A, ShapeError, r"got \(5,\) @ \(6, 5\); expected equal inner lengths, not 5 and 6"),
    (lambda A: A @ np.ones(6), ShapeError, r"got \(6, 5\) @ \(6,\)"),
    (lambda A: np.ones((2, 2, 6)) @ A, ShapeError, r"rank 1 or 2 \(for more, use jax.vmap\)"),
    (lambda A: A @ np.float32(1), ShapeError, r"got \(6, 5\) @ \(\); expected events of rank 1 or 2"),
    (lambda A: np.ones(6, complex) @ A, DTypeError, "events: got complex64; expected bool or a real dtype"),
    (lambda A: BinaryArray(jnp.ones(6, complex)) @ A, DTypeError, "events: got complex64"),
    (lambda A: [1.0] * 6 @ A, TypeError, "unsupported operand type.*list"),
    (lambda A: A @ A, TypeError, "unsupported operand type.*CSR"),
    (lambda A: 2 @ A, TypeError, "unsupported operand type.*int"),
]


@pytest.mark.parametrize(("product", "error", "message"), MISFITS, ids=range(len(MISFITS)))
def test_what_does_not_fit_is_named(product: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        product(example())


@pytest.mark.parametrize("homogeneous", [False, True])
@pytest.mark.parametrize("events", ["float32", "binary"])
@pytest.mark.parametrize("lanes", [(), (3,)], ids=["vector", "batch"])
def test_gradients_are_those_of_the_dense_product(homogeneous: bool, events: str, lanes: tuple[int, ...]) -> None:
    A, x = example(homogeneous=homogeneous), spikes(6, lanes=lanes)
    binary = events == "binary"

    def ours(data: jax.Array, x: jax.Array) -> jax.Array:
        return jnp.sum(jnp.sin(as_events(x, events) @ A.with_data(data)) ** 2)

    def expected(data: jax.Array, x: jax.Array) -> jax.Array:
        return jnp.sum(jnp.sin(through(x, binary) @ todense(data, *small()[1:], 5)) ** 2)

    assert_close(jax.grad(ours, (0, 1))(A.data, x), jax.grad(expected, (0, 1))(A.data, x))


def test_the_gradient_of_a_scalar_weight_is_a_scalar() -> None:
    A = example()
    gradient = jax.grad(lambda weight: (np.ones(6, bool) @ A.with_data(weight)).sum())(0.5)
    assert gradient.shape == ()
    assert gradient == A.nse


def test_events_of_another_dtype_get_gradients_of_their_own() -> None:
    A = example()
    gradient = jax.grad(lambda x: (x @ A).sum())(jnp.ones(6, jnp.float16))
    assert gradient.dtype == jnp.float16
    assert_close(gradient, dense(A).sum(1), 1e-3)


def test_the_backend_is_chosen_as_for_any_operator() -> None:
    A = example()
    with use_backend("reference"):
        text = jax.jit(lambda x: x @ A).lower(spikes(6)).as_text()
        assert "custom_call @spikax" not in text
        assert_close(spikes(6) @ A, spikes(6) @ dense(A))
    assert "custom_call @spikax_scatter_cpu" in jax.jit(lambda x: x @ A).lower(spikes(6)).as_text()
