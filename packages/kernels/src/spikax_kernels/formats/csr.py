"""``CSR``: a sparse matrix compressed by rows, as a frozen pytree."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np

from spikax_kernels._errors import ShapeError, StructureError
from spikax_kernels.formats import _product
from spikax_kernels.formats._structure import as_shape, as_structure, as_weights, check_compressed
from spikax_kernels.ops._reference import accumulator, rows_of
from spikax_kernels.ops.gather.op import gather
from spikax_kernels.ops.scatter.op import scatter


@jax.tree_util.register_pytree_with_keys_class
class CSR:
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

    __slots__ = ("data", "indices", "indptr", "shape")

    data: jax.Array
    indices: jax.Array
    indptr: jax.Array
    shape: tuple[int, int]

    # NumPy would otherwise take `numpy @ A` apart element by element.
    __array_ufunc__: ClassVar[None] = None

    def __init__(self, data: Any, indices: Any, indptr: Any, *, shape: tuple[int, int], check: bool = True) -> None:
        shape = as_shape(shape)
        check_compressed(data, indices, indptr, shape, values=check)
        self._set(as_weights(data), as_structure("indices", indices), as_structure("indptr", indptr), shape)

    def _set(self, data: Any, indices: Any, indptr: Any, shape: tuple[int, int]) -> None:
        for name, value in zip(self.__slots__, (data, indices, indptr, shape), strict=True):
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"CSR is frozen, so {name!r} cannot be set; for other weights use with_data")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"CSR is frozen, so {name!r} cannot be deleted")

    def tree_flatten_with_keys(self) -> tuple[tuple[tuple[Any, Any], ...], tuple[int, int]]:
        """The arrays, all of them leaves, with their names; the shape is static."""
        names = self.__slots__[:3]
        return tuple((jax.tree_util.GetAttrKey(name), getattr(self, name)) for name in names), self.shape

    @classmethod
    def tree_unflatten(cls, shape: tuple[int, int], leaves: Any) -> Self:
        """The matrix of these leaves, whatever they are, because JAX also unflattens with placeholders."""
        self = object.__new__(cls)
        data, indices, indptr = leaves
        self._set(data, indices, indptr, shape)
        return self

    def __reduce__(self) -> Any:
        return _restore, (self.shape, (self.data, self.indices, self.indptr))

    def __repr__(self) -> str:
        if not all(isinstance(leaf, (jax.Array, np.ndarray)) for leaf in (self.data, self.indices, self.indptr)):
            return f"CSR({self.data}, {self.indices}, {self.indptr}, shape={self.shape})"
        weights = "heterogeneous" if self.data.shape[-1:] == self.indices.shape[-1:] else "homogeneous"
        stack = f"stack of {self.indptr.shape[:-1]}, " if self.indptr.ndim > 1 else ""
        return f"CSR({stack}shape={self.shape}, nse={self.nse}, dtype={self.dtype}, {weights})"

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the weights."""
        return self.data.dtype

    @property
    def ndim(self) -> int:
        """Always 2."""
        return 2

    @property
    def nse(self) -> int:
        """The number of stored entries."""
        return self.indices.shape[-1]

    def with_data(self, data: Any) -> CSR:
        """The same structure with other weights, of shape ``()``, ``(1,)`` or ``[nse]``.

        Example:
            >>> import jax, jax.numpy as jnp
            >>> from spikax_kernels import CSR
            >>> A = CSR.from_dense(jnp.array([[1.0, 2.0], [4.0, 0.0]]))
            >>> jax.grad(lambda data: (jnp.array([True, False]) @ A.with_data(data)).sum())(A.data)
            Array([1., 1., 0.], dtype=float32)
        """
        check_compressed(data, self.indices, self.indptr, self.shape, values=False)
        return CSR.tree_unflatten(self.shape, (as_weights(data), self.indices, self.indptr))

    def todense(self) -> jax.Array:
        """The matrix as an array ``[n_pre, n_post]``; what is stored twice adds, what is out of range is dropped."""
        self._check_alone()
        row, column = rows_of(self.indptr, self.nse), self.indices
        # A negative index would count from the end.
        outside = (row < 0) | (column < 0)
        row = jnp.where(outside, self.shape[0], row)
        wide = jnp.zeros(self.shape, accumulator(self.dtype))
        return wide.at[row, column].add(self.data.astype(wide.dtype), mode="drop").astype(self.dtype)

    @classmethod
    def from_dense(cls, dense: Any) -> CSR:
        """The nonzero entries of a concrete array ``[n_pre, n_post]``, in row-major order.

        Example:
            >>> import jax.numpy as jnp
            >>> from spikax_kernels import CSR
            >>> CSR.from_dense(jnp.array([[1.0, 0.0, 3.0], [0.0, 2.0, 0.0]]))
            CSR(shape=(2, 3), nse=3, dtype=float32, heterogeneous)
        """
        if isinstance(dense, jax.core.Tracer):
            raise StructureError(
                "from_dense: got a traced array, whose entries cannot be counted; build the matrix outside jit"
            )
        array = np.asarray(dense)
        if array.ndim != 2:
            raise ShapeError(f"from_dense: got shape {array.shape}; expected rank 2")
        row, column = np.nonzero(array)
        indptr = np.searchsorted(row, np.arange(array.shape[0] + 1))
        index = np.promote_types(np.int32, np.min_scalar_type(-1 - max(array.shape[1], row.size)))
        return cls(array[row, column], column.astype(index), indptr.astype(index), shape=array.shape)

    def _check_alone(self) -> None:
        if (self.indices.ndim, self.indptr.ndim) != (1, 1) or self.data.shape not in ((), (1,), self.indices.shape):
            raise ShapeError(f"got {self!r} with data of shape {self.data.shape}; for a stack of matrices use jax.vmap")

    def __matmul__(self, x: Any) -> jax.Array:
        events = _product.as_events(x)
        if events is None:
            return NotImplemented
        self._check_alone()
        _product.check_shapes(self.shape, events.array.shape, events.array)
        data, events = _product.promote(self.data, events)
        if events.array.ndim == 1:
            return gather(data.reshape(-1), self.indices, self.indptr, events.array, binary=events.binary)
        return gather(
            data.reshape(1, -1), self.indices[None], self.indptr[None], events.array.T, binary=events.binary
        ).T

    def __rmatmul__(self, x: Any) -> jax.Array:
        events = _product.as_events(x)
        if events is None:
            return NotImplemented
        self._check_alone()
        _product.check_shapes(events.array.shape, self.shape, events.array)
        data, events = _product.promote(self.data, events)
        lead = (1,) * (events.array.ndim - 1)
        return scatter(
            data.reshape(*lead, -1),
            self.indices.reshape(*lead, -1),
            self.indptr.reshape(*lead, -1),
            events.array,
            cols=self.shape[1],
            binary=events.binary,
        )


def _restore(shape: tuple[int, int], leaves: tuple[Any, ...]) -> CSR:
    return CSR.tree_unflatten(shape, leaves)
