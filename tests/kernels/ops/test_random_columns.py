"""The operator against the definition, one draw at a time with Python's integers."""

import itertools
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikax_kernels import ShapeError
from spikax_kernels.ops.random_columns import op
from spikax_kernels.ops.random_columns.philox import high, philox
from tests.kernels._oracle import NATIVE

random_columns: Any = op.random_columns  # of NumPy's arrays, too
MASK = 2**32 - 1
WORD = st.integers(0, MASK)
BACKENDS = (NATIVE[0], "reference")
backends = pytest.mark.parametrize("backend", BACKENDS)
DRAWS_AGAIN = ("cpp", "reference")  # the CUDA kernel draws nothing twice, and has less room for columns


def philox_of_integers(counter: tuple[int, ...], key: tuple[int, ...]) -> tuple[int, ...]:
    c, k = list(counter), list(key)
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k[0], b & MASK, (a >> 32) ^ c[3] ^ k[1], a & MASK]
        k = [(k[0] + 0x9E3779B9) & MASK, (k[1] + 0xBB67AE85) & MASK]
    return tuple(c)


def stream(key: tuple[int, ...], row: int, size: int) -> Iterator[int]:
    """Uniform in [0, size): what a word is mapped to, unless it is one of the few that would favour some numbers."""
    for block in itertools.count():
        for word in philox_of_integers((block, row, 0, 0), key):
            if word * size % 2**32 >= 2**32 % size:
                yield word * size >> 32


def row_of(key: tuple[int, ...], row: int, length: int, cols: int, *, replace: bool, loops: bool) -> list[int]:
    others = [column for column in range(cols) if loops or column != row][: cols if loops else max(cols - 1, 0)]
    if not others:
        return [cols] * length
    draws = stream(key, row, len(others))
    if replace:
        return sorted(others[next(draws)] for _ in range(length))
    take = min(length, len(others))
    drawn: set[int] = set()
    inverted = take > len(others) // 2
    while len(drawn) < (len(others) - take if inverted else take):
        drawn.add(next(draws))
    chosen = [column for i, column in enumerate(others) if (i in drawn) != inverted]
    return chosen + [cols] * (length - take)


def oracle(key: Any, lengths: Any, entries: int, cols: int, **options: bool) -> list[int]:
    words = tuple(int(word) for word in key)
    rows = [row_of(words, row, int(length), cols, **options) for row, length in enumerate(lengths)]
    flat = [column for row in rows for column in row]
    return flat + [cols] * (entries - len(flat))


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((MASK, MASK, MASK, MASK), (MASK, MASK), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
    ids=["zeros", "ones", "pi"],
)
@pytest.mark.parametrize("xp", [np, jnp], ids=["numpy", "jax"])
def test_philox_gives_the_published_words(counter: Any, key: Any, words: Any, xp: Any) -> None:
    # From kat_vectors of Random123, the authors' own implementation.
    def arrays(values: Any) -> Any:
        return tuple(xp.array([value], xp.uint32) for value in values)

    assert tuple(int(word[0]) for word in philox(arrays(counter), arrays(key))) == words
    assert philox_of_integers(counter, key) == words


@given(WORD, WORD)
def test_the_upper_half_of_a_product_is_that_of_python(a: int, b: int) -> None:
    assert int(high(np.array([a], np.uint32), np.array([b], np.uint32))[0]) == a * b >> 32


# Few shapes, because each is a program of its own.
@settings(max_examples=80)
@given(
    st.lists(st.integers(0, 6), min_size=7, max_size=7),
    st.tuples(WORD, WORD),
    st.sampled_from([0, 1, 6, 33]),
    st.booleans(),
    st.booleans(),
)
def test_each_row_has_the_first_distinct_numbers_of_its_stream(
    numbers: list[int], words: tuple[int, int], cols: int, replace: bool, loops: bool
) -> None:
    lengths, key = np.array(numbers, np.int32), np.array(words, np.uint32)
    expected = oracle(key, lengths, 42, cols, replace=replace, loops=loops)
    for backend in BACKENDS:
        if backend not in DRAWS_AGAIN and replace:
            continue
        got = random_columns(key, lengths, rows=7, entries=42, cols=cols, replace=replace, loops=loops, backend=backend)
        assert got.tolist() == expected, backend


SHAPES = [(3, 0, 5), (0, 4, 5), (9, 5, 10), (9, 6, 10), (50, 63, 64), (2, 64, 128), (3, 3, 10_000), (2, 9, 9_300)]


@pytest.mark.parametrize(
    ("backend", "rows", "length", "cols"),
    [(NATIVE[0], *shape) for shape in SHAPES] + [("reference", *shape) for shape in SHAPES[:4]],
)
@pytest.mark.parametrize(("replace", "loops"), [(False, True), (False, False), (True, True)])
def test_rows_of_one_length_need_no_lengths(
    backend: str, rows: int, length: int, cols: int, replace: bool, loops: bool
) -> None:
    if replace and backend not in DRAWS_AGAIN:
        pytest.skip("it draws nothing twice")
    key, equal, options = np.array([3, 5], np.uint32), np.zeros(0, np.int32), {"replace": replace, "loops": loops}
    got = random_columns(key, equal, rows=rows, entries=rows * length, cols=cols, backend=backend, **options)
    assert got.tolist() == oracle(key, [length] * rows, rows * length, cols, **options)


@pytest.mark.parametrize("cols", [2**31 - 1, 3 * 2**29])
def test_columns_may_be_as_many_as_32_bits_number(cols: int) -> None:
    key = np.array([8, 9], np.uint32)
    got = [
        random_columns(key, np.array([3, 2], np.int32), rows=2, entries=5, cols=cols, loops=True, backend=backend)
        for backend in (None, "reference")
    ]
    np.testing.assert_array_equal(*got)
    draws = [stream((8, 9), row, cols) for row in (0, 1)]
    assert got[0].tolist() == sorted(next(draws[0]) for _ in range(3)) + sorted(next(draws[1]) for _ in range(2))


@backends
def test_lengths_that_do_not_fit_are_cut(backend: str) -> None:
    key = np.array([1, 2], np.uint32)
    lengths = np.array([-5, 3, np.iinfo(np.int32).min, 6, np.iinfo(np.int32).max, 2, np.iinfo(np.int32).max], np.int32)
    got = random_columns(key, lengths, rows=7, entries=20, cols=9, backend=backend)
    assert got.tolist() == oracle(key, [0, 3, 0, 6, 11, 0, 0], 20, 9, replace=False, loops=True)


@backends
def test_a_batch_of_keys_is_one_call_for_each(backend: str) -> None:
    keys = jnp.array([[0, 1], [2, 3], [4, 5]], jnp.uint32)
    lengths = jnp.array([2, 0, 5], jnp.int32)

    def draw(key: jax.Array) -> Any:
        return random_columns(key, lengths, rows=3, entries=7, cols=8, backend=backend)

    expected = [oracle(key, [2, 0, 5], 7, 8, replace=False, loops=True) for key in np.asarray(keys)]
    assert jax.jit(jax.vmap(draw))(keys).tolist() == expected


@backends
def test_it_is_the_same_in_64_bits(backend: str) -> None:
    key, lengths = np.array([1, 2], np.uint32), np.array([2, 4, 9], np.int32)
    with jax.enable_x64(True):
        got = random_columns(key, lengths, rows=3, entries=16, cols=11, loops=False, backend=backend)
    assert got.dtype == jnp.int32
    assert got.tolist() == oracle(key, lengths, 16, 11, replace=False, loops=False)


def test_it_does_not_depend_on_the_number_of_threads() -> None:
    program = """
import hashlib, numpy as np
from spikax_kernels.ops.random_columns.op import random_columns
key, lengths = np.array([1, 2], np.uint32), np.arange(2000, dtype=np.int32) % 90
columns = random_columns(key, lengths, rows=2000, entries=int(lengths.sum()), cols=3000)
print(hashlib.sha256(np.asarray(columns).tobytes()).hexdigest())
"""
    digests = {
        subprocess.check_output([sys.executable, "-c", program], text=True, env={"NPROC": threads}, timeout=120)
        for threads in ("1", "2", "7")
    }
    assert len(digests) == 1


def test_operands_that_do_not_fit_are_errors() -> None:
    key, lengths = jnp.zeros(2, jnp.uint32), jnp.zeros(3, jnp.int32)
    call: Any
    for call, message in (
        (lambda: random_columns(key[:1], lengths, rows=3, entries=0, cols=1), r"key: got uint32\[1\]"),
        (lambda: random_columns(lengths[:2], lengths, rows=3, entries=0, cols=1), r"key: got int32\[2\]"),
        (lambda: random_columns(key, lengths, rows=4, entries=0, cols=1), r"got int32\[3\]; expected int32\[4\]"),
        (lambda: random_columns(key, lengths[:0], rows=3, entries=4, cols=1), "got 4 for 3 equal rows"),
        (lambda: random_columns(key, lengths, rows=3, entries=0, cols=2**31), "cols: got 2147483648"),
    ):  # fmt: skip
        with pytest.raises(ShapeError, match=message):
            call()
