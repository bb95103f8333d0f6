"""One of two processes, with two devices each, that divide operators between all four; a program, run by a test.

``python -m tests.core.two_processes <process> <port>``
"""

import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType

from tests.core.divided import LINE, SQUARE, P, Placed, W, X, divisible, left_in_place, mesh_of, product, rng, vecmat
from tests.core.operators import Function


def place(mesh: jax.sharding.Mesh, array: Any, spec: Any) -> jax.Array:
    return jax.make_array_from_callback(array.shape, jax.NamedSharding(mesh, spec), lambda index: array[index])


def check(mesh: jax.sharding.Mesh, function: Function, expected: Any, large: Any, *placed: Placed) -> None:
    """Assert that the pieces that this process has are those of the expected results, and nothing large moved."""
    with jax.set_mesh(mesh):
        operands = [place(mesh, array, spec) for array, spec in placed]
        compiled = jax.jit(function).lower(*operands).compile()
        left_in_place(compiled, large)
        outs = jax.tree.leaves(compiled(*operands))
        for out, whole in zip(outs, jax.tree.leaves(expected), strict=True):
            assert len(out.sharding.device_set) == 4
            for shard in out.addressable_shards:
                np.testing.assert_allclose(shard.data, np.asarray(whole)[shard.index], rtol=1e-5, atol=1e-5)


def scatter(indices: jax.Array, weights: jax.Array, spikes: jax.Array) -> jax.Array:
    return jnp.zeros(5, weights.dtype).at[indices].add(jnp.where(spikes[:, None], weights, 0))


def main(kind: AxisType) -> None:
    line, square = mesh_of(kind, LINE), mesh_of(kind, SQUARE)
    operator, cosine = vecmat(), np.cos(X @ W)

    def gradient(x: jax.Array, w: jax.Array) -> Any:
        return jax.grad(lambda x, w: jnp.sum(jnp.sin(operator(x, w))), (0, 1))(x, w)

    for mesh, spec in ((line, P("d")), (line, P(None, "d")), (square, P("a", "b")), (square, P(("b", "a")))):
        check(mesh, operator, X @ W, W, (X, P()), (W, spec))
        check(mesh, gradient, (W @ cosine, np.outer(X, cosine)), W, (X, P()), (W, spec))

    batch, spikes = rng.normal(size=(64, 8)).astype(np.float32), rng.random(16) < 0.5
    matmat = divisible("matmat", product, "b i, i k -> b k", reduce="sum")
    check(line, matmat, batch @ W, batch, (batch, P("d")), (W, P()))

    indices, weights = rng.integers(0, 5, (16, 12)).astype(np.int32), rng.normal(size=(16, 12)).astype(np.float32)
    expected = np.zeros(5, np.float32)
    np.add.at(expected, indices[spikes], weights[spikes])
    fixed = divisible("fixed_number", scatter, "i k, i k, i -> n", reduce="sum")
    check(square, fixed, expected, weights, (indices, P("a", "b")), (weights, P("a", "b")), (spikes, P("a")))


if __name__ == "__main__":
    process, port = map(int, sys.argv[1:])
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.config.update("jax_numpy_dtype_promotion", "strict")
    jax.distributed.initialize(f"localhost:{port}", 2, process, initialization_timeout=60)
    assert (jax.process_count(), jax.local_device_count(), jax.device_count()) == (2, 2, 4)
    for axes in (AxisType.Auto, AxisType.Explicit):
        main(axes)
    jax.distributed.shutdown()
    sys.stdout.write("all agree\n")
