"""``CSC``: a sparse matrix compressed by columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

import jax

from spikax_kernels.formats._compressed import Compressed
from spikax_kernels.formats.matrix import SparseMatrix

if TYPE_CHECKING:
    from spikax_kernels.formats.coo import COO
    from spikax_kernels.formats.csr import CSR


@final
@jax.tree_util.register_pytree_with_keys_class
class CSC(Compressed):
    """A sparse matrix of shape ``(n_pre, n_post)``, compressed by columns: column ``j`` is what neuron ``j`` receives.

    ``A @ events`` visits the columns of active neurons and nothing else; in ``spikes @ A`` each column collects. It is
    the transpose of a :class:`CSR` over the same arrays.

    Args:
        data: Weights: one for all entries, of shape ``()`` or ``(1,)``, or one each, ``[nse]``.
        indices: The row of each entry, ``int32`` or ``int64[nse]``.
        indptr: Where each column begins among the entries, ``int32`` or ``int64[n_post + 1]``.
        shape: ``(n_pre, n_post)``.
        check: Whether to check the values of ``indices`` and ``indptr`` where they are known.

    Raises:
        ShapeError: Arrays or ``shape`` do not fit each other.
        DTypeError: Structure that is not ``int32`` or ``int64``, or weights that are not real numbers.
        StructureError: A row out of range, or column pointers that decrease; the message names the column.

    Example:
        >>> import jax.numpy as jnp
        >>> from spikax_kernels import CSC
        >>> A = CSC(jnp.array([1.0, 2.0, 4.0]), jnp.array([0, 1, 0]), jnp.array([0, 2, 3]), shape=(2, 2))
        >>> A @ jnp.array([True, True])
        Array([5., 2.], dtype=float32)
    """

    __slots__ = ()

    major: ClassVar[Literal[0, 1]] = 1
    _scipy: ClassVar[Literal["csc"]] = "csc"

    @property
    def T(self) -> CSR:  # noqa: N802  (NumPy's name)
        """The transpose, over the same arrays."""
        from spikax_kernels.formats.csr import CSR  # which imports this module

        return CSR._of(self.shape[::-1], *self._values())

    def tocsc(self) -> CSC:
        """This matrix, as it is."""
        return self

    @classmethod
    def from_scipy(cls, matrix: Any) -> CSC:
        """The entries of a sparse matrix or array of SciPy, in the order it has them."""
        columns = matrix.tocsc()
        return cls(columns.data, columns.indices, columns.indptr, shape=columns.shape)

    @classmethod
    def _exactly(cls, A: COO, nse: int | None, name: str) -> CSC:
        return A.tocsc()

    @classmethod
    def _like(cls, A: SparseMatrix) -> CSC:
        return A.tocsc()
