"""Only type-checked: what a client of spikax_kernels infers."""

from typing import assert_type

import jax
import jax.numpy as jnp
import numpy as np

import spikax_kernels
from spikax_kernels import COO, CSC, CSR, BinaryArray, Dense, FixedNumPerPost, FixedNumPerPre, SparseMatrix, functional

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

F = FixedNumPerPre(0.5, np.array([[0], [1]]), shape=(2, 3))
assert_type(A.T, CSC)
assert_type(F.T, FixedNumPerPost)
assert_type(F.T.T, FixedNumPerPre)
assert_type(F.tocsr(), CSR)
assert_type(F.tocsc(), CSC)
assert_type(F.tocoo(), COO)
assert_type(F.with_dual(), FixedNumPerPre)
assert_type(-F, FixedNumPerPre)
assert_type(F.astype(jnp.float16), FixedNumPerPre)
assert_type(F.from_dense(np.eye(2)), FixedNumPerPre)
assert_type(Dense(np.eye(2)).T, Dense)
assert_type(A * 2.0, SparseMatrix)
assert_type(A.add(F), SparseMatrix)
assert_type(A.multiply(F, nse=2), SparseMatrix)
assert_type(A.sum(0), jax.Array)
assert_type(A[0], jax.Array)
assert_type(A.slice_rows([0]), SparseMatrix)
assert_type(A.sddmm(spikes, np.ones(3)), jax.Array)
assert_type(functional.csrmv(A.data, A.indices, A.indptr, np.ones(3), shape=A.shape), jax.Array)
assert_type(functional.densemm(np.eye(2), np.eye(2), transpose=True), jax.Array)

events = BinaryArray(jnp.ones((2, 2)))
assert_type(events[0], BinaryArray)
assert_type(events.T, BinaryArray)
assert_type(events.value, jax.Array)
assert_type(2 * events, jax.Array)
assert_type(events > 0, jax.Array)

error: Exception = spikax_kernels.NativeLibraryError("…")
assert_type(spikax_kernels.__version__, str)
