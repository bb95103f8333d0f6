"""``ShardedByPost``: a matrix whose synapses lie on the devices of their targets."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, final

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh

from spikax_kernels._errors import DTypeError, ShapeError
from spikax_kernels.formats import _cut, _entries, _over_devices, _product
from spikax_kernels.formats._structure import as_weights, check_weights
from spikax_kernels.formats.coo import COO

if TYPE_CHECKING:
    from spikax_kernels.formats.matrix import SparseMatrix


@final
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class ShardedByPost:
    """A sparse matrix of shape ``(n_pre, n_post)`` divided among devices by ranges of targets; see ``A.shard``.

    Each device has the synapses onto its range of postsynaptic neurons. For ``spikes @ S`` devices send each other
    which of their neurons are active, one bit each, packed into words (or the values of events that have some), and
    each delivers to its own targets: nothing as large as the matrix moves. The result is sharded over targets, as
    the events are best sharded over sources. ``S @ x`` is summed over devices, each of which keeps its part.

    It is a pytree like any matrix. Inside of ``jax.shard_map`` over its axis, with the leading axis of its arrays and
    the events divided, a product is that of this device alone.

    Attributes:
        data: Weights: one for all entries, of shape ``()`` or ``(1,)``, or one each, ``[devices, nse / devices]``.
        indices: The target of each entry, counted from the first of its device, ``[devices, nse / devices]``; padding
            is out of range.
        indptr: Where each row begins among the entries of a device, ``[devices, n_pre + 1]``.
        shape: ``(n_pre, n_post)``. If the number of devices divides both, results stay sharded.
        mesh: The devices.
        axis: The name of the mesh axis over which it is divided; over other axes of the mesh it is replicated.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from spikax_kernels import CSR
        >>> mesh = jax.make_mesh((jax.device_count(),), ("neurons",))
        >>> S = CSR.from_dense(jnp.array([[1.0, 2.0], [4.0, 0.0]])).shard(mesh, "neurons")
        >>> (jnp.array([True, True]) @ S).tolist()
        [5.0, 2.0]
    """

    data: jax.Array
    indices: jax.Array
    indptr: jax.Array
    shape: tuple[int, int] = dataclasses.field(metadata={"static": True})
    mesh: Mesh = dataclasses.field(metadata={"static": True})
    axis: str = dataclasses.field(metadata={"static": True})

    # NumPy would otherwise take `numpy @ S` apart element by element.
    __array_ufunc__: ClassVar[None] = None

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
        """The number of stored entries of all devices, with padding."""
        return self._parts * self.indices.shape[-1]

    @property
    def nnz(self) -> jax.Array:
        """The number of stored entries that are in range, a scalar."""
        return self.tocoo().nnz

    def __matmul__(self, x: Any) -> jax.Array:
        events = self._events(x)
        if events is None:
            return NotImplemented
        array = events.array
        _product.check_shapes(self._shape_here(), array.shape, array)
        if array.ndim == 1:
            return self._product(events, left=False)
        return self._product(events._replace(array=array.T), left=False).T

    def __rmatmul__(self, x: Any) -> jax.Array:
        events = self._events(x)
        if events is None:
            return NotImplemented
        _product.check_shapes(events.array.shape, self._shape_here(), events.array)
        return self._product(events, left=True)

    def sddmm(self, y: Any, x: Any) -> jax.Array:
        """Multiply two vectors at the stored entries, each device at its own: the gradient of the weights.

        Args:
            y: One value per row, ``[n_pre]``: bool, any real dtype, or a ``BinaryArray``.
            x: One value per column, ``[n_post]``: likewise.

        Returns:
            ``y[row] * x[column]``, ``[devices, nse / devices]``, zero where either is inactive and for padding.

        Raises:
            ShapeError: Lengths that do not fit.
            DTypeError: Values that are neither bool nor real numbers.

        Example:
            >>> import jax, jax.numpy as jnp
            >>> from spikax_kernels import CSR
            >>> mesh = jax.make_mesh((1,), ("neurons",))
            >>> S = CSR.from_dense(jnp.array([[1.0, 2.0], [4.0, 0.0]])).shard(mesh, "neurons")
            >>> S.sddmm(jnp.array([1.0, 10.0]), jnp.array([True, False])).tolist()
            [[1.0, 0.0, 10.0]]
        """
        rows, columns = self._events(y), self._events(x)
        if rows is None or columns is None:
            raise DTypeError(f"sddmm: got {type(y).__name__} and {type(x).__name__}; expected two arrays")
        shapes = rows.array.shape, columns.array.shape
        if shapes != tuple((size,) for size in self._shape_here()):
            raise ShapeError(
                f"sddmm: got {shapes[0]} and {shapes[1]} for {self.shape}; expected a vector for each axis"
            )
        dtype = _product.dtype_with(self.data, rows, columns)
        arrays = (_product.cast(x, dtype).array for x in (rows, columns))
        z: jax.Array = _over_devices.sample(self, *arrays, binary=(rows.binary, columns.binary), dtype=dtype)
        return z

    def with_data(self, data: Any) -> ShardedByPost:
        """The same structure with other weights: one for all entries, or one each in the shape of ``indices``.

        Weights in the order of an unsharded matrix are sharded with it: ``A.with_data(data).shard(mesh, axis)``.
        """
        check_weights(data, self.indices.shape)
        return dataclasses.replace(self, data=as_weights(data))

    def todense(self) -> jax.Array:
        """The matrix as an array ``[n_pre, n_post]``, sharded over columns."""
        self._events(self.data)
        dense: jax.Array = _over_devices.todense(self)
        return dense

    def tocoo(self) -> COO:
        """The entries of all devices on each of them, device by device; those out of range are padding."""
        self._events(self.data)
        entries: COO = _tocoo(self)
        return entries

    def _events(self, x: Any) -> _product.Events | None:
        """``x`` as events, for a matrix that is not a stack."""
        if self.indices.ndim != 2:
            raise ShapeError(f"got {self!r} with indices of shape {self.indices.shape}; for a stack use jax.vmap")
        return _product.as_events(x)

    def _product(self, x: _product.Events, *, left: bool) -> jax.Array:
        data, x = _product.promote(self.data, x)
        S = dataclasses.replace(self, data=data)
        y: jax.Array = _over_devices.product(S, x.array, binary=x.binary, left=left)
        return y

    @property
    def _parts(self) -> int:
        return int(self.mesh.shape[self.axis])

    def _is_divided(self) -> bool:
        """Whether this is inside of ``shard_map`` over the axis, where arrays are those of one device."""
        return self.axis in jax.sharding.get_abstract_mesh().manual_axes

    def _shape_here(self) -> tuple[int, int]:
        if not self._is_divided():
            return self.shape
        return _cut.width(self.shape[0], self._parts), _cut.width(self.shape[1], self._parts)

    def _is_homogeneous(self) -> bool:
        return self.data.shape != self.indices.shape

    def __reduce__(self) -> Any:
        # Devices belong to a process, so they are named by their numbers.
        numbers = np.vectorize(lambda device: device.id, otypes=[int])(self.mesh.devices)
        kinds = tuple(kind.name for kind in self.mesh.axis_types)
        arrays = tuple(map(np.asarray, (self.data, self.indices, self.indptr)))
        return _restore, (arrays, self.shape, numbers, self.mesh.axis_names, kinds, self.axis)

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("ShardedByPost does not turn into an array by itself; use todense()")

    def __repr__(self) -> str:
        if not all(isinstance(array, (jax.Array, np.ndarray)) for array in (self.data, self.indices)):
            return f"ShardedByPost({self.data}, {self.indices}, {self.indptr}, shape={self.shape}, axis={self.axis!r})"
        weights = "homogeneous" if self._is_homogeneous() else "heterogeneous"
        over = f"over {self._parts} of {self.axis!r}"
        return f"ShardedByPost({over}, shape={self.shape}, nse={self.nse}, dtype={self.dtype}, {weights})"


def shard(A: SparseMatrix, mesh: Mesh, axis: str, by: str, nse: int | None) -> ShardedByPost:
    """``A`` divided over a mesh axis, see :meth:`SparseMatrix.shard`."""
    if by != "post":
        raise ShapeError(f"shard: got by={by!r}; expected 'post' (to divide by sources, shard the transpose)")
    if axis not in mesh.shape:
        raise ShapeError(f"shard: got the axis {axis!r} for a mesh with {mesh.axis_names}; expected one of these")
    if A.is_dense:
        raise ShapeError(
            "shard: got a Dense matrix, which is sharded as its array is:"
            " jax.device_put(A, jax.NamedSharding(mesh, jax.P(None, axis)))"
        )
    A._check_alone()
    pieces = _cut.cut(A, mesh.shape[axis], nse)
    return _on_devices(pieces, A.shape, mesh, axis)


def _on_devices(pieces: tuple[Any, ...], shape: tuple[int, int], mesh: Mesh, axis: str) -> ShardedByPost:
    data, indices, indptr = pieces
    weights = _cut.place(data, mesh, axis, whole=np.shape(data) != indices.shape)
    indices, indptr = (_cut.place(array, mesh, axis) for array in (indices, indptr))
    return ShardedByPost(weights, indices, indptr, shape, mesh, axis)


def _restore(arrays: Any, shape: tuple[int, int], numbers: Any, names: Any, kinds: Any, axis: str) -> ShardedByPost:
    devices = {device.id: device for device in jax.devices()}
    if missing := sorted(set(numbers.flat) - set(devices)):
        raise ShapeError(
            f"got a matrix sharded over devices {missing}, which are not here; pickle tocoo() to shard it elsewhere"
        )
    mesh = Mesh(
        np.vectorize(devices.get, otypes=[object])(numbers), names, axis_types=tuple(AxisType[k] for k in kinds)
    )
    return _on_devices(arrays, shape, mesh, axis)


@jax.jit
def _tocoo(S: ShardedByPost) -> COO:
    columns = _cut.width(S.shape[1], S._parts)
    whole = [_cut.move(x, S.mesh, S.axis, jax.P()) for x in (S.data, S.indices, S.indptr)]
    data, indices, indptr = whole
    rows = jnp.stack([jnp.asarray(_entries.lists_of(own, indices.shape[1], S.shape[0])) for own in indptr])
    first = columns * jnp.arange(S._parts, dtype=_entries.index_dtype(S.shape[1]))[:, None]
    col = jnp.where((indices >= 0) & (indices < columns), indices + first, S.shape[1])
    return COO._of(S.shape, data if S._is_homogeneous() else data.reshape(-1), rows.reshape(-1), col.reshape(-1))
