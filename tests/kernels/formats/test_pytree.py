"""What JAX does to pytrees, done to a matrix of each format: it may be whatever an array may be."""

import copy
import pickle
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikax_kernels import COO, CSC, Dense, DTypeError, FixedNumPerPost, FixedNumPerPre, ShapeError, StructureError
from tests.kernels._oracle import assert_close, spikes
from tests.kernels.formats._formats import dense, example, formats, grouped, sparse, stack, weighted


def variants(kind: Any, seed: int = 0) -> list[Any]:
    """The example of this format, with one weight for all, and with its dual."""
    A = example(kind, seed)
    if kind is Dense:
        return [A]
    both = [A, example(kind, seed, homogeneous=True)]
    return both if kind is COO else [*both, *(B.with_dual() for B in both)]


@formats
def test_every_array_is_a_leaf_and_the_shape_is_static(kind: Any) -> None:
    for A in variants(kind):
        leaves, structure = jax.tree.flatten_with_path(A)
        tree: Any = structure
        names = [jax.tree_util.keystr(path) for path, _ in leaves]
        assert names[0] == ".data"
        assert all(isinstance(leaf, jax.Array) for _, leaf in leaves)
        again = jax.tree.unflatten(tree, [leaf for _, leaf in leaves])
        assert type(again) is kind
        assert again.shape == A.shape
        assert jax.tree.structure(again) == tree
        assert jax.tree.structure(A.T.T) == tree


@formats
def test_unflattening_checks_nothing(kind: Any) -> None:
    for A in variants(kind):
        leaves, tree = jax.tree.flatten(A)
        for junk in (None, "leaf", object()):
            B = jax.tree.unflatten(tree, [junk] * len(leaves))
            assert B.data is junk
            assert kind.__name__ in repr(B)


@formats
def test_it_is_frozen(kind: Any) -> None:
    A = example(kind)
    with pytest.raises(AttributeError, match=rf"{kind.__name__} is frozen, so 'data' cannot be set.*with_data"):
        A.data = 1
    with pytest.raises(AttributeError, match="frozen"):
        del A.data
    with pytest.raises(AttributeError, match="frozen"):
        A.extra = 1


@formats
def test_copies_and_pickles_are_equal(kind: Any) -> None:
    for A in variants(kind):
        for B in (copy.copy(A), copy.deepcopy(A), pickle.loads(pickle.dumps(A))):
            trees: list[Any] = [jax.tree.structure(B), jax.tree.structure(A)]
            assert trees[0] == trees[1]
            for mine, other in zip(jax.tree.leaves(B), jax.tree.leaves(A), strict=True):
                np.testing.assert_array_equal(mine, other)
                assert mine.dtype == other.dtype


@formats
def test_repr_says_what_it_is(kind: Any) -> None:
    A = example(kind)
    name, nse = kind.__name__, A.nse
    assert repr(A) == f"{name}(shape=(6, 5), nse={nse}, dtype=float32, heterogeneous)"
    assert repr(stack(A, A)) == f"{name}(stack of (2,), shape=(6, 5), nse={nse}, dtype=float32, heterogeneous)"
    if kind is not Dense:
        assert repr(A.with_data(1.0)) == f"{name}(shape=(6, 5), nse={nse}, dtype=float32, homogeneous)"


@formats
def test_on_the_host_it_still_multiplies(kind: Any) -> None:
    for A in variants(kind):
        B = jax.device_get(A)
        assert isinstance(B.data, np.ndarray)
        assert_close(spikes(6) @ B, spikes(6) @ dense(A))
        assert_close(B @ spikes(5), dense(A) @ spikes(5))


@formats
def test_argument_of_jit_without_retracing(kind: Any) -> None:
    traces = []

    @jax.jit
    def both(A: Any, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        traces.append(A)
        return x @ A, A @ y

    for examples in zip(*(variants(kind, seed) for seed in range(3)), strict=True):
        before = len(traces)
        for A in examples:
            assert_close(both(A, spikes(6), spikes(5)), (spikes(6) @ dense(A), dense(A) @ spikes(5)))
        assert len(traces) == before + 1


@formats
def test_closure_of_two_jits(kind: Any) -> None:
    for A in variants(kind):
        first, second = jax.jit(lambda x, A=A: x @ A), jax.jit(lambda x, A=A: 2 * (x @ A))
        assert_close(first(spikes(6)), spikes(6) @ dense(A))
        assert_close(second(spikes(6)), 2 * (spikes(6) @ dense(A)))
        assert_close(A @ spikes(5), dense(A) @ spikes(5))  # no tracer stayed behind


@formats
def test_carry_of_a_scan(kind: Any) -> None:
    for A in variants(kind):
        last, ys = jax.lax.scan(lambda A, x: (A.with_data(0.5 * A.data), A @ x), A, spikes(5, lanes=(3,)))
        assert_close(ys, np.stack([dense(A) @ x / 2**i for i, x in enumerate(spikes(5, lanes=(3,)))]))
        assert_close(dense(last), dense(A) / 8)


@formats
def test_donated(kind: Any) -> None:
    for A in variants(kind):
        mine, x = jax.tree.map(jnp.copy, A), jnp.asarray(spikes(5))
        doubled = jax.jit(lambda A: A.with_data(2 * A.data), donate_argnums=0)(mine)
        assert_close(dense(doubled), 2 * dense(A))
        assert_close(doubled @ x, 2 * dense(A) @ x)
        assert mine.data.is_deleted()


@formats
def test_a_stack_is_vmapped_over(kind: Any) -> None:
    for several in zip(*(variants(kind, seed) for seed in range(3)), strict=True):
        stacked, xs, ys = stack(*several), spikes(6, lanes=(3,)), spikes(5, lanes=(3,))
        got = jax.vmap(lambda A, x, y: (x @ A, A @ y, A.todense(), A.T @ x))(stacked, xs, ys)
        for i, A in enumerate(several):
            expected = xs[i] @ dense(A), dense(A) @ ys[i], dense(A), dense(A).T @ xs[i]
            assert_close([part[i] for part in got], list(expected))
        with pytest.raises(ShapeError, match=r"stack of \(3,\).*use jax.vmap"):
            xs[0] @ stacked
        with pytest.raises(ShapeError, match=r"stack of \(3,\).*use jax.vmap"):
            stacked.todense()


@sparse
def test_weights_alone_are_vmapped_over(kind: Any) -> None:
    A = example(kind)
    weights = np.random.default_rng(0).normal(size=(3, *A.data.shape)).astype(np.float32)
    got = jax.vmap(lambda data: spikes(6) @ A.with_data(data))(weights)
    assert_close(got, np.stack([spikes(6) @ dense(A.with_data(data)) for data in weights]))


@formats
def test_the_gradient_of_a_whole_matrix_is_a_matrix(kind: Any) -> None:
    for A in variants(kind):
        gradient = jax.grad(lambda A: jnp.sum((spikes(6) @ A) ** 2) + jnp.sum(A @ spikes(5)), allow_int=True)(A)
        trees: list[Any] = [jax.tree.structure(gradient), jax.tree.structure(A)]
        assert trees[0] == trees[1]
        for mine, other in zip(jax.tree.leaves(gradient), jax.tree.leaves(A), strict=True):
            assert mine.dtype == (other.dtype if other.dtype == jnp.float32 else jax.dtypes.float0)
            assert mine.shape == other.shape
        row, col = A.coordinates()

        def expected(data: jax.Array, A: Any = A, at: Any = (row, col)) -> jax.Array:
            matrix = jnp.zeros(A.shape).at[at].add(data.reshape(-1))
            return jnp.sum((spikes(6) @ matrix) ** 2) + jnp.sum(matrix @ spikes(5))

        assert_close(gradient.data, jax.grad(expected)(A.data))


@formats
def test_weights_are_trained_and_the_matrix_rebuilt_from_them(kind: Any) -> None:
    for A in variants(kind):
        target = 0.5 * spikes(6) @ dense(A) + 0.1

        def loss(data: jax.Array, A: Any = A, target: Any = target) -> jax.Array:
            return jnp.sum((spikes(6) @ A.with_data(data) - target) ** 2)

        step = jax.jit(lambda data, loss=loss: data - 0.01 * jax.grad(loss)(data))
        data = A.data
        for _ in range(3):
            data = step(data)
        assert data.shape == A.data.shape
        assert loss(data) < loss(A.data)
        B = A.with_data(data)
        assert_close(B @ spikes(5), dense(B) @ spikes(5))


@formats
def test_tree_map_reaches_every_array(kind: Any) -> None:
    for A in variants(kind):
        B = jax.tree.map(lambda leaf: leaf, A)
        assert type(B) is kind
        assert_close(spikes(6) @ B, spikes(6) @ dense(A))
        floats = jax.tree.map(lambda leaf: 2 * leaf if leaf.dtype == jnp.float32 else leaf, A)
        assert_close(spikes(6) @ floats, 2 * spikes(6) @ dense(A))
        # A dual holds weights of its own, which are doubled with the others.
        assert_close(floats @ spikes(5), 2 * dense(A) @ spikes(5))


@formats
def test_saved_and_loaded_in_a_file(kind: Any, tmp_path: Path) -> None:
    for i, A in enumerate(variants(kind)):
        path = tmp_path / f"{i}.pickle"
        path.write_bytes(pickle.dumps({"weights": A, "step": 3}))
        loaded = pickle.loads(path.read_bytes())
        assert_close(jax.jit(lambda A: spikes(6) @ A)(loaded["weights"]), spikes(6) @ dense(A))
        assert_close(loaded["weights"].with_data(2 * A.data) @ spikes(5), 2 * dense(A) @ spikes(5))


@formats
def test_result_of_jit_and_of_cond(kind: Any) -> None:
    for A in variants(kind):
        doubled = jax.jit(lambda A, yes: jax.lax.cond(yes, lambda: A.with_data(2 * A.data), lambda: A))(A, True)
        assert type(doubled) is kind
        assert_close(dense(doubled), 2 * dense(A))


@formats
def test_an_array_of_the_scan_that_is_a_matrix_for_each_step(kind: Any) -> None:
    for several in zip(*(variants(kind, seed) for seed in range(3)), strict=True):
        _, ys = jax.lax.scan(lambda carry, A: (carry, spikes(6) @ A), 0, stack(*several))
        assert_close(ys, np.stack([spikes(6) @ dense(A) for A in several]))


@sparse
def test_structure_alone_is_vmapped_over(kind: Any) -> None:
    A, B = example(kind, homogeneous=True), example(kind, 1, homogeneous=True)
    B = B.with_data(A.data)
    stacked = stack(A, B)
    axes = kind.tree_unflatten(A.shape, [None] + [0] * (len(jax.tree.leaves(A)) - 1) + [None] * (kind is not COO))
    got = jax.vmap(lambda M: spikes(6) @ M, in_axes=(axes,))(
        kind.tree_unflatten(A.shape, [A.data, *stacked._values()[1:]])
    )
    assert_close(got, np.stack([spikes(6) @ dense(M) for M in (A, B)]))


@formats
@weighted
def test_replicated_over_devices_with_a_sharded_batch(kind: Any, homogeneous: bool) -> None:
    A, x = example(kind, homogeneous=homogeneous), spikes(6, lanes=(8,))
    mesh = jax.make_mesh((4,), ("i",))
    B = jax.device_put(A, jax.NamedSharding(mesh, jax.P()))
    sharded = jax.device_put(x, jax.NamedSharding(mesh, jax.P("i")))
    with jax.set_mesh(mesh):
        got = jax.jit(jax.vmap(lambda x, A: x @ A, (0, None)))(sharded, B)
    assert len(got.sharding.device_set) == 4
    assert_close(got, x @ dense(A))


# --- what is refused

WRONG: list[tuple[Any, type[Exception], str]] = [
    (lambda: CSC(np.ones(3), np.array([0, 4, 1]), np.array([0, 1, 3]), shape=(4, 2)), StructureError,
     "indices: column 1 points at row 4; expected 0 to 3"),
    (lambda: CSC(np.ones(3), np.array([0, 1, 1]), np.array([0, 1, 3]), shape=(4, 4)), ShapeError,
     "indptr: got 3 column pointers for 4 columns; expected 5"),
    (lambda: CSC(np.ones(3), np.array([0, 1, 1]), np.array([0, 2, 1]), shape=(4, 2)), StructureError,
     "indptr: column 1 begins at 2 and ends at 1"),
    (lambda: COO(np.ones(2), np.array([0, 7]), np.array([0, 1]), shape=(4, 2)), StructureError,
     "row: entry 1 points at row 7; expected 0 to 3"),
    (lambda: COO(np.ones(2), np.array([0, 1]), np.array([-1, 1]), shape=(4, 2)), StructureError,
     "col: entry 0 points at column -1; expected 0 to 1"),
    (lambda: COO(np.ones(2), np.array([0, 1]), np.array([1]), shape=(4, 2)), ShapeError,
     r"row and col: got shapes \(2,\) and \(1,\)"),
    (lambda: COO(np.ones(3), np.array([0, 1]), np.array([1, 0]), shape=(4, 2)), ShapeError,
     r"data: got shape \(3,\); expected \(\), \(1,\) or \(2,\)"),
    (lambda: FixedNumPerPre(np.ones((2, 1)), np.array([[0], [3]]), shape=(2, 3)), StructureError,
     "indices: row 1 points at column 3; expected 0 to 2"),
    (lambda: FixedNumPerPost(1.0, np.array([[0, 1], [0, -2]]), shape=(3, 2)), StructureError,
     "indices: column 1 points at row -2; expected 0 to 2"),
    (lambda: FixedNumPerPost(1.0, np.array([[0], [0]]), shape=(2, 3)), ShapeError,
     r"indices: got shape \(2, 1\) for 3 columns; expected \(3, k\)"),
    (lambda: FixedNumPerPre(1.0, np.array([0, 0]), shape=(2, 3)), ShapeError,
     r"indices: got shape \(2,\); expected rank 2"),
    (lambda: FixedNumPerPre(np.ones(2), np.array([[0], [1]]), shape=(2, 3)), ShapeError,
     r"data: got shape \(2,\); expected \(\), \(1,\) or \(2, 1\)"),
    (lambda: FixedNumPerPre(1j, np.array([[0], [1]]), shape=(2, 3)), DTypeError, "data: got complex64"),
    (lambda: FixedNumPerPre(1.0, [[0], [1]], shape=(2, 3)), DTypeError, "indices: got list"),
    (lambda: Dense(np.ones(3)), ShapeError, r"data: got shape \(3,\); expected rank 2"),
    (lambda: Dense(np.ones((2, 2), bool)), DTypeError, "data: got bool; expected real weights"),
    (lambda: Dense(np.ones((2, 2))).with_data(1.0), ShapeError, r"data: got shape \(\); expected \(2, 2\)"),
]  # fmt: skip


@pytest.mark.parametrize(("build", "error", "message"), WRONG, ids=range(len(WRONG)))
def test_what_does_not_fit_is_named(build: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        build()


def test_what_is_not_checked_is_dropped() -> None:
    far = np.array([[7, 1], [-1, 0]])
    for A, expected in (
        (FixedNumPerPre(2.0, far, shape=(2, 3), check=False), [[0, 2, 0], [2, 0, 0]]),
        (FixedNumPerPost(2.0, far, shape=(2, 2), check=False), [[0, 2], [2, 0]]),
        (COO(2.0, far[0], far[1], shape=(2, 2), check=False), [[0, 0], [2, 0]]),
        (CSC(2.0, far[0], np.array([0, 1, 9]), shape=(2, 2), check=False), [[0, 0], [0, 2]]),
    ):
        np.testing.assert_array_equal(A.todense(), expected)
        np.testing.assert_array_equal(np.ones(2, bool) @ A, np.sum(expected, 0))
        np.testing.assert_array_equal(A @ np.ones(A.shape[1], bool), np.sum(expected, 1))
        if not isinstance(A, COO):
            np.testing.assert_array_equal(A.with_dual() @ np.ones(A.shape[1], bool), np.sum(expected, 1))
        np.testing.assert_array_equal(A.tocsr().todense(), expected)
        np.testing.assert_array_equal(A.tocsc().todense(), expected)


@grouped
def test_with_data_refuses_what_does_not_fit(kind: Any) -> None:
    with pytest.raises(ShapeError, match="one weight per entry"):
        example(kind).with_dual().with_data(np.ones(2))
