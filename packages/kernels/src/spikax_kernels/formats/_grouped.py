"""Entries in lists, one for each row or one for each column: what CSR, CSC and the FixedNum formats share."""

from __future__ import annotations

import abc
from typing import Any, ClassVar, Literal, Self

import jax
import jax.numpy as jnp

from spikax_kernels.formats import _convert, _entries, _product
from spikax_kernels.formats._dual import Dual, build, multiply
from spikax_kernels.formats._structure import Axes
from spikax_kernels.formats.matrix import SparseMatrix
from spikax_kernels.ops.rows import take_rows
from spikax_kernels.ops.sddmm.op import sddmm


class Grouped(SparseMatrix):
    """A matrix stored as lists along its major axis, each entry with its index along the minor one.

    Attributes:
        indices: The position of each entry along the minor axis.
        dual: The same entries in lists along the minor axis, see :meth:`with_dual`; or ``None``.
        major: The axis that has a list for each position: 0 if rows are lists, 1 if columns are.
    """

    __slots__ = ()

    major: ClassVar[Literal[0, 1]]

    indices: jax.Array
    dual: Dual | None

    @property
    def _entries(self) -> Any:
        return self.indices

    @property
    @abc.abstractmethod
    def _pointers(self) -> Any:
        """Where each list begins; of length 0 if all lists are of one length."""

    @property
    def _axes(self) -> Axes:
        return Axes("row", "column") if self.major == 0 else Axes("column", "row")

    @property
    def _lengths(self) -> tuple[int, int]:
        """The lengths of the major and the minor axis."""
        return self.shape[self.major], self.shape[1 - self.major]

    def _lists(self) -> tuple[Any, Any]:
        """The list and the index of each entry; NumPy's where they are known."""
        lists = _entries.lists_of(self._pointers, self.nse, self._lengths[0])
        (indices,) = _entries.on_host(self.indices)
        return lists, indices.reshape(-1)

    def _places(self) -> tuple[Any, Any]:
        lists, indices = self._lists()
        return (lists, indices) if self.major == 0 else (indices, lists)

    def _multiply(self, x: _product.Events, *, left: bool, backend: str | None) -> jax.Array:
        data, x = _product.promote(self.data, x)
        majors, minors = self._lengths
        deliver = left == (self.major == 0)
        if self.dual is not None and not deliver:
            return multiply(self, data, x, backend)
        arrays = data, self.indices, self._pointers
        if deliver:
            return _product.deliver(*arrays, x, size=minors, backend=backend)
        return _product.collect(*arrays, x, size=majors, backend=backend)

    def _dense_rows(self, rows: jax.Array) -> jax.Array:
        if self.major == 1:
            return super()._dense_rows(rows)
        data = self.data.reshape(-1)
        return take_rows(data, self.indices.reshape(-1), jnp.asarray(self._pointers), rows, shape=self.shape)

    def _sample(self, y: _product.Events, x: _product.Events, dtype: Any) -> jax.Array:
        first, second = (y, x) if self.major == 0 else (x, y)
        binary = first.binary, second.binary
        return sddmm(first.array, second.array, self.indices, self._pointers, dtype=dtype, binary=binary)

    def with_data(self, data: Any) -> Self:
        """The same structure with other weights: one for all entries, of shape ``()`` or ``(1,)``, or one each.

        A dual that the matrix carries gets them, too.
        """
        A = self._with(data)
        return A if A.dual is None else A._carrying(A.dual.with_data(A.data))

    def with_dual(self) -> Self:
        """The same matrix, with its entries grouped the other way, too, so that both products are event-driven.

        Without it, one of ``x @ A`` and ``A @ x`` visits the lists of active events, the other visits all entries. The
        dual costs as much memory as the matrix, but one weight for all is not copied. Building it sorts the entries.
        :meth:`with_data` keeps it in step; changing leaves by hand, as ``jax.tree.map`` of an optimiser over a whole
        matrix does, leaves it behind. The gradient of either product is with respect to ``data``.

        Example:
            >>> import jax.numpy as jnp
            >>> from spikax_kernels import CSR
            >>> A = CSR.from_dense(jnp.array([[1.0, 2.0], [4.0, 0.0]])).with_dual()
            >>> A @ jnp.array([True, False])
            Array([1., 4.], dtype=float32)
        """
        self._check_alone()
        return self._carrying(build(*self._lists(), self._lengths, self.data))

    def _carrying(self, dual: Dual | None) -> Self:
        return self._of(self.shape, *(dual if name == "dual" else getattr(self, name) for name in self.arrays))

    @property
    def has_sorted_indices(self) -> jax.Array:
        """Whether the indices of no list decrease, a scalar; looked at anew each time, at the cost of all entries."""
        lists, indices = self._lists()
        return jnp.all((lists[1:] != lists[:-1]) | (indices[1:] >= indices[:-1]))

    def sort_indices(self) -> Self:
        """The same matrix with each of its lists in ascending order; equal indices keep theirs.

        Example:
            >>> import jax.numpy as jnp
            >>> from spikax_kernels import CSR
            >>> A = CSR(jnp.array([1.0, 2.0]), jnp.array([1, 0]), jnp.array([0, 2]), shape=(1, 2)).sort_indices()
            >>> A.indices, A.data
            (Array([0, 1], dtype=int32), Array([2., 1.], dtype=float32))
        """
        self._check_alone()
        lists, indices = self._lists()
        order = _entries.namespace(indices, lists).lexsort((indices, lists))
        data = _convert.permuted(self.data, order)
        (sorted_indices,) = _convert.device("sort_indices", indices[order].reshape(self.indices.shape))
        data = data if _convert.is_shared(data) else data.reshape(self.indices.shape)
        arrays = {"data": data, "indices": sorted_indices, "dual": None}
        A = self._of(self.shape, *(arrays.get(name, getattr(self, name)) for name in self.arrays))
        return A if self.dual is None else A.with_dual()
