"""Only type-checked: what a client of spikax_kernels infers."""

from typing import assert_type

import jax
import jax.numpy as jnp
import numpy as np

import spikax_kernels
from spikax_kernels import CSR, BinaryArray

A = CSR(jnp.ones(3), np.array([0, 2, 1]), np.array([0, 2, 3]), shape=(2, 3))
spikes = jnp.array([True, False])
assert_type(A, CSR)
assert_type(CSR.from_dense(np.eye(2)), CSR)
assert_type(A.with_data(0.5), CSR)
assert_type(A.todense(), jax.Array)
assert_type(A.data, jax.Array)
assert_type(A.shape, tuple[int, int])
assert_type(A.nse, int)

assert_type(spikes @ A, jax.Array)
assert_type(A @ jnp.ones(3), jax.Array)
assert_type(A @ np.ones(3), jax.Array)
assert_type(BinaryArray(jnp.ones(2)) @ A, jax.Array)

events = BinaryArray(jnp.ones((2, 2)))
assert_type(events[0], BinaryArray)
assert_type(events.T, BinaryArray)
assert_type(events.value, jax.Array)
assert_type(2 * events, jax.Array)
assert_type(events > 0, jax.Array)

error: Exception = spikax_kernels.NativeLibraryError("…")
assert_type(spikax_kernels.__version__, str)
