"""A matrix cut by targets, one piece for each device: how its entries are divided, and where they are put."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding

from spikax_kernels.formats import _convert, _entries
from spikax_kernels.formats._structure import is_known

if TYPE_CHECKING:
    from spikax_kernels.formats.matrix import SparseMatrix


class Pieces(NamedTuple):
    """The rows of each piece, with a leading axis over pieces; columns count from the first one of the piece."""

    data: Any
    indices: Any
    indptr: Any


def width(size: int, parts: int) -> int:
    """How much of an axis each part has, the last ones perhaps less."""
    return -(-size // parts)


def cut(A: SparseMatrix, parts: int, nse: int | None) -> Pieces:
    """The entries of ``A`` by ranges of columns, row by row in each, padded to as many as the fullest has.

    Raises:
        StructureError: ``nse`` is too small, or missing where the structure is traced.
    """
    row, column = _entries.send_out(*A._places(), A.shape)
    xp, columns = _entries.namespace(row, column), width(A.shape[1], parts)
    part = xp.where(row < A.shape[0], column // max(columns, 1), parts)
    order = xp.lexsort((column, row, part))
    bounds = xp.searchsorted(part[order], xp.arange(parts + 1, dtype=part.dtype))
    longest = xp.max(xp.diff(bounds))
    size = _entries.settle(longest, nse, "shard (on each device)")
    entry = bounds[:-1, None] + xp.arange(size, dtype=bounds.dtype)
    entry = xp.where(entry < bounds[1:, None], entry, A.nse)
    local = xp.where(part < parts, column - part * columns, columns).astype(_entries.index_dtype(columns))
    rows = _entries.take_or(row[order], entry, A.shape[0])
    every = xp.arange(A.shape[0] + 1, dtype=rows.dtype)
    indptr = xp.stack([xp.searchsorted(of_one, every) for of_one in rows]).astype(_entries.index_dtype(size))
    data = A.data
    if not _convert.is_shared(data):
        source = _entries.take_or(order, entry, A.nse)
        (values,) = _entries.on_host(data.reshape(-1))
        values = values if is_known(source) else jnp.asarray(values)
        data = _entries.take_or(values, source if is_known(values) else jnp.asarray(source), 0)
    return Pieces(_entries.poison(data, longest, size), _entries.take_or(local[order], entry, columns), indptr)


def is_explicit(mesh: Mesh, axis: str) -> bool:
    """Whether types say how arrays are sharded over the axis."""
    return bool(mesh.axis_types[mesh.axis_names.index(axis)] == AxisType.Explicit)


def move(x: jax.Array, mesh: Mesh, axis: str, spec: jax.P) -> jax.Array:
    """``x`` sharded like this; inside ``jit``."""
    constrain: Any = jax.sharding.reshard if is_explicit(mesh, axis) else jax.lax.with_sharding_constraint
    moved: jax.Array = constrain(x, NamedSharding(mesh, spec))
    return moved


_moved = jax.jit(move, static_argnums=(1, 2, 3))


def place(x: Any, mesh: Mesh, axis: str, *, whole: bool = False) -> jax.Array:
    """An array with one piece for each device put there, or all of it on each; a process puts what its devices have."""
    spec = jax.P() if whole else jax.P(axis)
    if not is_known(x):
        moved: jax.Array = _moved(x, mesh, axis, spec)
        return moved
    array = np.asarray(x)
    return jax.make_array_from_callback(array.shape, NamedSharding(mesh, spec), lambda index: array[index])
