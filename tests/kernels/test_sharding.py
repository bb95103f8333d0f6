"""Products over a mesh of four devices: ``shard_map`` with its default flags, and ``jit`` over sharded arrays."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from spikax_kernels import CSR, BinaryArray
from tests.kernels._oracle import assert_close, small, spikes, through, todense

P = jax.P
KINDS = ["valued", "binary", "bool"]
kinds = pytest.mark.parametrize("kind", KINDS)
weights = pytest.mark.parametrize("homogeneous", [False, True], ids=["per entry", "homogeneous"])
meshes = pytest.mark.parametrize("axis", [AxisType.Auto, AxisType.Explicit], ids=["auto", "explicit"])


def mesh(axis: AxisType = AxisType.Auto) -> jax.sharding.Mesh:
    return jax.make_mesh((4,), ("i",), axis_types=(axis,))


def events(x: Any, kind: str) -> Any:
    if kind == "binary":
        return BinaryArray(x)
    return x if kind == "valued" else x != 0


def example(**kind: bool) -> CSR:
    data, indices, indptr = small(**kind)
    return CSR(data, indices, indptr, shape=(6, 5))


def dense(data: Any) -> jax.Array:
    return todense(data, *small()[1:], 5)


@kinds
@weights
@meshes
def test_shared_weights_and_a_sharded_batch(kind: str, homogeneous: bool, axis: AxisType) -> None:
    A, x = example(homogeneous=homogeneous), spikes(6, lanes=(8,))
    targets = np.random.default_rng(0).normal(size=(8, 5)).astype(np.float32)
    sharded = jax.NamedSharding(mesh(axis), P("i"))

    def loss(data: jax.Array, x: jax.Array) -> Any:
        def part(data: jax.Array, x: jax.Array, targets: jax.Array) -> Any:
            out = jax.vmap(lambda event: events(event, kind) @ A.with_data(data))(x)
            return jax.lax.psum(jnp.sum(jnp.sin(out) * targets), "i")

        run = jax.shard_map(part, in_specs=(P(), P("i"), P("i")), out_specs=P())
        return run(data, x, jax.device_put(targets, sharded))

    def expected(data: jax.Array, x: jax.Array) -> jax.Array:
        return jnp.sum(jnp.sin(through(x, kind != "valued") @ dense(data)) * targets)

    wrt = (0,) if kind == "bool" else (0, 1)
    with jax.set_mesh(mesh(axis)):
        got = jax.jit(jax.value_and_grad(loss, wrt))(A.data, jax.device_put(x, sharded))
    assert_close(got, jax.jit(jax.value_and_grad(expected, wrt))(A.data, x))


@kinds
@weights
def test_shared_weights_and_shared_spikes(kind: str, homogeneous: bool) -> None:
    A, x = example(homogeneous=homogeneous), spikes(6)
    scales = jnp.arange(1, 5, dtype=jnp.float32)

    def loss(data: jax.Array) -> Any:
        def part(data: jax.Array, scale: jax.Array) -> Any:
            return jax.lax.psum(jnp.sum(jnp.sin(scale * (events(x, kind) @ A.with_data(data)))), "i")

        return jax.shard_map(part, mesh=mesh(), in_specs=(P(), P("i")), out_specs=P())(data, scales)

    def expected(data: jax.Array) -> jax.Array:
        out = through(jnp.asarray(x), kind != "valued") @ dense(data)
        return jnp.sum(jnp.sin(scales[:, None] * out))

    assert_close(jax.jit(jax.value_and_grad(loss))(A.data), jax.value_and_grad(expected)(A.data))


@pytest.mark.parametrize("gathered", [False, True], ids=["spikes @ A", "A @ spikes"])
def test_each_device_holds_its_own_matrix(gathered: bool) -> None:
    parts = [CSR(*small(seed), shape=(6, 5)) for seed in range(4)]
    stacked: CSR = jax.tree.map(lambda *leaves: jnp.stack(leaves), *parts)
    x = spikes(5 if gathered else 6, lanes=(4,))

    def total(data: jax.Array) -> jax.Array:
        def part(data: jax.Array, indices: jax.Array, indptr: jax.Array, x: jax.Array) -> Any:
            A = CSR(data[0], indices[0], indptr[0], shape=(6, 5))
            return jax.lax.psum(A @ x[0] if gathered else x[0] @ A, "i")

        run = jax.shard_map(part, mesh=mesh(), in_specs=(P("i"), P("i"), P("i"), P("i")), out_specs=P())
        return jnp.sum(jnp.sin(run(data, stacked.indices, stacked.indptr, x)))

    def expected(data: jax.Array) -> jax.Array:
        matrices = [todense(data[i], *small(i)[1:], 5) for i in range(4)]
        return jnp.sum(jnp.sin(sum(m @ x[i] if gathered else x[i] @ m for i, m in enumerate(matrices))))

    assert_close(jax.jit(jax.value_and_grad(total))(stacked.data), jax.value_and_grad(expected)(stacked.data))


@kinds
@weights
@meshes
def test_jit_over_a_sharded_batch(kind: str, homogeneous: bool, axis: AxisType) -> None:
    A, x = example(homogeneous=homogeneous), spikes(6, lanes=(8,))
    sharded = jax.device_put(x, jax.NamedSharding(mesh(axis), P("i")))

    def step(data: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        out = events(x, kind) @ A.with_data(data)
        return jnp.sum(jnp.sin(out)), out

    with jax.set_mesh(mesh(axis)):
        compiled = jax.jit(jax.value_and_grad(step, has_aux=True)).lower(A.data, sharded).compile()
        got = compiled(A.data, sharded)
    assert "all-gather" not in str(compiled.as_text())
    expected = jax.jit(jax.value_and_grad(step, has_aux=True))(A.data, x)
    for mine, other in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert_close(mine, other)
    assert_close(got[0][1], through(jnp.asarray(x), kind != "valued") @ dense(A.data))


@meshes
@pytest.mark.parametrize("product", ["spikes @ A", "A @ spikes"])
def test_vmap_over_a_sharded_batch_gathers_nothing(product: str, axis: AxisType) -> None:
    A = example()
    x = spikes(6 if product == "spikes @ A" else 5, lanes=(8,))

    def loss(x: jax.Array) -> jax.Array:
        return jnp.sum(jnp.sin(jax.vmap(lambda v: v @ A if product == "spikes @ A" else A @ v)(x)))

    matrix = dense(A.data) if product == "spikes @ A" else dense(A.data).T
    with jax.set_mesh(mesh(axis)):
        sharded = jax.device_put(x, jax.NamedSharding(mesh(axis), P("i")))
        compiled = jax.jit(jax.value_and_grad(loss)).lower(sharded).compile()
        got = compiled(sharded)
    assert "all-gather" not in str(compiled.as_text())
    assert_close(got, jax.value_and_grad(lambda x: jnp.sum(jnp.sin(x @ matrix)))(jnp.asarray(x)))
