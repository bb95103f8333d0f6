"""``SparseMatrix``: what every format gives, in the names of ``scipy.sparse``."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from spikax_kernels._errors import DTypeError
from spikax_kernels.formats import _algebra, _convert, _indexing, _product
from spikax_kernels.formats._base import FrozenArrays
from spikax_kernels.formats._entries import is_inside
from spikax_kernels.formats._structure import is_real

if TYPE_CHECKING:
    from spikax_kernels.formats.coo import COO
    from spikax_kernels.formats.csc import CSC
    from spikax_kernels.formats.csr import CSR
    from spikax_kernels.formats.sharded import ShardedByPost


class SparseMatrix(FrozenArrays):
    """A matrix of shape ``(n_pre, n_post)`` that stores some of its entries; ``spikes @ A`` delivers events.

    A format says which arrays it holds, where its entries are, and how it is multiplied; all else is here. Every array
    is a leaf of the pytree, and nothing is ever stored on a matrix, so it passes through ``jit``, ``vmap``, ``scan``,
    ``shard_map`` and ``jax.tree.map`` like an array. Entries at one place add. Entries out of range are dropped, so
    they serve as padding where the number of entries must be static.

    Operations that depend on the number of entries count them where the structure is known, and take ``nse=``, the
    most there can be, where it is not: inside ``jit`` and ``vmap`` over structure. Where ``nse`` is too small, known
    structure is an error, and otherwise all weights of the result are NaN, or the least integer.
    """

    __slots__ = ()

    is_dense: ClassVar[bool] = False
    _scipy: ClassVar[Literal["csr", "csc", "coo"]] = "coo"

    # --- what a format must give

    @abc.abstractmethod
    def _places(self) -> tuple[Any, Any]:
        """The row and the column of each entry, ``[nse]``: arrays of NumPy where the structure is known."""

    @property
    @abc.abstractmethod
    def T(self) -> SparseMatrix:  # noqa: N802  (NumPy's name)
        """The transpose, over the same arrays."""

    @abc.abstractmethod
    def _multiply(self, x: _product.Events, *, left: bool, backend: str | None) -> jax.Array:
        """``x @ A`` if ``left``, else ``A @ x``, for ``x`` whose last axis is multiplied and others are lanes."""

    @abc.abstractmethod
    def _sample(self, y: _product.Events, x: _product.Events, dtype: Any) -> jax.Array:
        """``y[row] * x[column]`` in ``dtype`` for each entry, in the shape of the entries."""

    @classmethod
    @abc.abstractmethod
    def _exactly(cls, A: COO, nse: int | None, name: str) -> Self:
        """``A`` in this format; ``nse`` and ``name`` are those of the caller, should entries have to be counted."""

    @classmethod
    @abc.abstractmethod
    def _like(cls, A: SparseMatrix) -> SparseMatrix:
        """``A`` in the format most like this one that takes any number of entries anywhere."""

    # --- products

    def __matmul__(self, x: Any) -> jax.Array:
        events = _product.as_events(x)
        if events is None:
            return NotImplemented
        return _product.right(self, events)

    def __rmatmul__(self, x: Any) -> jax.Array:
        events = _product.as_events(x)
        if events is None:
            return NotImplemented
        return _product.left(self, events)

    def sddmm(self, y: Any, x: Any) -> jax.Array:
        """Multiply two vectors at the stored entries: the gradient of the weights, as a learning rule needs it.

        Args:
            y: One value per row, ``[n_pre]``: bool, any real dtype, or a ``BinaryArray``.
            x: One value per column, ``[n_post]``: likewise.

        Returns:
            ``y[row] * x[column]`` in the shape of one weight per entry, zero where either is inactive; in the dtype
            that weights and valued vectors promote to.

        Raises:
            ShapeError: Lengths that do not fit.
            DTypeError: Values that are neither bool nor real numbers.

        Example:
            >>> import jax.numpy as jnp
            >>> from spikax_kernels import CSR
            >>> A = CSR.from_dense(jnp.array([[1.0, 2.0], [4.0, 0.0]]))
            >>> A.sddmm(jnp.array([1.0, 10.0]), jnp.array([True, False]))
            Array([ 1.,  0., 10.], dtype=float32)
        """
        return _product.sampled(self, y, x)

    # --- weights and places

    def coordinates(self) -> tuple[jax.Array, jax.Array]:
        """The row and the column of each entry, ``[nse]``, in the order of ``data``; out of range for padding."""
        self._check_alone()
        row, column = self._places()
        return jnp.asarray(row), jnp.asarray(column)

    def with_data(self, data: Any) -> Self:
        """The same structure with other weights: one for all entries, of shape ``()`` or ``(1,)``, or one each.

        Example:
            >>> import jax, jax.numpy as jnp
            >>> from spikax_kernels import CSR
            >>> A = CSR.from_dense(jnp.array([[1.0, 2.0], [4.0, 0.0]]))
            >>> jax.grad(lambda data: (jnp.array([True, False]) @ A.with_data(data)).sum())(A.data)
            Array([1., 1., 0.], dtype=float32)
        """
        return self._with(data)

    def astype(self, dtype: jax.typing.DTypeLike) -> Self:
        """The same matrix with weights of another real dtype."""
        if not is_real(dtype):
            raise DTypeError(f"astype: got {jnp.dtype(dtype)}; expected a real dtype")
        return self.with_data(self.data.astype(dtype))

    @property
    def nnz(self) -> jax.Array:
        """The number of stored entries that are in range, a scalar; explicit zeros count, as in SciPy."""
        return jnp.sum(is_inside(*self._places(), self.shape))

    # --- other forms

    @classmethod
    def from_dense(cls, dense: Any, *, nse: int | None = None) -> Self:
        """The entries of an array ``[n_pre, n_post]`` that are not zero, in row-major order.

        Args:
            dense: The array, of real numbers.
            nse: The number of entries of the result; counted if left out, and then the array must be known.

        Raises:
            ShapeError: An array of another rank than 2.
            StructureError: ``nse`` is too small, or missing where the array is traced.

        Example:
            >>> import jax.numpy as jnp
            >>> from spikax_kernels import CSR
            >>> CSR.from_dense(jnp.array([[1.0, 0.0, 3.0], [0.0, 2.0, 0.0]]))
            CSR(shape=(2, 3), nse=3, dtype=float32, heterogeneous)
        """
        return cls._exactly(_convert.nonzero(dense, nse), nse, "from_dense")

    @classmethod
    def from_scipy(cls, matrix: Any) -> Self:
        """The entries of a sparse matrix or array of SciPy."""
        return cls._exactly(_convert.from_scipy(matrix), None, "from_scipy")

    @classmethod
    def from_bcoo(cls, matrix: Any) -> Self:
        """The entries of a ``jax.experimental.sparse.BCOO`` without batch or dense axes, its padding as padding."""
        return cls._exactly(_convert.from_bcoo(matrix), None, "from_bcoo")

    @classmethod
    def from_bcsr(cls, matrix: Any) -> Self:
        """The entries of a ``jax.experimental.sparse.BCSR`` without batch or dense axes."""
        return cls._exactly(_convert.from_bcsr(matrix).tocoo(), None, "from_bcsr")

    def todense(self) -> jax.Array:
        """The matrix as an array ``[n_pre, n_post]``; what is stored twice adds, what is out of range is dropped."""
        return _convert.todense(self)

    def tocsr(self) -> CSR:
        """The same entries grouped by rows, each row sorted by columns."""
        return _convert.tocsr(self)

    def tocsc(self) -> CSC:
        """The same entries grouped by columns, each column sorted by rows."""
        return _convert.tocsc(self)

    def tocoo(self) -> COO:
        """The same entries in the same order, each with its row and its column."""
        return _convert.tocoo(self)

    def to_scipy(self) -> Any:
        """The entries in range as a sparse array of SciPy, in the format most like this one; for known values.

        Weights in half precision, which SciPy does not have, become ``float32``.

        Raises:
            MissingExtraError: SciPy is not installed.

        Example:
            >>> import jax.numpy as jnp
            >>> from spikax_kernels import CSR
            >>> CSR.from_dense(jnp.array([[1.0, 2.0], [4.0, 0.0]])).to_scipy().sum(axis=0).tolist()
            [5.0, 2.0]
        """
        return _convert.to_scipy(self)

    def to_bcoo(self) -> Any:
        """The matrix as a ``jax.experimental.sparse.BCOO``, with one weight per entry."""
        return _convert.to_bcoo(self)

    def to_bcsr(self) -> Any:
        """The matrix as a ``jax.experimental.sparse.BCSR``, with one weight per entry."""
        return _convert.to_bcsr(self)

    def sum_duplicates(self, *, nse: int | None = None) -> SparseMatrix:
        """Each place once, with the sum of what is stored there, sorted, and nothing out of range but padding.

        Args:
            nse: The number of entries of the result; counted if left out, and then structure must be known.
                ``A.nse`` is always enough.

        Raises:
            StructureError: ``nse`` is too small, or missing where the structure is traced.

        Example:
            >>> import jax.numpy as jnp
            >>> from spikax_kernels import COO
            >>> A = COO(jnp.array([1.0, 2.0, 4.0]), jnp.array([1, 0, 1]), jnp.array([0, 0, 0]), shape=(2, 1))
            >>> A.sum_duplicates().data
            Array([2., 5.], dtype=float32)
        """
        return _convert.sum_duplicates(self, nse)

    # --- algebra

    def __neg__(self) -> Self:
        return self.with_data(-self.data)

    def __abs__(self) -> Self:
        return self.with_data(_algebra.absolute(self))

    def __mul__(self, other: Any) -> SparseMatrix:
        result: SparseMatrix = _algebra.multiply(self, other)
        return result

    def __rmul__(self, other: Any) -> SparseMatrix:
        result: SparseMatrix = _algebra.multiply(self, other)
        return result

    def __truediv__(self, other: Any) -> SparseMatrix:
        result: SparseMatrix = _algebra.divide(self, other)
        return result

    def __add__(self, other: Any) -> Any:
        return _algebra.add(self, other)

    def __radd__(self, other: Any) -> Any:
        return _algebra.add(self, other)

    def __sub__(self, other: Any) -> Any:
        return _algebra.add(self, other, sign=-1)

    def __rsub__(self, other: Any) -> Any:
        return _algebra.add(-self, other)

    def multiply(self, other: Any, *, nse: int | None = None) -> SparseMatrix:
        """The elementwise product, ``A * other``.

        Args:
            other: A number, an array that broadcasts to the shape of the matrix, or a matrix of the same shape.
            nse: The number of entries of the product of two matrices; counted if left out, and then structure must be
                known. ``A.nse`` is always enough.

        Returns:
            The entries of this matrix times what ``other`` has there. The product of two matrices keeps those at
            places that both store, in rows or columns of any length.

        Raises:
            ShapeError: Shapes that do not fit.
            StructureError: ``nse`` is too small, or missing where the structure is traced.

        Example:
            >>> import jax.numpy as jnp
            >>> from spikax_kernels import CSR
            >>> A = CSR.from_dense(jnp.array([[1.0, 2.0], [4.0, 0.0]]))
            >>> A.multiply(jnp.array([10.0, 100.0])).todense().tolist()
            [[10.0, 200.0], [40.0, 0.0]]
        """
        product: SparseMatrix = _algebra.checked(self, "multiply", other, _algebra.multiply(self, other, nse=nse))
        return product

    def add(self, other: SparseMatrix, *, nse: int | None = None) -> SparseMatrix:
        """The sum of two matrices of the same shape, ``A + other``, each place stored once.

        Args:
            other: The other matrix.
            nse: The number of entries of the sum; counted if left out, and then structure must be known.
                ``A.nse + other.nse`` is always enough.

        Returns:
            The sum, grouped as this matrix is, in rows or columns of any length.

        Raises:
            ShapeError: Shapes that differ.
            StructureError: ``nse`` is too small, or missing where the structure is traced.

        Example:
            >>> import jax, jax.numpy as jnp
            >>> from spikax_kernels import CSR
            >>> A = CSR.from_dense(jnp.array([[1.0, 0.0], [0.0, 2.0]]))
            >>> jax.jit(lambda A: A.add(A.T, nse=4).todense())(A).tolist()
            [[2.0, 0.0], [0.0, 4.0]]
        """
        total: SparseMatrix = _algebra.checked(self, "add", other, _algebra.add(self, other, nse=nse))
        return total

    def sum(self, axis: int | None = None) -> jax.Array:
        """The sum of all entries, or down the columns (``axis=0``, ``[n_post]``) or along the rows (``axis=1``)."""
        return _algebra.total(self, axis)

    def diagonal(self, k: int = 0) -> jax.Array:
        """The entries whose column is ``k`` more than their row, as a vector, as ``numpy.diagonal`` gives them."""
        return _algebra.diagonal(self, k)

    # --- parts

    def __getitem__(self, key: Any) -> jax.Array:
        return _indexing.dense_part(self, key)

    def slice_rows(self, rows: Any, *, nse: int | None = None) -> SparseMatrix:
        """Some of the rows, as a sparse matrix; ``A[rows]`` gives a dense one.

        Args:
            rows: A slice, a mask, or integers ``[n]``, which may repeat; negative ones count from the end.
            nse: The number of entries of the result; counted if left out, and then the structure must be known.

        Raises:
            IndexError: Rows out of range, where they are known; elsewhere such a row is empty.
            StructureError: ``nse`` is too small, or missing where the structure is traced.

        Example:
            >>> import jax.numpy as jnp
            >>> from spikax_kernels import CSR
            >>> A = CSR.from_dense(jnp.array([[1.0, 2.0], [0.0, 0.0], [4.0, 0.0]]))
            >>> A.slice_rows([2, 0]).todense().tolist()
            [[4.0, 0.0], [1.0, 2.0]]
        """
        return _indexing.slice_rows(self, rows, nse)

    def shard(self, mesh: Mesh, axis: str, *, by: Literal["post"] = "post", nse: int | None = None) -> ShardedByPost:
        """This matrix divided among the devices along a mesh axis, each with the synapses onto its range of targets.

        The arrays of a matrix cannot be sharded as they are: that would divide the entries by their number. Here they
        are grouped by ranges of ``ceil(n_post / devices)`` targets, row by row in each, with padding up to the number
        of the fullest. In a program of several processes, each builds the whole matrix and keeps what its devices have.

        Args:
            mesh: The devices.
            axis: The name of the mesh axis.
            by: Only ``"post"``, by targets.
            nse: The most entries of one device; counted if left out, and then structure must be known.

        Returns:
            A :class:`ShardedByPost`, differentiable with respect to the weights of this matrix.

        Raises:
            ShapeError: The mesh has no such axis, or the matrix is a ``Dense``, which is sharded as its array is.
            StructureError: ``nse`` is too small, or missing where the structure is traced.

        Example:
            >>> import jax, jax.numpy as jnp
            >>> from spikax_kernels import CSR
            >>> A = CSR.random(jax.random.key(0), (100, 200), fan_out=20)
            >>> mesh = jax.make_mesh((1,), ("neurons",))
            >>> A.shard(mesh, "neurons")
            ShardedByPost(over 1 of 'neurons', shape=(100, 200), nse=2000, dtype=float32, homogeneous)
        """
        from spikax_kernels.formats.sharded import shard  # which imports formats

        return shard(self, mesh, axis, by, nse)

    def _dense_rows(self, rows: jax.Array) -> jax.Array:
        return _indexing.dense_rows(self, rows)

    def _some_rows(self, rows: Any, nse: int | None) -> SparseMatrix:
        return self._like(_indexing.csr_rows(self.tocsr(), rows, nse))
