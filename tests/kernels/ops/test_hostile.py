"""Structure that describes no matrix, where it cannot be checked: nothing outside is touched, the rest is right."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikax_core import use_backend
from spikax_kernels import ShapeError
from spikax_kernels.ops.coo.op import coo
from tests.kernels._oracle import COMPRESSED, NATIVE, OPERATORS, Array, Operator, assert_close, coo_value, spikes

ROWS, COLS, ENTRIES = 40, 30, 200
each = pytest.mark.parametrize("operator", COMPRESSED, ids=lambda operator: operator.name)
backends = pytest.mark.parametrize("backend", [*NATIVE, "reference"])
widths = pytest.mark.parametrize("index", ["int32", "int64"])


def arguments(operator: Operator, indices: Array, indptr: Array) -> tuple[tuple[Any, ...], dict[str, Any]]:
    ones = np.ones(len(indices), np.float32)
    if operator.name == "sddmm":
        kind = {"dtype": jnp.dtype("float32"), "lanes": (), "binary": (False, False)}
        return (np.ones(ROWS, np.float32), spikes(COLS), indices, indptr), kind
    if operator.name == "scatter":
        return (ones, indices, indptr, np.ones(ROWS, bool)), {"cols": COLS, "binary": True}
    return (ones, indices, indptr, np.ones(COLS, bool)), {"rows": ROWS, "binary": True}


def run(operator: Operator, backend: str, indices: Array, indptr: Array) -> Array:
    args, kind = arguments(operator, indices, indptr)
    with use_backend(backend), jax.enable_x64(indptr.dtype == np.int64):
        return np.asarray(jax.jit(lambda *args: operator.call(*args, **kind))(*args))


def wild(size: int, index: str, seed: int) -> Array:
    """Any values at all, many of them extreme."""
    rng, most = np.random.default_rng(seed), np.iinfo(index)
    extreme = rng.choice(
        np.array([most.min, most.min + 1, -COLS, -1, 0, COLS - 1, COLS, most.max - 1, most.max], index), size
    )
    return np.where(rng.random(size) < 0.5, extreme, rng.integers(0, COLS, size)).astype(index)


def pointers(index: str, seed: int) -> Array:
    return np.sort(np.append(0, np.random.default_rng(seed).integers(0, ENTRIES, ROWS))).astype(index)


@each
@backends
@widths
def test_columns_out_of_range_are_dropped(operator: Operator, backend: str, index: str) -> None:
    indices, indptr = wild(ENTRIES, index, 0), pointers(index, 1)
    args, kind = arguments(operator, indices, indptr)
    assert_close(run(operator, backend, indices, indptr), operator.value(*args, **kind))


@each
@backends
@widths
def test_columns_out_of_range_are_dropped_from_rows_of_one_length(operator: Operator, backend: str, index: str) -> None:
    indices, none = wild(ENTRIES, index, 0), np.zeros(0, index)
    args, kind = arguments(operator, indices, none)
    assert_close(run(operator, backend, indices, none), operator.value(*args, **kind))


@each
@pytest.mark.parametrize("entries", [ENTRIES - 1, ENTRIES + 1])
def test_entries_that_do_not_divide_among_rows_of_one_length_are_refused(operator: Operator, entries: int) -> None:
    with pytest.raises(ShapeError, match=f"indices: got {entries} entries for {ROWS} rows of one length"):
        run(operator, NATIVE[0], np.zeros(entries, np.int32), np.zeros(0, np.int32))


@each
def test_a_rectangle_of_entries_is_checked(operator: Operator) -> None:
    for shape, pointers, message in (
        ((ROWS + 1, 5), 0, rf"indices: got shape \({ROWS + 1}, 5\) for {ROWS} rows, with 0 row pointers"),
        ((ROWS, 5), ROWS + 1, f"with {ROWS + 1} row pointers in 1 axes; expected as many axes as indptr"),
        ((2, ROWS, 5), 0, rf"indices: got shape \(2, {ROWS}, 5\)"),
    ):
        args, kind = arguments(operator, np.zeros(1, np.int32), np.zeros(pointers, np.int32))
        at = 2 if operator.name == "sddmm" else 1
        args = (*args[:at], np.zeros(shape, np.int32), *args[at + 1 :])
        with pytest.raises(ShapeError, match=message):
            operator.call(*args, **kind)


@backends
@widths
def test_rows_and_columns_out_of_range_are_dropped_from_coordinates(backend: str, index: str) -> None:
    row: Any = wild(ENTRIES, index, 0)
    col: Any = wild(ENTRIES, index, 1)
    events: Any = np.ones(ROWS, bool)
    ones = np.ones(ENTRIES, np.float32)
    with use_backend(backend), jax.enable_x64(index == "int64"):
        got = jax.jit(lambda *args: coo(*args, size=COLS))(ones, row, col, events)
        gradient = jax.grad(lambda data: coo(data, row, col, events, size=COLS).sum())(jnp.asarray(ones))
    assert_close(got, coo_value(ones, row, col, events, size=COLS, binary=True))
    inside = (row >= 0) & (row < ROWS) & (col >= 0) & (col < COLS)
    np.testing.assert_array_equal(gradient, inside)


@each
@backends
@widths
@pytest.mark.parametrize("first", [0, -5, 7], ids="begins at {}".format)
def test_row_pointers_that_reach_too_far_are_clamped(operator: Operator, backend: str, index: str, first: int) -> None:
    indices, indptr = np.arange(ENTRIES, dtype=index) % COLS, pointers(index, 2)
    indptr = np.maximum(indptr, first)
    indptr[0] = first
    indptr[-3:] = [ENTRIES + 1, ENTRIES + 100, np.iinfo(index).max]
    args, kind = arguments(operator, indices, indptr.astype(index))
    assert_close(run(operator, backend, indices, indptr), operator.value(*args, **kind))


@each
@backends
@widths
@pytest.mark.parametrize("seed", range(5))
def test_row_pointers_of_any_value_do_no_harm(operator: Operator, backend: str, index: str, seed: int) -> None:
    indptr = wild(ROWS + 1, index, seed)
    indptr[seed::3] = np.random.default_rng(seed).integers(0, ENTRIES, len(indptr[seed::3]))
    got = run(operator, backend, wild(ENTRIES, index, seed + 9), indptr)
    assert np.all(np.isfinite(got))
    if operator.name != "sddmm":
        # No more than every entry once in every row.
        assert np.all((got >= 0) & (got <= ROWS * ENTRIES))


@each
@widths
def test_rows_whose_pointers_fall_are_empty(operator: Operator, index: str) -> None:
    indptr = pointers(index, 3)
    indptr[10] = ENTRIES  # so row 10 falls from there; row 9 takes all that is left
    indices = np.arange(ENTRIES, dtype=index) % COLS
    got = run(operator, NATIVE[0], indices, indptr)
    if operator.name == "gather":
        lengths = np.diff(indptr)
        np.testing.assert_array_equal(got, np.maximum(lengths, 0))
    assert np.all(np.isfinite(got))


@each
def test_large_hostile_structure_on_many_threads(operator: Operator) -> None:
    rng = np.random.default_rng(5)
    entries = 500_000
    indices = rng.integers(-COLS, 2 * COLS, entries, dtype=np.int32)
    indptr = rng.integers(-100, entries + 100, ROWS + 1, dtype=np.int32)
    got = run(operator, NATIVE[0], indices, indptr)
    assert np.all(np.isfinite(got))
    np.testing.assert_array_equal(got, run(operator, NATIVE[0], indices, indptr))


@pytest.mark.parametrize("operator", OPERATORS[:2], ids=lambda operator: operator.name)
def test_an_inactive_event_contributes_nothing_whatever_the_weight(operator: Operator) -> None:
    indices, indptr = np.array([0, 1, 0, 1], np.int32), np.array([0, 2, 4], np.int32)
    weights = {
        "scatter": np.array([np.inf, np.nan, 1, 2], np.float32),  # row 0 is inactive
        "gather": np.array([np.inf, 1, np.nan, 2], np.float32),  # column 0 is inactive
    }[operator.name]
    kind = {"cols" if operator.name == "scatter" else "rows": 2}
    for events in (np.array([0.0, -1.0], np.float32), np.array([-0.0, np.nan], np.float32), np.array([False, True])):
        for backend in (*NATIVE, "reference"):
            with use_backend(backend):
                got = operator.call(weights, indices, indptr, events, binary=True, **kind)
            np.testing.assert_array_equal(got, [1, 2])


def test_an_event_without_partner_makes_no_nan_in_the_outer_product() -> None:
    y, x = np.array([0.0, 1.0], np.float32), np.array([np.inf, 0.0], np.float32)
    indices, indptr = np.array([0, 1, 0, 1], np.int32), np.array([0, 2, 4], np.int32)
    for backend in (*NATIVE, "reference"):
        with use_backend(backend):
            got = OPERATORS[2].call(y, x, indices, indptr, dtype=jnp.float32)
        np.testing.assert_array_equal(got, [0, 0, np.inf, 0])
