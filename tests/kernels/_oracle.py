"""What the operators must give: from NumPy and SciPy or JAX's derivative of a dense product, never from themselves."""

import dataclasses
import types
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse

from spikax_kernels.ops.coo import specs as coo_specs
from spikax_kernels.ops.coo.op import coo
from spikax_kernels.ops.dense import specs as dense_specs
from spikax_kernels.ops.dense.op import dense
from spikax_kernels.ops.gather import specs as gather_specs
from spikax_kernels.ops.gather.op import gather
from spikax_kernels.ops.scatter import specs as scatter_specs
from spikax_kernels.ops.scatter.op import scatter
from spikax_kernels.ops.sddmm import specs as sddmm_specs
from spikax_kernels.ops.sddmm.op import sddmm

Array: TypeAlias = Any
"""NumPy's or JAX's: operators and oracles take both."""

ON_GPU = jax.default_backend() == "gpu"
NATIVE = ("cuda", "cuda_deterministic") if ON_GPU else ("cpp",)
"""The backends of compiled kernels where the tests run, the default one first."""


def effective(x: Any, binary: bool) -> Array:
    """What each event multiplies a weight by, in float64."""
    array = np.asarray(x)
    return np.where(array != 0, 1.0 if binary else array.astype(np.float64), 0.0)


def places(indices: Any, indptr: Any, cols: int) -> tuple[Array, Array, Array]:
    """``(entry, row, column)`` of each entry that is in range, for row pointers that never decrease."""
    indices, indptr = np.asarray(indices).astype(np.int64), np.asarray(indptr).astype(np.int64)
    pointers = np.clip(indptr, 0, len(indices))
    entry = np.arange(pointers[0], pointers[-1])
    row, column = np.repeat(np.arange(len(indptr) - 1), np.diff(pointers)), indices[entry]
    inside = (column >= 0) & (column < cols)
    return entry[inside], row[inside], column[inside]


def row_pointers(indices: Any, indptr: Any, rows: int) -> Array:
    """Where each row begins, also where an empty ``indptr`` says that all rows are of one length."""
    return np.asarray(indptr) if np.size(indptr) else np.arange(rows + 1) * (len(indices) // max(rows, 1))


def matrix(data: Any, indices: Any, indptr: Any, cols: int) -> Any:
    """The sparse matrix of SciPy, in float64; entries that are stored twice add."""
    weights = np.broadcast_to(np.asarray(data).astype(np.float64).reshape(-1), np.shape(indices))
    entry, row, column = places(indices, indptr, cols)
    return scipy.sparse.csr_array((weights[entry], (row, column)), shape=(len(indptr) - 1, cols))


def _lanes(function: Callable[..., Array], operands: tuple[Array, ...]) -> Array:
    """``function`` of each lane, where leading axes of the operands broadcast."""
    shape = np.broadcast_shapes(*(operand.shape[:-1] for operand in operands))
    full = [np.broadcast_to(operand, (*shape, operand.shape[-1])) for operand in operands]
    results = [function(*(operand[lane] for operand in full)) for lane in np.ndindex(shape)]
    last = function(*(np.zeros(operand.shape[-1:], operand.dtype) for operand in operands)).shape
    return np.array(results).reshape(*shape, *last)


def scatter_value(data: Array, indices: Array, indptr: Array, x: Array, *, cols: int, binary: bool) -> Array:
    def one(data: Array, indices: Array, indptr: Array, x: Array) -> Array:
        y: Array = effective(x, binary) @ matrix(data, indices, row_pointers(indices, indptr, len(x)), cols)
        return y

    return _lanes(one, (data, indices, indptr, x))


def gather_value(data: Array, indices: Array, indptr: Array, x: Array, *, rows: int, binary: bool) -> Array:
    def one(data: Array, indices: Array, indptr: Array, x: Array) -> Array:
        y: Array = matrix(data, indices, row_pointers(indices, indptr, rows), len(x)) @ effective(x, binary)
        return y

    return _lanes(one, (data, indices, indptr, x))


def sddmm_value(
    y: Array, x: Array, indices: Array, indptr: Array, *, dtype: Any, lanes: tuple[int, ...], binary: tuple[bool, bool]
) -> Array:
    def one(y: Array, x: Array, indices: Array, indptr: Array) -> Array:
        entry, row, column = places(indices, row_pointers(indices, indptr, len(y)), len(x))
        z = np.zeros(len(indices))
        z[entry] = effective(y, binary[0])[row] * effective(x, binary[1])[column]
        return z

    z = _lanes(one, (y, x, indices, indptr))
    return z.sum(tuple(i for i, length in enumerate(lanes) if length == 1), keepdims=True) if lanes else z


def coo_value(data: Array, row: Array, col: Array, x: Array, *, size: int, binary: bool) -> Array:
    def one(data: Array, row: Array, col: Array, x: Array) -> Array:
        weights = np.broadcast_to(data.astype(np.float64), row.shape)
        inside = (row >= 0) & (row < len(x)) & (col >= 0) & (col < size)
        entries = (weights[inside], (row[inside], col[inside]))
        y: Array = effective(x, binary) @ scipy.sparse.csr_array(entries, shape=(len(x), size))
        return y

    return _lanes(one, (data, row, col, x))


def dense_value(weights: Array, x: Array, *, transpose: bool, binary: bool) -> Array:
    by = weights.swapaxes(-1, -2) if transpose else weights
    y: Array = (effective(x, binary)[..., None, :] @ by.astype(np.float64))[..., 0, :]
    return y


@dataclasses.dataclass(frozen=True)
class Operator:
    """An operator, its table of shapes, and what it must give."""

    name: str
    call: Callable[..., jax.Array]
    specs: Any
    value: Callable[..., Array]

    @property
    def target(self) -> str:
        """The name of its native handler."""
        return "spikax_cuda" if ON_GPU else f"spikax_{self.name.split(',')[0]}_cpu"


OPERATORS = (
    Operator("scatter", scatter, scatter_specs, scatter_value),
    Operator("gather", gather, gather_specs, gather_value),
    Operator("sddmm", sddmm, sddmm_specs, sddmm_value),
    Operator("coo", coo, coo_specs, coo_value),
    Operator("dense", dense, dense_specs, dense_value),
    Operator(
        "dense, transposed",
        dense,
        types.SimpleNamespace(SPECS=dense_specs.SPECS, arguments=dense_specs.transposed),
        dense_value,
    ),
)
COMPRESSED = OPERATORS[:3]
"""Those whose matrix is compressed by rows."""


def small(
    seed: int = 0, *, rows: int = 6, cols: int = 5, entries: int = 17, homogeneous: bool = False
) -> tuple[Array, Array, Array]:
    """``(data, indices, indptr)`` of a matrix with an empty row, unsorted rows and an entry that is stored twice."""
    rng = np.random.default_rng(seed)
    indptr = np.sort(np.concatenate([[0], rng.integers(0, entries, rows - 2), [entries]]))
    indptr = np.insert(indptr, 2, indptr[2]).astype(np.int32)
    indices = rng.integers(0, cols, entries).astype(np.int32)
    data = rng.normal(size=1 if homogeneous else entries).astype(np.float32)
    assert len(indptr) == rows + 1
    return data, indices, indptr


def spikes(size: int, seed: int = 0, *, lanes: tuple[int, ...] = ()) -> Array:
    """Values of which about half are active."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random((*lanes, size)) < 0.5, rng.normal(size=(*lanes, size)), 0).astype(np.float32)


def through(x: jax.Array, binary: bool) -> jax.Array:
    """What each event counts as, with the straight-through derivative: that of ``x`` itself."""
    return x + jax.lax.stop_gradient((x != 0).astype(x.dtype) - x) if binary else x


def todense(data: jax.Array, indices: Array, indptr: Array, cols: int) -> jax.Array:
    """The dense matrix, differentiable with respect to ``data``."""
    _, row, column = places(indices, indptr, cols)
    return jnp.zeros((len(indptr) - 1, cols), data.dtype).at[row, column].add(data)


@dataclasses.dataclass(frozen=True)
class Function:
    """An operator as a function of what it can be differentiated by, and the dense product that it must agree with."""

    name: str
    ours: Callable[[Any, Any], jax.Array]
    dense: Callable[[Any, Any], jax.Array]
    args: tuple[Array, Array]


def _products(binary: bool, homogeneous: bool) -> list[Function]:
    data, indices, indptr = small(homogeneous=homogeneous)
    kind = f"{'binary' if binary else 'valued'}, {'homogeneous' if homogeneous else 'per entry'}"
    rows, cols = spikes(6, 1), spikes(5, 2)
    return [
        Function(
            f"scatter, {kind}",
            lambda data, x: scatter(data, indices, indptr, x, cols=5, binary=binary),
            lambda data, x: through(x, binary) @ todense(data, indices, indptr, 5),
            (data, rows),
        ),
        Function(
            f"gather, {kind}",
            lambda data, x: gather(data, indices, indptr, x, rows=6, binary=binary),
            lambda data, x: todense(data, indices, indptr, 5) @ through(x, binary),
            (data, cols),
        ),
        _coordinates(binary, homogeneous, f"coo, {kind}"),
    ]


def _coordinates(binary: bool, homogeneous: bool, name: str) -> Function:
    data, col, indptr = small(homogeneous=homogeneous)
    row = places(col, indptr, 5)[1].astype(np.int32)
    order = np.random.default_rng(5).permutation(len(row))
    row, col = row[order], col[order]
    return Function(
        name,
        lambda data, x: coo(data, row, col, x, size=5, binary=binary),
        lambda data, x: through(x, binary) @ jnp.zeros((6, 5), data.dtype).at[row, col].add(data),
        (data, spikes(6, 1)),
    )


def _full(binary: bool, transpose: bool) -> Function:
    return Function(
        f"dense, {'binary' if binary else 'valued'}, {'transposed' if transpose else 'as it is'}",
        lambda weights, x: dense(weights, x, transpose=transpose, binary=binary),
        lambda weights, x: through(x, binary) @ (weights.T if transpose else weights),
        (spikes(5, 7, lanes=(6,)), spikes(5 if transpose else 6, 8)),
    )


def _sampled(binary: tuple[bool, bool]) -> Function:
    _, indices, indptr = small()
    _, row, column = places(indices, indptr, 5)
    return Function(
        f"sddmm, {binary}",
        lambda y, x: sddmm(y, x, indices, indptr, dtype=jnp.float32, binary=binary),
        lambda y, x: through(y, binary[0])[row] * through(x, binary[1])[column],
        (spikes(6, 3), spikes(5, 4)),
    )


TRUTH = (False, True)
FUNCTIONS = (
    *(function for binary in TRUTH for homogeneous in TRUTH for function in _products(binary, homogeneous)),
    *(_full(binary, transpose) for binary in TRUTH for transpose in TRUTH),
    *(_sampled((y, x)) for y in TRUTH for x in TRUTH),
)


def assert_close(got: Any, expected: Any, tolerance: float = 1e-5) -> None:
    """Equal but for rounding, relative to the largest value of each array; over whole pytrees."""
    got, expected = jax.tree.leaves(got), jax.tree.leaves(expected)
    assert len(got) == len(expected)
    for mine, other in zip(got, expected, strict=True):
        mine, other = np.asarray(mine).astype(np.float64), np.asarray(other).astype(np.float64)
        assert mine.shape == other.shape
        scale = np.max(np.abs(other), initial=0.0, where=np.isfinite(other))
        np.testing.assert_allclose(mine, other, rtol=tolerance, atol=tolerance * max(scale, 1e-30))
