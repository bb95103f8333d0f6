"""The specification of ``random_columns``: sort each row, draw again what came twice, until nothing does."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from spikax_kernels.ops.random_columns.philox import high, philox


class _Rows(NamedTuple):
    """How many columns each row draws, where they begin among all, and the row of each (``rows`` for padding)."""

    length: jax.Array
    begin: jax.Array
    row: jax.Array


def reference(
    key: jax.Array, lengths: jax.Array, *, rows: int, entries: int, cols: int, replace: bool, loops: bool
) -> jax.Array:
    """The columns of each row: of its stream of draws, the first distinct ones, in ascending order."""
    pool = max(cols - (not loops), 0)
    if rows == 0 or entries == 0 or pool == 0:
        return jnp.full(entries, cols, jnp.int32)
    stored = _rows(lengths if lengths.size else jnp.full(rows, entries // rows, jnp.int32), entries)
    count = stored.length if replace else jnp.minimum(stored.length, pool)
    # A row that takes more than half of the columns draws those that it leaves out.
    inverted = jnp.zeros(rows, bool) if replace else count > pool // 2
    drawn = _rows(jnp.where(inverted, pool - count, count), entries)
    values = _draw_all(key, drawn, pool, rows, replace)

    row = stored.row
    at = jnp.arange(entries, dtype=jnp.int32) - stored.begin[row]
    column = values.at[drawn.begin[row] + at].get(mode="clip")
    if not replace:
        column = jnp.where(inverted[row], at + _left_out(values, drawn, row, at), column)
    column = column if loops else jnp.where(column >= row, column + 1, column)
    return jnp.where((row < rows) & (at < count[row]), column, cols)


def ends_of(length: jax.Array, entries: int) -> jax.Array:
    """Where each row ends among the entries: rows of no length, or that have no room left, are empty."""
    ends: jax.Array = jax.lax.associative_scan(lambda a, b: jnp.minimum(a + b, entries), jnp.clip(length, 0, entries))
    return ends


def _rows(length: jax.Array, entries: int) -> _Rows:
    ends = ends_of(length, entries)
    begin = jnp.concatenate([jnp.zeros(1, ends.dtype), ends])
    row = jnp.searchsorted(ends, jnp.arange(entries, dtype=ends.dtype), side="right").astype(jnp.int32)
    return _Rows(jnp.diff(begin), begin, row)


def _draw(key: jax.Array, row: jax.Array, number: jax.Array, pool: int) -> jax.Array:
    """Draw ``number`` of the stream of a row: uniform in ``[0, pool)``, or ``pool`` for one that does not count."""
    number = number.astype(jnp.uint32)
    zero = jnp.zeros_like(number)
    words = philox((number >> 2, row.astype(jnp.uint32), zero, zero), (key[0], key[1]))
    word = jnp.select([(number & 3) == i for i in range(3)], list(words[:3]), words[3])
    # Lemire, "Fast random integer generation in an interval" (ACM TOMACS 29:3, 2019): without this rejection some
    # columns would be likelier than others.
    size = jnp.uint32(pool)
    rejected = word * size < jnp.uint32((1 << 32) % pool)
    return jnp.where(rejected, pool, high(word, size).astype(jnp.int32))


def _draw_all(key: jax.Array, rows: _Rows, pool: int, count: int, replace: bool) -> jax.Array:
    """The draws that count, ``[entries]``: ascending in each row."""

    def check(values: jax.Array) -> tuple[jax.Array, jax.Array]:
        _, values = jax.lax.sort((rows.row, values), num_keys=2)
        again = values == pool
        if not replace:
            same = (values[1:] == values[:-1]) & (rows.row[1:] == rows.row[:-1])
            again |= jnp.concatenate([jnp.zeros(1, bool), same])
        return values, again & (rows.row < count)

    def draw_again(state: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        values, again, used = state
        count = again.astype(used.dtype)
        before = jnp.cumsum(count) - count
        number = used[rows.row] + before - before[rows.begin[rows.row]]
        values = jnp.where(again, _draw(key, rows.row, number, pool), values)
        used = used.at[rows.row].add(count, mode="drop")
        return *check(values), used

    place = jnp.arange(rows.row.size, dtype=rows.begin.dtype)
    values = _draw(key, rows.row, place - rows.begin[rows.row], pool)
    state = (*check(values), rows.length)
    drawn: jax.Array = jax.lax.while_loop(lambda state: state[1].any(), draw_again, state)[0]
    return drawn


def _left_out(values: jax.Array, rows: _Rows, row: jax.Array, at: jax.Array) -> jax.Array:
    """How many of the columns that ``row`` drew stand before its column number ``at`` among those it did not draw."""
    begin = rows.begin[row]

    def halve(_: int, bounds: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = bounds
        middle = (low + high) // 2
        before = values.at[begin + middle].get(mode="clip") - middle <= at
        return jnp.where((low < high) & before, middle + 1, low), jnp.where((low < high) & ~before, middle, high)

    count: jax.Array = jax.lax.fori_loop(0, 32, halve, (jnp.zeros_like(at), rows.length[row]))[0]
    return count
