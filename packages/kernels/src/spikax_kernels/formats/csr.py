"""``CSR``: a sparse matrix compressed by rows."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, final

import jax

from spikax_kernels.formats import _convert, _indexing
from spikax_kernels.formats._compressed import Compressed
from spikax_kernels.formats.coo import COO
from spikax_kernels.formats.csc import CSC
from spikax_kernels.formats.matrix import SparseMatrix


@final
@jax.tree_util.register_pytree_with_keys_class
class CSR(Compressed):
    """A sparse matrix of shape ``(n_pre, n_post)``, compressed by rows: row ``i`` holds the synapses of neuron ``i``.

    ``spikes @ A`` delivers events: it visits the rows of active neurons and nothing else. ``A @ x`` lets each row
    collect. Both are differentiable with respect to the weights and the events. Rows need not be sorted and may hold
    an entry twice (they add). All arrays are leaves, so a matrix passes through ``jit``, ``vmap``, ``scan``,
    ``shard_map`` and ``jax.tree.map`` like any array.

    Args:
        data: Weights: one for all entries, of shape ``()`` or ``(1,)``, or one each, ``[nse]``.
        indices: The column of each entry, ``int32`` or ``int64[nse]``.
        indptr: Where each row begins among the entries, ``int32`` or ``int64[n_pre + 1]``.
        shape: ``(n_pre, n_post)``.
        check: Whether to check the values of ``indices`` and ``indptr`` where they are known. Values that are not
            (inside ``jit``), or not checked, can do no harm: an entry out of range is dropped.

    Raises:
        ShapeError: Arrays or ``shape`` do not fit each other.
        DTypeError: Structure that is not ``int32`` or ``int64``, or weights that are not real numbers.
        StructureError: A column out of range, or row pointers that decrease; the message names the row.

    Example:
        >>> import jax.numpy as jnp
        >>> from spikax_kernels import CSR
        >>> A = CSR(jnp.array([1.0, 2.0, 4.0]), jnp.array([0, 2, 1]), jnp.array([0, 2, 3]), shape=(2, 3))
        >>> jnp.array([True, True]) @ A
        Array([1., 4., 2.], dtype=float32)
        >>> A @ jnp.array([1.0, 10.0, 100.0])
        Array([201.,  40.], dtype=float32)
    """

    __slots__ = ()

    major: ClassVar[Literal[0, 1]] = 0
    _scipy: ClassVar[Literal["csr"]] = "csr"

    @property
    def T(self) -> CSC:  # noqa: N802  (NumPy's name)
        """The transpose, over the same arrays."""
        return CSC._of(self.shape[::-1], *self._values())

    def tocsr(self) -> CSR:
        """This matrix, as it is."""
        return self

    @classmethod
    def from_scipy(cls, matrix: Any) -> CSR:
        """The entries of a sparse matrix or array of SciPy, in the order it has them.

        Example:
            >>> import numpy as np, scipy.sparse
            >>> from spikax_kernels import CSR
            >>> CSR.from_scipy(scipy.sparse.eye_array(3, dtype=np.float32))
            CSR(shape=(3, 3), nse=3, dtype=float32, heterogeneous)
        """
        rows = matrix.tocsr()
        return cls(rows.data, rows.indices, rows.indptr, shape=rows.shape)

    @classmethod
    def from_bcsr(cls, matrix: Any) -> CSR:
        """The matrix over the arrays of a ``jax.experimental.sparse.BCSR``."""
        return _convert.from_bcsr(matrix)

    @classmethod
    def _exactly(cls, A: COO, nse: int | None, name: str) -> CSR:
        return A.tocsr()

    @classmethod
    def _like(cls, A: SparseMatrix) -> CSR:
        return A.tocsr()

    def _some_rows(self, rows: Any, nse: int | None) -> CSR:
        return _indexing.csr_rows(self, rows, nse)
