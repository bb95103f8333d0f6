"""The dual of a matrix: its entries grouped the other way, so that both products visit only what events reach."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from spikax_kernels.formats import _entries, _product
from spikax_kernels.formats._convert import is_shared
from spikax_kernels.formats._structure import as_structure

if TYPE_CHECKING:
    from spikax_kernels.formats._grouped import Grouped


class Dual(NamedTuple):
    """Lists along the minor axis of a matrix.

    Attributes:
        data: The weights in the order of these lists; ``None`` if the matrix has one for all entries.
        indices: The position of each entry along the major axis.
        indptr: Where each list begins.
        order: The entry of the matrix that each of these is.
    """

    data: jax.Array | None
    indices: jax.Array
    indptr: jax.Array
    order: jax.Array

    def with_data(self, data: jax.Array) -> Dual:
        """The same lists with other weights of the matrix."""
        # A copy, because fetching weights through `order` at each product costs 2 to 11 times the product.
        return self._replace(data=None if is_shared(data) else data.reshape(-1)[self.order])


def build(major: Any, minor: Any, lengths: tuple[int, int], data: jax.Array) -> Dual:
    """The dual of the entries at these positions."""
    order, indices, indptr = _entries.by_rows(minor, major, lengths[::-1])
    arrays = [as_structure("dual", array) for array in (indices, indptr, order)]
    return Dual(None, *arrays).with_data(data)


class _Call(NamedTuple):
    """What is static in a product."""

    size: int
    binary: bool
    backend: str | None


def multiply(A: Grouped, data: jax.Array, x: _product.Events, backend: str | None) -> jax.Array:
    """Events along the minor axis, delivered by the lists of the dual; ``data`` are the weights of ``A``, promoted."""
    dual, size = A.dual, A._lengths[0]
    assert dual is not None  # the caller asked
    if dual.data is None:
        return _product.deliver(data, dual.indices, dual.indptr, x, size=size, backend=backend)
    copy = dual.data.astype(data.dtype)
    call = _Call(size, x.binary, backend)
    return _through(call, data, (A.indices, A._pointers), copy, (dual.indices, dual.indptr), x.array)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _through(call: _Call, data: Any, own: Any, copy: Any, lists: Any, x: Any) -> jax.Array:
    """The product of the copied weights, whose derivative is that by the weights of the matrix.

    So a gradient with respect to a whole matrix is in its ``data``, for both products, and needs no permutation.
    """
    del data, own
    events = _product.Events(x, call.binary)
    indices, indptr = lists
    return _product.deliver(copy, indices, indptr, events, size=call.size, backend=call.backend)


def _tangent(call: _Call, primals: Any, tangents: Any) -> tuple[jax.Array, Any]:
    _, own, copy, lists, x = primals
    by_data, _, _, _, by_x = tangents
    y = _through(call, *primals)
    if not jnp.issubdtype(y.dtype, jnp.inexact):
        return y, np.zeros(y.shape, jax.dtypes.float0)
    t = jnp.zeros_like(y)
    if not _is_zero(by_data):
        events = _product.Events(x, call.binary)
        t += _product.collect(by_data, own[0], own[1], events, size=call.size, backend=call.backend)
    if not _is_zero(by_x):
        # Straight through: the tangent of a binary product is the valued product.
        events = _product.Events(by_x.astype(y.dtype), binary=False)
        t += _product.deliver(copy, lists[0], lists[1], events, size=call.size, backend=call.backend)
    return y, t


def _is_zero(tangent: Any) -> bool:
    return isinstance(tangent, jax.custom_derivatives.SymbolicZero) or tangent.dtype == jax.dtypes.float0


_through.defjvp(_tangent, symbolic_zeros=True)
