"""Every operation of every format, under ``jit``, on thousands of drawn matrices: what SciPy and NumPy make of them.

Entries may repeat, be in any order, and lie out of range, where they are dropped. All numbers are small integers, and
divisors powers of two, so results are exact. For a format all matrices have the same shapes, so it is compiled once.
"""

import functools
from collections.abc import Callable
from typing import Any

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import numpy as np
import scipy.sparse

from spikax_kernels import COO, CSC, CSR, BinaryArray, Dense, FixedNumPerPost, FixedNumPerPre
from tests.kernels._oracle import Array
from tests.kernels.formats._formats import entries, formats, weighted

N_PRE, N_POST, NSE = 5, 4, 11
MAJORS = {FixedNumPerPre: (N_PRE, N_POST), FixedNumPerPost: (N_POST, N_PRE)}

Values = dict[str, Array]
Operation = tuple[Callable[[Any, Any, Values], Any], Callable[[Any, Any, Values], Any]]
"""What it is in ours, and with arrays of SciPy."""

OPERATIONS: dict[str, Operation] = {
    "x @ A": (lambda A, B, v: v["x"] @ A, lambda a, b, v: v["x"] @ a),
    "A @ y": (lambda A, B, v: A @ v["y"], lambda a, b, v: a @ v["y"]),
    "bool @ A": (lambda A, B, v: v["active x"] @ A, lambda a, b, v: (v["x"] != 0) @ a),
    "A @ bool": (lambda A, B, v: A @ v["active y"], lambda a, b, v: a @ (v["y"] != 0)),
    "binary @ A": (lambda A, B, v: BinaryArray(v["x"]) @ A, lambda a, b, v: (v["x"] != 0) @ a),
    "A @ binary": (lambda A, B, v: A @ BinaryArray(v["y"]), lambda a, b, v: a @ (v["y"] != 0)),
    "X @ A": (lambda A, B, v: v["X"] @ A, lambda a, b, v: v["X"] @ a),
    "A @ X.T": (lambda A, B, v: A @ v["X"][:, :N_POST].T, lambda a, b, v: a @ v["X"][:, :N_POST].T),
    "binary batch @ A": (lambda A, B, v: BinaryArray(v["X"]) @ A, lambda a, b, v: (v["X"] != 0) @ a),
    "A.T @ x": (lambda A, B, v: A.T @ v["x"], lambda a, b, v: a.T @ v["x"]),
    "todense": (lambda A, B, v: A.todense(), lambda a, b, v: a.toarray()),
    "tocsr": (lambda A, B, v: A.tocsr(), lambda a, b, v: a.tocsr()),
    "tocsc": (lambda A, B, v: A.tocsc(), lambda a, b, v: a.tocsc()),
    "tocoo": (lambda A, B, v: A.tocoo(), lambda a, b, v: a.tocoo()),
    "to_bcoo": (lambda A, B, v: A.to_bcoo().todense(), lambda a, b, v: a.toarray()),
    "to_bcsr": (lambda A, B, v: CSR.from_bcsr(A.to_bcsr()), lambda a, b, v: a),
    "T": (lambda A, B, v: A.T, lambda a, b, v: a.T),
    "sum_duplicates": (lambda A, B, v: A.sum_duplicates(nse=20), lambda a, b, v: a),
    "-A": (lambda A, B, v: -A, lambda a, b, v: -a),
    "abs": (lambda A, B, v: abs(A), lambda a, b, v: abs(a)),
    "A * number": (lambda A, B, v: A * v["number"], lambda a, b, v: a * v["number"]),
    "A / number": (lambda A, B, v: A / v["divisor"], lambda a, b, v: a / v["divisor"]),
    "A * dense": (lambda A, B, v: A * v["D"], lambda a, b, v: a.toarray() * v["D"]),
    "A * row": (lambda A, B, v: A * v["y"], lambda a, b, v: a.toarray() * v["y"]),
    "A / dense": (lambda A, B, v: A / v["divisors"], lambda a, b, v: a.toarray() / v["divisors"]),
    "A + dense": (lambda A, B, v: A + v["D"], lambda a, b, v: a.toarray() + v["D"]),
    "dense - A": (lambda A, B, v: v["D"] - A, lambda a, b, v: v["D"] - a.toarray()),
    "A + B": (lambda A, B, v: A.add(B, nse=25), lambda a, b, v: a + b),
    "A - B": (lambda A, B, v: A.add(-B, nse=25), lambda a, b, v: a - b),
    "A * B": (lambda A, B, v: A.multiply(B, nse=20), lambda a, b, v: a * b),
    "A * A": (lambda A, B, v: A.multiply(A, nse=20), lambda a, b, v: a * a),
    "sum": (lambda A, B, v: A.sum(), lambda a, b, v: a.sum()),
    "sum(0)": (lambda A, B, v: A.sum(0), lambda a, b, v: a.sum(0)),
    "sum(1)": (lambda A, B, v: A.sum(1), lambda a, b, v: a.sum(1)),
    "diagonal": (lambda A, B, v: A.diagonal(), lambda a, b, v: a.diagonal()),
    "diagonal(-1)": (lambda A, B, v: A.diagonal(-1), lambda a, b, v: a.diagonal(-1)),
    "A[i]": (lambda A, B, v: A[v["i"]], lambda a, b, v: a.toarray()[v["i"]]),
    "A[i, j]": (lambda A, B, v: A[v["i"], v["j"]], lambda a, b, v: a.toarray()[v["i"], v["j"]]),
    "A[rows]": (lambda A, B, v: A[v["rows"]], lambda a, b, v: a.toarray()[v["rows"]]),
    "A[:, j]": (lambda A, B, v: A[:, v["j"]], lambda a, b, v: a.toarray()[:, v["j"]]),
    "A[1:3]": (lambda A, B, v: A[1:3], lambda a, b, v: a.toarray()[1:3]),
    "slice_rows": (lambda A, B, v: A.slice_rows(v["rows"], nse=36), lambda a, b, v: a.tocsr()[v["rows"]]),
}
GROUPED: dict[str, Operation] = {
    "x @ dual": (lambda A, B, v: v["x"] @ A.with_dual(), lambda a, b, v: v["x"] @ a),
    "dual @ y": (lambda A, B, v: A.with_dual() @ v["y"], lambda a, b, v: a @ v["y"]),
    "dual @ bool": (lambda A, B, v: A.with_dual() @ v["active y"], lambda a, b, v: a @ (v["y"] != 0)),
    "sort_indices": (lambda A, B, v: A.sort_indices(), lambda a, b, v: a),
}


def operations_of(kind: Any) -> dict[str, Operation]:
    return OPERATIONS | (GROUPED if hasattr(kind, "with_dual") else {})


@functools.cache
def compiled(kind: Any) -> Any:
    """All operations at once; JAX compiles it for each of the shapes that weights may have."""
    table = operations_of(kind)

    def run(A: Any, B: Any, values: Values) -> Any:
        sampled = A.with_data(A.sddmm(values["x"], values["y"]))
        return {name: ours(A, B, values) for name, (ours, _) in table.items()}, sampled, A.nnz

    return jax.jit(run)


def integers(shape: Any, low: int = -3, high: int = 3) -> Any:
    return hnp.arrays(np.int32, shape, elements=st.integers(low, high))


@st.composite
def matrices(draw: st.DrawFn, kind: Any, homogeneous: bool) -> Any:
    """A matrix of the format; indices from one below the range to one above."""
    if kind is Dense:
        return Dense(draw(integers((N_PRE, N_POST))).astype(np.float32))
    majors, minors = MAJORS.get(kind, (N_PRE, N_POST) if kind is not CSC else (N_POST, N_PRE))
    places = (majors, 3) if kind in MAJORS else (NSE,)
    data = draw(integers(1 if homogeneous else places)).astype(np.float32)
    indices = draw(integers(places, -1, minors))
    if kind in MAJORS:
        return kind(data, indices, shape=(N_PRE, N_POST), check=False)
    if kind is COO:
        return COO(data, draw(integers(places, -1, majors)), indices, shape=(N_PRE, N_POST), check=False)
    indptr = np.append(0, np.sort(draw(integers(majors, 0, NSE)))).astype(np.int32)
    return kind(data, indices, indptr, shape=(N_PRE, N_POST), check=False)


@st.composite
def operands(draw: st.DrawFn) -> Values:
    """What matrices meet."""
    x, y = (draw(integers(n)).astype(np.float32) for n in (N_PRE, N_POST))
    return {
        "x": x,
        "y": y,
        "active x": x != 0,
        "active y": y != 0,
        "X": draw(integers((3, N_PRE))).astype(np.float32),
        "D": draw(integers((N_PRE, N_POST))).astype(np.float32),
        "divisors": (2.0 ** draw(integers((N_PRE, N_POST)))).astype(np.float32),
        "number": np.float32(draw(st.integers(-3, 3))),
        "divisor": np.float32(draw(st.sampled_from([-2.0, 0.5, 4.0]))),
        "i": np.int32(draw(st.integers(-N_PRE, N_PRE - 1))),
        "j": np.int32(draw(st.integers(-N_POST, N_POST - 1))),
        "rows": draw(integers(3, -N_PRE, N_PRE - 1)),
    }


def of_scipy(A: Any) -> Any:
    data, row, col = entries(A)
    return scipy.sparse.coo_array((data, (row, col)), shape=A.shape).tocsr()


def as_array(result: Any) -> Array:
    """A dense array, in which what a matrix of ours stores is summed up by NumPy."""
    if hasattr(result, "shape") and hasattr(result, "nse") and hasattr(result, "T"):
        return of_scipy(result).toarray()
    return result.toarray() if scipy.sparse.issparse(result) else np.asarray(result)


@formats
@weighted
def test_every_operation_is_that_of_scipy(kind: Any, homogeneous: bool) -> None:
    @hypothesis.settings(max_examples=180, derandomize=True)
    @hypothesis.given(matrices(kind, homogeneous), matrices(kind, False), operands())
    def check(A: Any, B: Any, values: Values) -> None:
        results, sampled, nnz = jax.device_get(compiled(kind)(A, B, values))
        a, b = of_scipy(A), of_scipy(B)
        for name, (_, theirs) in operations_of(kind).items():
            np.testing.assert_array_equal(as_array(results[name]), as_array(theirs(a, b, values)), err_msg=name)
        # Entries at one place all have the product of that place; those out of range have none.
        ones = np.ones(sampled.data.shape, np.float32)
        stored = of_scipy(A.with_data(ones)).toarray()
        expected = np.outer(values["x"], values["y"]) * stored
        np.testing.assert_array_equal(as_array(sampled), expected)
        assert np.sum(sampled.data, dtype=float) == expected.sum()
        assert nnz == stored.sum()

    check()
