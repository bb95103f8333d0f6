"""Lists of entries by their rows and columns: sorted, merged, looked up. In NumPy where the structure is known.

Structure that is known is worked on by NumPy, also inside ``jit``: so it can be counted there, and nothing of it is
traced. Both namespaces have the same functions, so that each step is written once. Entries are ordered by two keys,
never by ``row * n_cols + column``, which needs 64 bits.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from spikax_kernels._errors import StructureError
from spikax_kernels.formats._structure import is_known
from spikax_kernels.ops._reference import accumulator, rows_of

Shape = tuple[int, int]
Index = Any
"""An array of NumPy where the structure is known, else of JAX."""


def on_host(*arrays: Any) -> tuple[Any, ...]:
    """The arrays as NumPy's, if all are known; else as they are."""
    return tuple(map(np.asarray, arrays)) if is_known(*arrays) else arrays


def on_pair(row: Any, column: Any) -> tuple[Index, Index]:
    """The same for two arrays."""
    row, column = on_host(row, column)
    return row, column


def namespace(*arrays: Any) -> Any:
    """``numpy`` for NumPy's arrays, ``jax.numpy`` for JAX's."""
    return np if all(isinstance(array, np.ndarray) for array in arrays) else jnp


def index_dtype(*sizes: int) -> Any:
    """The dtype of indices that reach these sizes: 32 bits where they suffice."""
    return np.int32 if max(sizes, default=0) <= np.iinfo(np.int32).max else np.int64


def widened(index: Index, dtype: Any) -> Index:
    """``index`` in a dtype that also holds what ``dtype`` holds."""
    return index.astype(np.promote_types(index.dtype, dtype))


def is_inside(row: Index, column: Index, shape: Shape) -> Index:
    """Which entries are in range."""
    return (row >= 0) & (row < shape[0]) & (column >= 0) & (column < shape[1])


def send_out(row: Index, column: Index, shape: Shape) -> tuple[Index, Index]:
    """The same places, but all that are out of range are at ``shape``, beyond every other."""
    xp, inside = namespace(row, column), is_inside(row, column, shape)
    # The place just beyond the last one may need more bits than any in range.
    row, column = (widened(at, index_dtype(size)) for at, size in zip((row, column), shape, strict=True))
    return xp.where(inside, row, shape[0]), xp.where(inside, column, shape[1])


class Lists(NamedTuple):
    """Entries grouped by rows: which entry comes when, its column, and where each row begins."""

    order: Index
    column: Index
    indptr: Index


def by_rows(row: Index, column: Index, shape: Shape) -> Lists:
    """The entries row by row, by columns within each, equal ones in the order they had; last those out of range."""
    row, column = send_out(*on_pair(row, column), shape)
    xp = namespace(row, column)
    order = xp.lexsort((column, row))
    dtype = index_dtype(*row.shape)
    indptr = xp.searchsorted(row[order], xp.arange(shape[0] + 1, dtype=row.dtype)).astype(dtype)
    return Lists(order.astype(dtype), column[order], indptr)


def settle(count: Index, nse: int | None, name: str) -> int:
    """How many entries a result holds: ``nse`` if given, else as many as there are.

    Raises:
        StructureError: ``nse`` is too small, or missing where the entries cannot be counted.
    """
    if not is_known(count):
        if nse is None:
            raise StructureError(
                f"{name}: got traced structure, whose entries cannot be counted; pass nse=, or call it outside jit"
            )
        return nse
    if nse is not None and nse < count:
        raise StructureError(f"{name}: got nse={nse} for {int(count)} entries; expected at least as many")
    return int(count) if nse is None else nse


def poison(data: jax.Array, count: Index, nse: int) -> jax.Array:
    """``data``; but all NaN, or the least integer, if there was no room for all entries where none could be counted."""
    if is_known(count):
        return data
    least = jnp.nan if jnp.issubdtype(data.dtype, jnp.floating) else np.iinfo(data.dtype).min
    return jnp.where(count > nse, jnp.asarray(least, data.dtype), data)


def positions(mask: Index, nse: int) -> Index:
    """Where ``mask`` is true: ``nse`` positions, filled up with its length."""
    if isinstance(mask, np.ndarray):
        found = np.flatnonzero(mask)[:nse]
        return np.append(found, np.full(nse - len(found), len(mask))).astype(index_dtype(len(mask)))
    return jnp.nonzero(mask, size=nse, fill_value=mask.shape[0])[0]


def take_or(values: Index, at: Index, fill: int) -> Index:
    """``values[at]``, and ``fill`` where ``at`` is just beyond the end."""
    xp = namespace(values, at)
    return xp.append(values, xp.asarray(fill, values.dtype))[at]


class Merged(NamedTuple):
    """Places without repetition, row by row, and where each of the entries that were given is among them.

    ``entry[k]`` belongs to place ``place[k]``, in ascending order; places beyond the last hold what is out of range.
    """

    row: Index
    column: Index
    entry: Index
    place: Index
    count: Index

    def sum(self, weights: jax.Array) -> jax.Array:
        """The sums of weights that meet at a place, for one weight each of the entries that were given."""
        size = self.row.shape[0]
        wide = jnp.zeros(size, accumulator(weights.dtype))
        # They are in order already, but for what is out of range, which is dropped.
        values = weights[self.entry].astype(wide.dtype)
        total = wide.at[self.place].add(values, mode="drop", indices_are_sorted=True).astype(weights.dtype)
        return poison(total, self.count, size)


def lists_of(indptr: Any, entries: int, lists: int) -> Index:
    """The list that each entry is in: -1 before the first, ``lists`` after the last."""
    if not is_known(indptr):
        return rows_of(indptr, entries, lists)
    (pointers,) = on_host(indptr)
    at = np.arange(entries, dtype=pointers.dtype)
    if pointers.size == 0:
        return at // max(entries // max(lists, 1), 1)
    return (np.searchsorted(pointers, at, side="right") - 1).astype(pointers.dtype)


def is_first(row: Index, column: Index) -> Index:
    """Which entries of a sorted list differ from the one before."""
    xp = namespace(row, column)
    differs = (row[1:] != row[:-1]) | (column[1:] != column[:-1])
    return xp.append(xp.ones(1, bool), differs)[: row.shape[0]]


def merge(row: Index, column: Index, shape: Shape, nse: int | None, name: str) -> Merged:
    """All places that occur, each once; those out of range are left out.

    Raises:
        StructureError: ``nse`` is too small, or missing where the entries cannot be counted.
    """
    row, column = send_out(*on_pair(row, column), shape)
    xp = namespace(row, column)
    entry = xp.lexsort((column, row))
    row, column = row[entry], column[entry]
    inside = row < shape[0]
    first = is_first(row, column) & inside
    count = first.sum()
    size = settle(count, nse, name)
    begin = positions(first, size)
    beyond = xp.asarray(max(size, len(row)), index_dtype(len(row)))
    place = xp.where(inside, (xp.cumsum(first) - 1).astype(beyond.dtype), beyond)
    return Merged(take_or(row, begin, shape[0]), take_or(column, begin, shape[1]), entry, place, count)


def find(row: Index, column: Index, among: tuple[Index, Index]) -> Index:
    """Where each place is among sorted ones without repetition; their number where it is not there."""
    size = among[0].shape[0]
    xp = namespace(row, column, *among)
    rows, columns = xp.concatenate([among[0], row]), xp.concatenate([among[1], column])
    # The sort is stable, so each of `among` comes just before all that are equal to it.
    order = xp.lexsort((columns, rows))
    here = xp.where(order < size, xp.arange(order.shape[0]), 0)
    latest = order[np.maximum.accumulate(here) if xp is np else jax.lax.cummax(here)]
    equal = (latest < size) & (rows[latest] == rows[order]) & (columns[latest] == columns[order])
    found = xp.where(equal, latest, size)
    back = xp.argsort(order)
    return found[back][size:].astype(index_dtype(size))
