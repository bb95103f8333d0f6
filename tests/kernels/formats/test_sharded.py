"""Matrices divided among devices by targets: the products of the undivided ones, while only bits of events travel."""

import copy
import pickle
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from spikax_kernels import (
    COO,
    CSC,
    CSR,
    BinaryArray,
    Dense,
    DTypeError,
    FixedNumPerPost,
    FixedNumPerPre,
    ShapeError,
    ShardedByPost,
    StructureError,
)
from tests.kernels._oracle import Array, assert_close, effective, spikes, through
from tests.kernels.formats._formats import dense, example, sparse, stack, weighted

P = jax.P
KINDS = [AxisType.Auto, AxisType.Explicit]
meshes = pytest.mark.parametrize("kind", KINDS, ids=["auto", "explicit"])


def line(kind: AxisType = AxisType.Auto) -> jax.sharding.Mesh:
    return jax.make_mesh((4,), ("i",), axis_types=(kind,))


def square(kind: AxisType = AxisType.Auto) -> jax.sharding.Mesh:
    return jax.make_mesh((2, 2), ("b", "i"), axis_types=(kind, kind))


def even(seed: int = 0) -> CSR:
    """A matrix whose sides four devices divide, with 128 sources, 32 for each."""
    rng = np.random.default_rng(seed)
    matrix = np.where(rng.random((128, 8)) < 0.1, rng.normal(size=(128, 8)), 0)
    return CSR.from_dense(matrix.astype(np.float32))


def placed(x: Any, mesh: jax.sharding.Mesh, *spec: Any) -> Any:
    return jax.device_put(x, jax.NamedSharding(mesh, P(*spec)))


def as_events(x: Any, events: str) -> Any:
    return BinaryArray(jnp.asarray(x)) if events == "binary" else jnp.asarray(x).astype(events)


def collectives(function: Any, *args: Any) -> list[tuple[str, str, int]]:
    """``(operation, dtype, number of elements)`` of what devices send each other."""
    text = jax.jit(function).lower(*args).compile().as_text()
    found = re.findall(
        r"= \(?(\w+)\[([\d,]*)\]\S* (all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute)(?:-start)?\(",
        str(text),
    )
    return [(name, dtype, int(np.prod([int(n) for n in shape.split(",") if n]))) for dtype, shape, name in found]


@sparse
@weighted
def test_each_device_has_the_entries_of_its_targets(kind: Any, homogeneous: bool) -> None:
    A = example(kind, homogeneous=homogeneous)
    S = A.shard(line(), "i")
    assert (S.shape, S.ndim, S.dtype, S.nse) == (A.shape, 2, A.dtype, 4 * S.indices.shape[1])
    assert S.indices.sharding.spec == S.indptr.sharding.spec == P("i")
    assert S.data.sharding.spec == (P() if homogeneous else P("i"))
    out = np.zeros((6, 8))  # two targets for each device; of five, the last one has none
    counts = []
    for i in range(4):
        indices, indptr = np.asarray(S.indices)[i], np.asarray(S.indptr)[i]
        row = np.repeat(np.arange(6), np.diff(indptr))
        counts.append(row.size)
        data = np.full(row.size, A.data[0]) if homogeneous else np.asarray(S.data)[i, : row.size]
        assert (indices[row.size :] == 2).all()
        np.add.at(out, (row, 2 * i + indices[: row.size]), data)
    assert max(counts) == S.indices.shape[1]
    assert_close(out, np.pad(dense(A), ((0, 0), (0, 3))))


@meshes
@pytest.mark.parametrize("events", ["bool", "binary", "float32"])
def test_products_are_those_of_the_dense_matrix(kind: AxisType, events: str) -> None:
    A, binary = example(CSR), events != "float32"
    S = A.shard(line(kind), "i")
    assert_close(as_events(spikes(6), events) @ S, effective(spikes(6), binary) @ dense(A))
    assert_close(S @ as_events(spikes(5), events), dense(A) @ effective(spikes(5), binary))
    rows, cols = spikes(6, lanes=(3,)), spikes(3, lanes=(5,))
    assert_close(as_events(rows, events) @ S, effective(rows, binary) @ dense(A))
    assert_close(S @ as_events(cols, events), dense(A) @ effective(cols, binary))
    outer = np.asarray(S.sddmm(as_events(spikes(6), events), as_events(spikes(5), events)))
    expected = np.outer(effective(spikes(6), binary), effective(spikes(5), binary)) * (dense(A) != 0)
    assert_close(S.with_data(outer).tocoo().todense(), expected * counts(A))


def counts(A: Any) -> Array:
    """How many entries there are at each place."""
    ones = A.with_data(np.ones(A.data.shape, np.float32))
    return dense(ones)


@meshes
@weighted
def test_other_forms(kind: AxisType, homogeneous: bool) -> None:
    A = example(FixedNumPerPre, homogeneous=homogeneous)
    with jax.set_mesh(line(kind)):
        S = A.shard(line(kind), "i")
        assert_close(S.todense(), dense(A))
        assert_close(dense(S.tocoo()), dense(A))
        assert int(S.nnz) == A.nse
    assert_close((np.ones(6, np.float16) @ S), dense(A).sum(0), 1e-3)
    assert_close((spikes(6) != 0) @ S.with_data(2.0), 2 * (spikes(6) != 0) @ counts(A))


@meshes
def test_devices_send_bits_of_events_and_nothing_else(kind: AxisType) -> None:
    A, mesh = even(), line(kind)
    S = A.shard(mesh, "i")
    for events in ("bool", "binary", "float32"):
        x = placed(spikes(128), mesh, "i")

        def product(S: Any, x: jax.Array, events: str = events) -> Any:
            return as_events(x, events) @ S

        sent = collectives(product, S, x)
        assert sent == [("all-gather", "f32", 128) if events == "float32" else ("all-gather", "u32", 4)]
        result = jax.jit(product)(S, x)
        assert result.sharding.spec == P("i")
        assert_close(result, effective(spikes(128), events != "float32") @ dense(A))
    batch = placed(spikes(128, lanes=(3,)) != 0, mesh, None, "i")
    assert collectives(lambda S, x: x @ S, S, batch) == [("all-gather", "u32", 12)]
    back = collectives(lambda S, x: S @ x, S, placed(spikes(8), mesh, "i"))
    assert {name for name, _, _ in back} <= {"reduce-scatter", "all-reduce"}
    assert all(size <= 128 for _, _, size in back)


@meshes
@weighted
@pytest.mark.parametrize("events", ["binary", "float32"])
def test_gradients_are_those_of_the_dense_matrix(kind: AxisType, homogeneous: bool, events: str) -> None:
    A, x, y = example(CSR, homogeneous=homogeneous), spikes(6), spikes(5)
    row, col = A.coordinates()

    def ours(data: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
        S = A.with_data(data).shard(line(kind), "i")
        return jnp.sum(jnp.sin(as_events(x, events) @ S) ** 2) + jnp.sum((S @ as_events(y, events)) ** 2)

    def expected(data: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
        matrix, binary = jnp.zeros(A.shape).at[row, col].add(data.reshape(-1)), events == "binary"
        return jnp.sum(jnp.sin(through(x, binary) @ matrix) ** 2) + jnp.sum((matrix @ through(y, binary)) ** 2)

    with jax.set_mesh(line(kind)):
        got = jax.jit(jax.value_and_grad(ours, (0, 1, 2)))(A.data, x, y)
    assert_close(got, jax.value_and_grad(expected, (0, 1, 2))(A.data, x, y))


def test_forward_mode_agrees_and_a_whole_matrix_has_a_gradient() -> None:
    A, x = example(CSR), jnp.asarray(spikes(6))
    S = A.shard(line(), "i")

    def product(x: jax.Array) -> jax.Array:
        return jnp.sin(BinaryArray(x) @ S)

    assert_close(jax.jacfwd(product)(x), jax.jacrev(product)(x))
    gradient = jax.grad(lambda S: jnp.sum((x @ S) ** 2), allow_int=True)(S)
    assert isinstance(gradient, ShardedByPost)
    assert gradient.indices.dtype == gradient.indptr.dtype == jax.dtypes.float0
    assert_close(gradient.data, 2 * S.sddmm(x, x @ S))


@meshes
def test_a_network_steps_in_a_scan_and_stays_sharded(kind: AxisType) -> None:
    A, mesh = even(), line(kind)
    B = CSR.from_dense(np.asarray(dense(A).T @ np.eye(128), np.float32))  # back from the targets to the sources
    to, back = A.shard(mesh, "i"), B.shard(mesh, "i")

    @jax.jit
    def run(to: Any, back: Any, v: jax.Array) -> tuple[jax.Array, jax.Array]:
        def step(v: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
            out = (v > 0) @ to
            return 0.5 * v + (out > 0) @ back, out

        return jax.lax.scan(step, v, length=5)

    v = spikes(128)
    with jax.set_mesh(mesh):
        last, outs = run(to, back, placed(v, mesh, "i"))
    assert last.sharding.spec == P("i")
    for out in np.asarray(outs):
        expected = (v > 0) @ dense(A)
        assert_close(out, expected)
        v = 0.5 * v + (out > 0) @ dense(A).T
    assert_close(last, v)


@meshes
def test_a_batch_may_be_sharded_over_another_axis(kind: AxisType) -> None:
    if kind == AxisType.Auto and jax.__version_info__ < (0, 10):
        pytest.skip("vmap of shard_map with spmd_axis_name fails in jax 0.9")
    A, mesh, x = even(), square(kind), spikes(128, lanes=(6,)) != 0
    S = A.shard(mesh, "i")
    with jax.set_mesh(mesh):
        sharded = placed(x, mesh, "b", "i")
        if kind == AxisType.Explicit:
            product: Any = lambda S, x: x @ S  # noqa: E731
        else:
            product = lambda S, x: jax.vmap(lambda x: x @ S, spmd_axis_name="b")(x)  # noqa: E731
        # Of a batch of six, each device sends two words of bits for each of three.
        assert collectives(product, S, sharded) == [("all-gather", "u32", 3 * 4)]
        result = jax.jit(product)(S, sharded)
        assert result.sharding.spec == P("b", "i")
        assert_close(result, x @ dense(A))
        assert_close(jax.jit(jax.vmap(lambda x: x @ S))(sharded), x @ dense(A))
    assert_close(jax.jit(jax.vmap(lambda x: x @ S))(jnp.asarray(x)), x @ dense(A))


def test_structure_that_is_traced_takes_nse() -> None:
    A, x = example(CSR), spikes(6)
    mesh = line()
    got, S = jax.jit(lambda A: (x @ A.shard(mesh, "i", nse=17), A.shard(mesh, "i", nse=17)))(A)
    assert_close(got, x @ dense(A))
    assert_close(dense(S.tocoo()), dense(A))
    with pytest.raises(StructureError, match=r"shard \(on each device\): got traced structure.*pass nse="):
        jax.jit(lambda A: A.shard(mesh, "i"))(A)
    with pytest.raises(StructureError, match=r"got nse=2 for \d+ entries"):
        A.shard(mesh, "i", nse=2)
    assert jnp.isnan(jax.jit(lambda A: A.shard(mesh, "i", nse=2).data)(A)).all()
    assert A.shard(mesh, "i", nse=17).nse == 68


def test_it_is_a_pytree() -> None:
    A = example(CSR)
    S = A.shard(line(), "i")
    for B in (copy.copy(S), copy.deepcopy(S), pickle.loads(pickle.dumps(S)), jax.tree.map(lambda leaf: leaf, S)):
        trees: list[Any] = [jax.tree.structure(B), jax.tree.structure(S)]
        assert trees[0] == trees[1]
        assert B.indices.sharding.spec == P("i")
        assert_close(spikes(6) @ B, spikes(6) @ dense(A))
    traces = []

    @jax.jit
    def deliver(S: Any) -> Any:
        traces.append(S)
        return spikes(6) @ S

    assert_close(deliver(S.with_data(3 * S.data)), 3 * spikes(6) @ dense(A))
    assert_close(deliver(S), spikes(6) @ dense(A))
    assert len(traces) == 1
    assert repr(S) == f"ShardedByPost(over 4 of 'i', shape=(6, 5), nse={S.nse}, dtype=float32, heterogeneous)"
    assert "ShardedByPost(None, None" in repr(jax.tree.map(lambda leaf: None, S))
    with pytest.raises(AttributeError, match="cannot assign to field 'data'"):
        S.data = 1
    weights = jnp.stack([S.data, 2 * S.data])
    assert_close(jax.vmap(lambda data: spikes(6) @ S.with_data(data))(weights)[1], 2 * spikes(6) @ dense(A))


def test_inside_of_shard_map_a_device_has_its_piece() -> None:
    A, mesh, x = even(), line(), spikes(128) != 0
    S = A.shard(mesh, "i")
    step = jax.jit(jax.shard_map(lambda S, x: x @ S, mesh=mesh, in_specs=P("i"), out_specs=P("i")))
    assert_close(step(S, x), x @ dense(A))
    back = jax.jit(jax.shard_map(lambda S, x: S @ x, mesh=mesh, in_specs=P("i"), out_specs=P("i")))
    assert_close(back(S, spikes(8)), dense(A) @ spikes(8))


@pytest.mark.parametrize("weights", ["float16", "bfloat16", "int32"])
def test_weights_of_other_dtypes(weights: str) -> None:
    A = example(CSR)
    A = A.with_data(jnp.round(3 * A.data).astype(weights))
    got = (spikes(6) != 0) @ A.shard(line(), "i")
    assert got.dtype == weights
    assert_close(got.astype(jnp.float32), (spikes(6) != 0) @ dense(A))


def test_an_inactive_event_contributes_nothing_whatever_its_weights() -> None:
    S = CSR.from_dense(np.array([[np.inf, np.nan], [1, 2]], np.float32)).shard(line(), "i")
    for x in (np.array([False, True]), np.array([0, 1.0], np.float32), BinaryArray(jnp.array([0, 3.0]))):
        np.testing.assert_array_equal(x @ S, [1, 2])


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (3, 2)])
def test_nothing_stored(shape: tuple[int, int]) -> None:
    S = CSR.from_dense(np.zeros(shape, np.float32)).shard(line(), "i")
    np.testing.assert_array_equal(np.ones(shape[0], bool) @ S, np.zeros(shape[1]))
    np.testing.assert_array_equal(S @ np.ones(shape[1], np.float32), np.zeros(shape[0]))


@pytest.mark.parametrize(
    ("attempt", "error", "message"),
    [
        (lambda A, S: A.shard(line(), "j"), ShapeError, r"shard: got the axis 'j' for a mesh with \('i',\)"),
        (lambda A, S: A.shard(line(), "i", by="pre"), ShapeError, "shard: got by='pre'; expected 'post'"),
        (lambda A, S: example(Dense).shard(line(), "i"), ShapeError, "shard: got a Dense matrix.*device_put"),
        (lambda A, S: np.ones(5) @ S, ShapeError, r"got \(5,\) @ \(6, 5\); expected equal inner lengths"),
        (lambda A, S: S @ np.ones((2, 2, 5)), ShapeError, r"rank 1 or 2 \(for more, use jax.vmap\)"),
        (lambda A, S: np.ones(6, complex) @ S, DTypeError, "events: got complex64"),
        (lambda A, S: [1.0] * 6 @ S, TypeError, "unsupported operand type"),
        (lambda A, S: S @ [1.0] * 6, TypeError, "unsupported operand type"),
        (lambda A, S: S * 2, TypeError, "unsupported operand type"),
        (lambda A, S: S.sddmm(np.ones(6), np.ones(6)), ShapeError, r"sddmm: got \(6,\) and \(6,\) for \(6, 5\)"),
        (lambda A, S: S.sddmm([1.0], np.ones(5)), DTypeError, "sddmm: got list and ndarray"),
        (lambda A, S: S.with_data(np.ones(3)), ShapeError, r"data: got shape \(3,\); expected \(\), \(1,\) or \(4, "),
        (lambda A, S: spikes(6) @ stack(S, S), ShapeError, "for a stack use jax.vmap"),
    ],
    ids=range(13),
)
def test_what_does_not_fit_is_named(attempt: Any, error: type[Exception], message: str) -> None:
    A = example(CSR)
    with pytest.raises(error, match=message):
        attempt(A, A.shard(line(), "i"))


# --- matrices that are not divided, sharded as arrays are


@meshes
@pytest.mark.parametrize("of", [CSR, CSC, COO, FixedNumPerPre, FixedNumPerPost], ids=lambda of: of.__name__)
def test_entries_that_are_divided_by_their_number_are_refused(kind: AxisType, of: Any) -> None:
    mesh, name = line(kind), "row" if of is COO else "indices"
    index: Any = np.zeros((4, 4), np.int32)
    if of in (CSR, CSC):
        A = of(1.0, index.reshape(-1), np.arange(0, 20, 4), shape=(4, 4))
    else:
        A = COO(1.0, index[0], index[0], shape=(4, 4)) if of is COO else of(1.0, index, shape=(4, 4))
    spec = [None] * (getattr(A, name).ndim - 1) + ["i"]
    arrays = [placed(x, mesh, *spec) if key == name else x for key, x in zip(A.arrays, A._values(), strict=True)]
    B = A.tree_unflatten(A.shape, arrays)
    message = rf"{name} sharded over 'i'.*by their targets, with A.shard\(mesh, 'i'\)"
    with jax.set_mesh(mesh):
        products: list[Any] = [
            lambda B: np.ones(4) @ B,
            lambda B: B @ np.ones(4),
            lambda B: B.sddmm(spikes(4), spikes(4)),
        ]
        for product in products:
            with pytest.raises(ShapeError, match=message):
                product(B)
            if kind == AxisType.Explicit:
                with pytest.raises(ShapeError, match=message):
                    jax.jit(product)(B)
    assert_close(np.ones(4) @ B.shard(mesh, "i"), dense(A).sum(0))


@meshes
@weighted
@pytest.mark.parametrize("of", [FixedNumPerPre, FixedNumPerPost], ids=lambda of: of.__name__)
def test_lists_of_one_length_may_be_sharded(kind: AxisType, homogeneous: bool, of: Any) -> None:
    mesh, rng = line(kind), np.random.default_rng(0)
    data = rng.normal(size=1 if homogeneous else (16, 20)).astype(np.float32)
    A = of(data, rng.integers(0, 16, (16, 20)).astype(np.int32), shape=(16, 16))
    B = A.tree_unflatten(
        A.shape, [A.data if homogeneous else placed(data, mesh, "i"), placed(A.indices, mesh, "i"), None]
    )
    x, y = spikes(16), spikes(16, 1)

    def loss(B: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.sum(jnp.sin(x @ B)) + jnp.sum(jnp.sin(B @ y))

    gradient = jax.value_and_grad(loss, (0, 1, 2), allow_int=True)
    with jax.set_mesh(mesh):
        for product in (lambda B, x, y: x @ B, lambda B, x, y: B @ y, lambda B, x, y: B.sddmm(x, y), gradient):
            assert all(name != "all-gather" or size <= 16 for name, _, size in collectives(product, B, x, y))
        value, (by_matrix, by_x, by_y) = jax.jit(gradient)(B, x, y)
        outer = jax.jit(lambda B: B.sddmm(x, y))(B)
        assert_close((x @ B, B @ y), (x @ dense(A), dense(A) @ y))
    row, col = A.coordinates()

    def expected(data: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
        matrix = jnp.zeros(A.shape).at[row, col].add(data.reshape(-1))
        return jnp.sum(jnp.sin(x @ matrix)) + jnp.sum(jnp.sin(matrix @ y))

    assert_close((value, (by_matrix.data, by_x, by_y)), jax.value_and_grad(expected, (0, 1, 2))(A.data, x, y))
    assert_close(outer, np.outer(x, y)[np.asarray(row), np.asarray(col)].reshape(16, 20))
