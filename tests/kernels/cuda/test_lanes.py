"""How the CUDA kernels find the elements of a lane, and how many threads have a row."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikax_core import BackendRefusedError
from spikax_kernels.ops import _cuda
from spikax_kernels.ops.gather import gpu

AXES = 4  # that the kernels can tell apart


def offsets(packed: Any, operands: int) -> tuple[int, list[list[int]]]:
    """The number of lanes and where each begins in each operand, by the layout in ``include/operands.cuh``."""
    count, lengths, steps = packed[0], packed[1 : 1 + AXES], packed[1 + AXES :].reshape(operands, AXES)
    places = [np.unravel_index(lane, lengths) for lane in range(count)]
    return int(count), [[int(np.dot(place, step)) for place in places] for step in steps]


def broadcast(shape: tuple[int, ...], size: int, full: tuple[int, ...]) -> list[int]:
    """The same, by NumPy: each lane holds where it begins."""
    begins = np.arange(math.prod(shape)).reshape(shape) * size
    return [int(begin) for begin in np.broadcast_to(begins, full).ravel()]


@st.composite
def lanes(draw: st.DrawFn) -> tuple[tuple[int, ...], list[tuple[tuple[int, ...], int]]]:
    """Lane axes, and the lane axes of operands that broadcast to them, with the size of what each has in a lane."""
    full = tuple(draw(st.lists(st.integers(0, 4), max_size=6)))
    operands = []
    for _ in range(draw(st.integers(1, 4))):
        shared = draw(st.lists(st.booleans(), min_size=len(full), max_size=len(full)))
        shape = tuple(1 if one else length for one, length in zip(shared, full, strict=True))
        operands.append((shape, draw(st.integers(0, 5))))
    return full, operands


@settings(max_examples=300)
@given(lanes())
def test_each_lane_begins_where_numpy_broadcasts_it_to(
    drawn: tuple[tuple[int, ...], list[tuple[tuple[int, ...], int]]],
) -> None:
    full, operands = drawn
    try:
        packed = _cuda.pack_lanes(full, _cuda.strides(full, operands), len(operands))
    except BackendRefusedError:
        assert sum(length != 1 for length in full) > AXES  # fewer are never refused
        return
    count, begins = offsets(packed, len(operands))
    assert count == math.prod(full)
    assert begins == [broadcast(shape, size, full) for shape, size in operands]


def packed_lengths(full: tuple[int, ...], *shapes: tuple[int, ...]) -> list[int]:
    packed = _cuda.pack_lanes(full, _cuda.strides(full, [(shape, 3) for shape in shapes]), len(shapes))
    return [int(length) for length in packed[1 : 1 + AXES]]


def test_axes_that_all_operands_have_or_share_become_one() -> None:
    assert packed_lengths((2, 3, 5, 7, 2), (2, 3, 5, 7, 2), (1, 1, 1, 1, 1)) == [1, 1, 1, 420]
    assert packed_lengths((2, 3, 5, 7, 2), (2, 3, 1, 1, 1), (1, 1, 5, 7, 2)) == [1, 1, 6, 70]
    assert packed_lengths((2, 1, 3), (2, 1, 1), (1, 1, 3)) == [1, 1, 2, 3]
    assert packed_lengths(()) == [1, 1, 1, 1]


def test_more_axes_than_the_kernels_have_are_refused() -> None:
    full = (2, 2, 2, 2, 2)
    with pytest.raises(BackendRefusedError, match=r"got 32 lanes along 5 axes; expected less than .* along 4"):
        packed_lengths(full, (2, 1, 2, 1, 2), (1, 2, 1, 2, 1))


def test_more_lanes_than_32_bits_count_are_refused() -> None:
    assert packed_lengths((2**31 - 1,), (2**31 - 1,)) == [1, 1, 1, 2**31 - 1]
    with pytest.raises(BackendRefusedError, match="got 2147483648 lanes"):
        packed_lengths((2**16, 2**15), (2**16, 1), (1, 2**15))


def test_operands_are_described_by_their_lane_axes() -> None:
    shapes = [(1, 3, 8), (2, 1, 5), (2, 3, 4)]
    count, packed = _cuda.describe_lanes(*(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes))
    assert (count, offsets(packed, 3)) == (6, (6, [broadcast(shape[:-1], shape[-1], (2, 3)) for shape in shapes]))


entries = st.integers(0, 2**31 - 1)
rows = st.integers(0, 2**24)


@given(rows, entries)
def test_as_few_threads_have_a_row_as_leave_each_four_entries(rows: int, entries: int) -> None:
    threads = gpu.group(rows, entries)
    mean = math.ceil(entries / max(rows, 1))
    assert threads in (1, 2, 4, 8, 16, 32)
    assert 4 * threads >= mean or threads == 32
    assert threads == 1 or 4 * (threads // 2) < mean


@pytest.mark.parametrize(
    ("mean", "threads"), [(0, 1), (4, 1), (5, 2), (8, 2), (9, 4), (80, 32), (64, 16), (65, 32), (10**6, 32)]
)
def test_threads_of_a_row_for_some_lengths(mean: int, threads: int) -> None:
    assert gpu.group(100, 100 * mean) == threads


@given(rows, entries, st.integers(0, 2**16))
def test_rows_are_cut_only_while_the_gpu_has_room_and_slices_are_long(rows: int, entries: int, lanes: int) -> None:
    parts = gpu.slices(rows, entries, lanes)
    assert 1 <= parts <= _cuda.MOST_ALONG_YZ
    # Not where rows are short: a slice of the mean row has at least 1024 entries.
    assert parts == 1 or entries / max(rows, 1) / parts >= 1024
    # Nor where there are warps enough without: one slice fewer would leave some of the 4096 idle.
    assert parts == 1 or (parts - 1) * max(rows * lanes, 1) < 4096


def test_slices_for_some_matrices() -> None:
    assert gpu.slices(1, 10**6, 1) == 976
    assert gpu.slices(1, 10**9, 1) == 4096
    assert gpu.slices(4096, 10**9, 1) == 1
    assert gpu.slices(1024, 10**9, 2) == 2
    assert gpu.slices(0, 0, 0) == 1
