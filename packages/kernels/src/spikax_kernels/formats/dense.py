"""``Dense``: a dense matrix with the products and operations of the sparse ones."""

from __future__ import annotations

from typing import Any, ClassVar, Self, final

import jax
import jax.numpy as jnp
import numpy as np

from spikax_kernels._errors import DTypeError, ShapeError
from spikax_kernels.formats import _product
from spikax_kernels.formats._structure import as_weights, is_real
from spikax_kernels.formats.coo import COO
from spikax_kernels.formats.matrix import SparseMatrix
from spikax_kernels.ops.dense import op as dense_op
from spikax_kernels.ops.sddmm.op import sddmm


@final
@jax.tree_util.register_pytree_with_keys_class
class Dense(SparseMatrix):
    """A matrix that stores each of its entries, to meet events as the sparse formats do.

    ``spikes @ A`` adds up the rows of active neurons; ``A @ events`` reads the columns of active ones.

    Args:
        data: Weights, ``[n_pre, n_post]``.

    Raises:
        ShapeError: An array of another rank than 2.
        DTypeError: Weights that are not real numbers.

    Example:
        >>> import jax.numpy as jnp
        >>> from spikax_kernels import Dense
        >>> jnp.array([True, False]) @ Dense(jnp.array([[1.0, 2.0], [4.0, 0.0]]))
        Array([1., 2.], dtype=float32)
    """

    __slots__ = ("data", "shape")

    arrays: ClassVar[tuple[str, ...]] = ("data",)
    entry_rank: ClassVar[int] = 2
    is_dense: ClassVar[bool] = True

    data: jax.Array
    shape: tuple[int, int]

    def __init__(self, data: Any) -> None:
        if np.ndim(data) != 2:
            raise ShapeError(f"data: got shape {np.shape(data)}; expected rank 2, (n_pre, n_post)")
        array = as_weights(data)
        if not is_real(array.dtype):
            raise DTypeError(f"data: got {array.dtype}; expected real weights")
        self._set((array.shape[0], array.shape[1]), array)

    @property
    def _entries(self) -> Any:
        return self.data

    def _check_whole(self) -> None:
        """An array of rows and columns may be sharded along both."""

    def _with(self, data: Any) -> Self:
        if np.shape(data) != self.shape:
            raise ShapeError(f"data: got shape {np.shape(data)}; expected {self.shape}")
        return super()._with(data)

    def _places(self) -> tuple[Any, Any]:
        row, col = np.indices(self.shape, dtype=np.int32)
        return row.reshape(-1), col.reshape(-1)

    @property
    def T(self) -> Dense:  # noqa: N802  (NumPy's name)
        """The transpose."""
        return Dense._of(self.shape[::-1], self.data.T)

    def todense(self) -> jax.Array:
        """The array."""
        self._check_alone()
        return self.data

    def sum_duplicates(self, *, nse: int | None = None) -> Dense:
        """This matrix, as it is."""
        return self

    def __abs__(self) -> Dense:
        return self.with_data(jnp.abs(self.data))

    @classmethod
    def from_dense(cls, dense: Any, *, nse: int | None = None) -> Dense:
        """The matrix of an array ``[n_pre, n_post]``."""
        return cls(dense)

    @classmethod
    def _exactly(cls, A: COO, nse: int | None, name: str) -> Dense:
        return cls(A.todense())

    @classmethod
    def _like(cls, A: SparseMatrix) -> Dense:
        return cls(A.todense())

    def _multiply(self, x: _product.Events, *, left: bool, backend: str | None) -> jax.Array:
        data, x = _product.promote(self.data, x)
        weights = data.reshape((1,) * (x.array.ndim - 1) + data.shape)
        return dense_op.dense(weights, x.array, transpose=not left, binary=x.binary, backend=backend)

    def _sample(self, y: _product.Events, x: _product.Events, dtype: Any) -> jax.Array:
        columns = jnp.tile(jnp.arange(self.shape[1], dtype=jnp.int32), self.shape[0])
        rows_of_one_length = jnp.zeros(0, jnp.int32)
        z = sddmm(y.array, x.array, columns, rows_of_one_length, dtype=dtype, binary=(y.binary, x.binary))
        return z.reshape(self.shape)

    def _dense_rows(self, rows: jax.Array) -> jax.Array:
        return jnp.take(self.data, jnp.where(rows < 0, self.shape[0], rows), axis=0, mode="fill", fill_value=0)

    def _some_rows(self, rows: Any, nse: int | None) -> Dense:
        return Dense(self._dense_rows(jnp.asarray(rows)))
