"""What devices do with the pieces of a matrix: each its own, with the events of all, of which only bits are sent."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from spikax_kernels.formats import _cut
from spikax_kernels.formats._product import Events
from spikax_kernels.formats.csr import CSR
from spikax_kernels.ops._reference import is_active

if TYPE_CHECKING:
    from spikax_kernels.formats.sharded import ShardedByPost

WORD = 32


def packed(active: jax.Array) -> jax.Array:
    """``bool[..., n]`` as bits of words, ``uint32[..., ceil(n / 32)]``."""
    words = _cut.width(active.shape[-1], WORD)
    bits = _padded(active, words * WORD).reshape(*active.shape[:-1], words, WORD).astype(jnp.uint32)
    return jnp.sum(bits << jnp.arange(WORD, dtype=jnp.uint32), axis=-1, dtype=jnp.uint32)


def unpacked(words: jax.Array, size: int) -> jax.Array:
    """What :func:`packed` was made of, ``bool[..., size]``."""
    bits = (words[..., None] >> jnp.arange(WORD, dtype=jnp.uint32)) & jnp.uint32(1)
    return is_active(bits.reshape(*words.shape[:-1], words.shape[-1] * WORD)[..., :size])


def _padded(x: jax.Array, size: int) -> jax.Array:
    return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, size - x.shape[-1])]) if x.shape[-1] != size else x


def _gathered(axis: str, x: jax.Array) -> jax.Array:
    every: jax.Array = jax.lax.all_gather(x, axis, axis=x.ndim - 1, tiled=True)
    return every


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _active(axis: str, x: jax.Array) -> jax.Array:
    """Where the events of all devices are active, as 0 and 1; straight through, as if values had been gathered."""
    words = jax.lax.all_gather(packed(is_active(x)), axis, axis=x.ndim - 1)
    every = unpacked(words, x.shape[-1])
    return every.reshape(*x.shape[:-1], -1).astype(x.dtype)


@_active.defjvp
def _active_jvp(axis: str, primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    return _active(axis, *primals), _gathered(axis, *tangents)


def _everywhere(axis: str, x: Events, size: int) -> Events:
    """The events of all devices on each; those beyond ``size`` are padding."""
    array = x.array
    if x.binary and not jnp.issubdtype(array.dtype, jnp.floating):
        array = is_active(array)
    return Events((_active if x.binary else _gathered)(axis, array)[..., :size], x.binary)


Body = Callable[..., jax.Array]
"""What one device does: ``body(piece, *arrays)``, of arrays of which it has its part of the last axis."""


def _run(S: ShardedByPost, body: Body, *arrays: jax.Array, out: jax.P, lanes: tuple[Any, ...] = ()) -> jax.Array:
    """The pieces of all devices together; or that of this device alone where ``shard_map`` has divided them."""
    if S._is_divided():
        return body(_piece(S, S.data, S.indices, S.indptr), *arrays)
    own = jax.P(S.axis)
    specs = (jax.P() if S._is_homogeneous() else own, own, own, *(jax.P(*lanes, S.axis) for _ in arrays))
    operands = (S.data, S.indices, S.indptr, *arrays)
    moved = [_cut.move(x, S.mesh, S.axis, spec) for x, spec in zip(operands, specs, strict=True)]

    def on_one(data: jax.Array, indices: jax.Array, indptr: jax.Array, *arrays: jax.Array) -> jax.Array:
        return body(_piece(S, data, indices, indptr), *arrays)

    y: jax.Array = jax.shard_map(on_one, mesh=S.mesh, in_specs=specs, out_specs=out)(*moved)
    return y


def _piece(S: ShardedByPost, data: jax.Array, indices: jax.Array, indptr: jax.Array) -> CSR:
    shape = S.shape[0], _cut.width(S.shape[1], S._parts)
    return CSR._of(shape, data if S._is_homogeneous() else data[0], indices[0], indptr[0], None)


def _lanes(S: ShardedByPost, x: jax.Array) -> tuple[Any, ...]:
    """How the batch axis of events is sharded, as far as types tell: it stays so."""
    if x.ndim == 1:
        return ()
    names = jax.typeof(x).sharding.spec[0] if _cut.is_explicit(S.mesh, S.axis) else None
    return (None if S.axis in (names if isinstance(names, tuple) else (names,)) else names,)


def _full(S: ShardedByPost, x: jax.Array, side: int) -> jax.Array:
    """``x`` with a part of equal length for each device."""
    return x if S._is_divided() else _padded(x, S._parts * _cut.width(S.shape[side], S._parts))


def _trimmed(S: ShardedByPost, y: jax.Array, side: int) -> jax.Array:
    """``y`` without padding; then no longer sharded where a type would have to tell of parts of unequal length."""
    size = S.shape[side]
    if S._is_divided() or y.shape[-1] == size:
        return y
    if _cut.is_explicit(S.mesh, S.axis):
        y = _cut.move(y, S.mesh, S.axis, jax.P())
    return y[..., :size]


@functools.partial(jax.jit, static_argnames=("binary", "left"))
def product(S: ShardedByPost, x: jax.Array, *, binary: bool, left: bool) -> jax.Array:
    """``x @ S`` if ``left``, else ``S @ x``, for ``x`` whose last axis is multiplied and others are lanes."""
    lanes, rows = _lanes(S, x), S.shape[0]
    if 0 in S.shape:  # which XLA does not divide
        return jnp.zeros((*x.shape[:-1], S._shape_here()[left]), S.dtype)

    def deliver(piece: CSR, x: jax.Array) -> jax.Array:
        return piece._multiply(_everywhere(S.axis, Events(x, binary), rows), left=True, backend=None)

    def collect(piece: CSR, x: jax.Array) -> jax.Array:
        partial = piece._multiply(Events(x, binary), left=False, backend=None)
        padded = _padded(partial, S._parts * _cut.width(rows, S._parts))
        total: jax.Array = jax.lax.psum_scatter(padded, S.axis, scatter_dimension=x.ndim - 1, tiled=True)
        return total

    body, side = (deliver, 0) if left else (collect, 1)
    y = _run(S, body, _full(S, x, side), out=jax.P(*lanes, S.axis), lanes=lanes)
    return _trimmed(S, y, 1 - side)


@functools.partial(jax.jit, static_argnames=("binary", "dtype"))
def sample(S: ShardedByPost, y: jax.Array, x: jax.Array, *, binary: tuple[bool, bool], dtype: Any) -> jax.Array:
    """``y[row] * x[column]`` at the entries of each piece."""
    if 0 in S.shape:
        return jnp.zeros(S.indices.shape, dtype)

    def body(piece: CSR, y: jax.Array, x: jax.Array) -> jax.Array:
        rows = _everywhere(S.axis, Events(y, binary[0]), S.shape[0])
        return piece._sample(rows, Events(x, binary[1]), dtype)[None]

    return _run(S, body, _full(S, y, 0), _full(S, x, 1), out=jax.P(S.axis))


@jax.jit
def todense(S: ShardedByPost) -> jax.Array:
    """The columns of each piece, side by side."""
    return _trimmed(S, _run(S, lambda piece: piece.todense(), out=jax.P(None, S.axis)), 1)
