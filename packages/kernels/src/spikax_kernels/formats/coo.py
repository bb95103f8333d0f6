"""``COO``: a sparse matrix as a list of entries, each with its row and its column."""

from __future__ import annotations

from typing import Any, ClassVar, final

import jax
import jax.numpy as jnp
import numpy as np

from spikax_kernels._errors import ShapeError
from spikax_kernels._random import Weight
from spikax_kernels.formats import _entries, _product
from spikax_kernels.formats._structure import (
    Axes,
    as_shape,
    as_structure,
    as_weights,
    check_indices,
    check_weights,
    first_outside,
    is_known,
    outside,
)
from spikax_kernels.formats.matrix import SparseMatrix
from spikax_kernels.ops._reference import take
from spikax_kernels.ops.coo.op import coo
from spikax_kernels.ops.sddmm.op import sddmm


@final
@jax.tree_util.register_pytree_with_keys_class
class COO(SparseMatrix):
    """A sparse matrix of shape ``(n_pre, n_post)`` whose entries stand in any order.

    The format to build and to combine matrices in. Products visit all entries; for event-driven ones, use
    :meth:`tocsr`.

    Args:
        data: Weights: one for all entries, of shape ``()`` or ``(1,)``, or one each, ``[nse]``.
        row: The row of each entry, ``int32`` or ``int64[nse]``.
        col: The column of each entry, likewise.
        shape: ``(n_pre, n_post)``.
        check: Whether to check the values of ``row`` and ``col`` where they are known. An entry out of range that is
            not found is dropped.

    Raises:
        ShapeError: Arrays or ``shape`` do not fit each other.
        DTypeError: Structure that is not ``int32`` or ``int64``, or weights that are not real numbers.
        StructureError: A row or column out of range; the message names the entry.

    Example:
        >>> import jax.numpy as jnp
        >>> from spikax_kernels import COO
        >>> A = COO(jnp.array([1.0, 2.0, 4.0]), jnp.array([1, 0, 1]), jnp.array([0, 0, 1]), shape=(2, 2))
        >>> jnp.array([False, True]) @ A
        Array([1., 4.], dtype=float32)
    """

    __slots__ = ("col", "data", "row", "shape")

    arrays: ClassVar[tuple[str, ...]] = ("data", "row", "col")

    data: jax.Array
    row: jax.Array
    col: jax.Array
    shape: tuple[int, int]

    def __init__(self, data: Any, row: Any, col: Any, *, shape: tuple[int, int], check: bool = True) -> None:
        shape = as_shape(shape)
        for name, at, size in (("row", row, shape[0]), ("col", col, shape[1])):
            check_indices(name, at, 1)
            if check and is_known(at):
                wrong = first_outside(np.asarray(at), size)
                if wrong is not None:
                    raise outside(Axes("entry", "row" if name == "row" else "column"), wrong, at[wrong], size, name)
        if row.shape != col.shape:
            raise ShapeError(f"row and col: got shapes {row.shape} and {col.shape}; expected as many of each")
        check_weights(data, row.shape)
        self._set(shape, as_weights(data), as_structure("row", row), as_structure("col", col))

    @classmethod
    def random(
        cls,
        key: jax.Array,
        shape: tuple[int, int],
        *,
        density: float | None = None,
        fan_out: int | None = None,
        fan_in: int | None = None,
        weight: Weight = 1.0,
        allow_self: bool = True,
        replace: bool = False,
    ) -> COO:
        """Draw who connects to whom: the entries of ``CSR.random`` of the same arguments, in the same order.

        Example:
            >>> import jax
            >>> from spikax_kernels import COO
            >>> COO.random(jax.random.key(0), (10, 20), fan_in=5)
            COO(shape=(10, 20), nse=100, dtype=float32, homogeneous)
        """
        from spikax_kernels.formats.csr import CSR  # which imports this module

        return CSR.random(
            key,
            shape,
            density=density,
            fan_out=fan_out,
            fan_in=fan_in,
            weight=weight,
            allow_self=allow_self,
            replace=replace,
        ).tocoo()

    @property
    def _entries(self) -> Any:
        return self.row

    def _places(self) -> tuple[Any, Any]:
        return _entries.on_pair(self.row, self.col)

    @property
    def T(self) -> COO:  # noqa: N802  (NumPy's name)
        """The transpose, over the same arrays."""
        return COO._of(self.shape[::-1], self.data, self.col, self.row)

    def tocoo(self) -> COO:
        """This matrix, as it is."""
        return self

    def sort_indices(self) -> COO:
        """The same matrix, its entries row by row, by columns within each; last those out of range."""
        return self.tocsr().tocoo()

    @property
    def has_sorted_indices(self) -> jax.Array:
        """Whether entries stand row by row and by columns within each, a scalar."""
        later = (self.row[1:] == self.row[:-1]) & (self.col[1:] >= self.col[:-1])
        return jnp.all(later | (self.row[1:] > self.row[:-1]))

    @classmethod
    def _exactly(cls, A: COO, nse: int | None, name: str) -> COO:
        return A

    @classmethod
    def _like(cls, A: SparseMatrix) -> COO:
        return A.tocoo()

    def _multiply(self, x: _product.Events, *, left: bool, backend: str | None) -> jax.Array:
        data, x = _product.promote(self.data, x)
        dtype = _product.result_dtype(self.row, self.col)
        places = (array.astype(dtype) for array in (self.row, self.col))
        data, row, col = (_product.with_lanes(array, x.array) for array in (data, *places))
        if not left:
            row, col = col, row
        return coo(data, row, col, x.array, size=self.shape[left], binary=x.binary, backend=backend)

    def _sample(self, y: _product.Events, x: _product.Events, dtype: Any) -> jax.Array:
        # Each entry is a row of its own, of length one, whose value is that of the row it stands in.
        rows, none = take(y.array, self.row), jnp.zeros(0, self.col.dtype)
        return sddmm(rows, x.array, self.col, none, dtype=dtype, binary=(y.binary, x.binary))
