"""One matrix in each format, and what it is: summed up entry by entry from its arrays, in float64."""

from typing import Any

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikax_kernels import COO, CSC, CSR, Dense, FixedNumPerPost, FixedNumPerPre, SparseMatrix
from tests.kernels._oracle import Array, small

FORMATS: tuple[Any, ...] = (CSR, CSC, COO, FixedNumPerPre, FixedNumPerPost, Dense)
SPARSE = FORMATS[:-1]
GROUPED: tuple[Any, ...] = (CSR, CSC, FixedNumPerPre, FixedNumPerPost)
SHAPE = (6, 5)

formats = pytest.mark.parametrize("kind", FORMATS, ids=lambda kind: kind.__name__)
sparse = pytest.mark.parametrize("kind", SPARSE, ids=lambda kind: kind.__name__)
grouped = pytest.mark.parametrize("kind", GROUPED, ids=lambda kind: kind.__name__)
weighted = pytest.mark.parametrize("homogeneous", [False, True], ids=["per entry", "homogeneous"])


def example(kind: Any, seed: int = 0, *, homogeneous: bool = False) -> Any:
    """A matrix of shape ``SHAPE`` with unsorted entries, some of them stored twice; a dense one has zeros instead."""
    rng = np.random.default_rng(seed)
    n_pre, n_post = SHAPE
    if kind is CSR:
        return CSR(*small(seed, homogeneous=homogeneous), shape=SHAPE)
    if kind is CSC:
        return CSC(*small(seed, rows=n_post, cols=n_pre, homogeneous=homogeneous), shape=SHAPE)
    if kind is Dense:
        return Dense(np.where(rng.random(SHAPE) < 0.5, rng.normal(size=SHAPE), 0).astype(np.float32))
    entries = {COO: (17,), FixedNumPerPre: (n_pre, 3), FixedNumPerPost: (n_post, 3)}[kind]
    data = rng.normal(size=1 if homogeneous else entries).astype(np.float32)
    row, col = (rng.integers(0, size, entries).astype(np.int32) for size in SHAPE)
    if kind is COO:
        return COO(data, row, col, shape=SHAPE)
    return kind(data, col if kind is FixedNumPerPre else row, shape=SHAPE)


def entries(A: Any) -> tuple[Array, Array, Array]:
    """``(data, row, col)`` of the entries in range, read from the arrays of each format by its definition."""
    if isinstance(A, Dense):
        row, col = (at.reshape(-1) for at in np.indices(A.data.shape))
    elif isinstance(A, COO):
        row, col = np.asarray(A.row), np.asarray(A.col)
    else:
        indices = np.asarray(A.indices)
        if isinstance(A, (CSR, CSC)):
            indptr = np.clip(np.asarray(A.indptr), 0, indices.size)
            lengths = np.diff(indptr)
            major = np.repeat(np.arange(len(lengths)), lengths)
            indices = indices[: major.size]
        else:
            major = np.repeat(np.arange(indices.shape[0]), indices.shape[1])
            indices = indices.reshape(-1)
        row, col = (major, indices) if isinstance(A, (CSR, FixedNumPerPre)) else (indices, major)
    data = np.asarray(A.data).astype(np.float64).reshape(-1)
    data = data[: row.size] if data.size > 1 else np.full(row.size, data.sum())
    inside = (row >= 0) & (row < A.shape[0]) & (col >= 0) & (col < A.shape[1])
    return data[inside], row[inside], col[inside]


def dense(A: SparseMatrix) -> Array:
    """The matrix as an array in float64."""
    data, row, col = entries(A)
    out = np.zeros(A.shape)
    np.add.at(out, (row, col), data)
    return out


def stack(*matrices: Any) -> Any:
    """One matrix whose leaves have a leading axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *matrices)


# Few shapes, since each is compiled.
SHAPES = [(0, 3, 0), (3, 0, 0), (1, 1, 1), (4, 3, 0), (5, 4, 9), (3, 6, 20)]


def _some(size: int, low: int, high: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(low, high), min_size=size, max_size=size)


@st.composite
def matrices(draw: st.DrawFn, kinds: tuple[Any, ...] = SPARSE, shape: tuple[int, int, int] | None = None) -> Any:
    """Any matrix in any format: unsorted, with entries stored twice, empty rows, and sides of length 0.

    Weights are small integers, so that sums are exact.
    """
    n_pre, n_post, nse = shape or draw(st.sampled_from(SHAPES))
    kind = draw(st.sampled_from(kinds))
    if kind is FixedNumPerPost or kind is CSC:
        transposed = FixedNumPerPre if kind is FixedNumPerPost else CSR
        return draw(matrices((transposed,), (n_post, n_pre, nse))).T
    if kind is FixedNumPerPre:
        k = -(-nse // n_pre) if n_pre and n_post else 0
        indices = np.array(draw(_some(n_pre * k, 0, max(n_post - 1, 0))), np.int32).reshape(n_pre, k)
        return kind(_weights(draw, indices.shape), indices, shape=(n_pre, n_post))
    col = np.array(draw(_some(nse, 0, max(n_post - 1, 0))), np.int32)
    if kind is COO:
        row = np.array(draw(_some(nse, 0, max(n_pre - 1, 0))), np.int32)
        return COO(_weights(draw, (nse,)), row, col, shape=(n_pre, n_post))
    inner = sorted(draw(_some(max(n_pre - 1, 0), 0, nse)))
    indptr = np.array([0, *inner, nse] if n_pre else [0], np.int32)
    return CSR(_weights(draw, (nse,)), col, indptr, shape=(n_pre, n_post))


def _weights(draw: st.DrawFn, entries: tuple[int, ...]) -> Array:
    shape = draw(st.sampled_from([entries, (), (1,)]))
    return np.array(draw(_some(int(np.prod(shape)), -3, 3)), np.float32).reshape(shape)
