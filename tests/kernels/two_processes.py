"""One of two processes, with two devices each, that divide a matrix between all four; a program, run by a test.

``python -m tests.kernels.two_processes <process> <port>``
"""

import re
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType

from spikax_kernels import CSR, BinaryArray

P = jax.P


def place(mesh: jax.sharding.Mesh, array: Any, spec: Any) -> jax.Array:
    return jax.make_array_from_callback(array.shape, jax.NamedSharding(mesh, spec), lambda index: array[index])


def agree(got: jax.Array, expected: Any) -> None:
    """Assert that the pieces that this process has are those of what is expected."""
    assert len(got.sharding.device_set) == 4
    for shard in got.addressable_shards:
        np.testing.assert_allclose(shard.data, expected[shard.index], rtol=1e-5, atol=1e-5)


def main(kind: AxisType) -> None:
    rng = np.random.default_rng(0)
    dense = np.where(rng.random((128, 8)) < 0.2, rng.normal(size=(128, 8)), 0).astype(np.float32)
    x = np.where(rng.random(128) < 0.3, rng.normal(size=128), 0).astype(np.float32)
    mesh = jax.make_mesh((4,), ("i",), axis_types=(kind,))
    with jax.set_mesh(mesh):
        S, events = CSR.from_dense(dense).shard(mesh, "i"), place(mesh, x, P("i"))
        compiled = jax.jit(lambda S, x: BinaryArray(x) @ S).lower(S, events).compile()
        gathered = re.findall(r"= (\w+\[[\d,]*)\S* all-gather\(", str(compiled.as_text()))
        assert gathered == ["u32[4,1"], gathered
        agree(compiled(S, events), (x != 0) @ dense)
        agree(jax.jit(lambda S, x: S @ x)(S, place(mesh, x[:8], P("i"))), dense @ x[:8])

        def loss(S: Any, x: jax.Array) -> jax.Array:
            return jnp.sum(jnp.sin(x @ S))

        by_matrix, by_events = jax.jit(jax.grad(loss, (0, 1), allow_int=True))(S, events)
        cosine = np.cos(x @ dense)
        agree(by_events, dense @ cosine)
        agree(jax.jit(lambda S, g: S.with_data(g).todense())(S, by_matrix.data), np.outer(x, cosine) * (dense != 0))


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
