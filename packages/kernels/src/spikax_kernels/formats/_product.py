"""What ``@`` asks of its operands in every format: events of rank 1 or 2 that fit, and one dtype for the result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from spikax_kernels._binary import BinaryArray
from spikax_kernels._errors import DTypeError, ShapeError
from spikax_kernels.formats._structure import is_known, is_real
from spikax_kernels.ops.gather.op import gather
from spikax_kernels.ops.scatter.op import scatter

if TYPE_CHECKING:
    from spikax_kernels.formats.matrix import SparseMatrix


class Events(NamedTuple):
    """The dense operand of a product: its array, and whether only being active counts."""

    array: jax.Array
    binary: bool


def as_events(x: Any) -> Events | None:
    """``x`` as events; ``None`` if it is nothing that a matrix can be multiplied by."""
    marked = isinstance(x, BinaryArray)
    array = x.value if marked else x
    if not isinstance(array, (jax.Array, np.ndarray, np.generic)):
        return None
    array = as_array(array)
    if array.dtype != jnp.bool_ and not is_real(array.dtype):
        raise DTypeError(f"events: got {array.dtype}; expected bool or a real dtype")
    return Events(array, binary=marked or array.dtype == jnp.bool_)


def check_shapes(left: tuple[int, ...], right: tuple[int, ...], x: jax.Array) -> None:
    """Raise unless ``left @ right`` is a product of a matrix with the vector or matrix ``x``."""
    if x.ndim not in (1, 2):
        raise ShapeError(f"got {left} @ {right}; expected events of rank 1 or 2 (for more, use jax.vmap)")
    if left[-1] != right[0]:
        raise ShapeError(f"got {left} @ {right}; expected equal inner lengths, not {left[-1]} and {right[0]}")


def result_dtype(*operands: Any) -> Any:
    """The dtype that JAX promotes to by default; part of a format's contract, so the caller's setting is not asked."""
    with jax.numpy_dtype_promotion("standard"):
        return jnp.result_type(*operands)


# JAX takes microseconds to find that nothing is to be done, which an eager product would feel: these look first.


def as_array(x: Any) -> jax.Array:
    """``x`` as an array of JAX."""
    return x if isinstance(x, jax.Array) else jnp.asarray(x)


def as_dtype(array: jax.Array, dtype: Any) -> jax.Array:
    """``array`` in ``dtype``."""
    return array if array.dtype == dtype else array.astype(dtype)


def dtype_with(data: jax.Array, *events: Events) -> Any:
    """The dtype of what weights and events give; binary events do not take part in it."""
    valued = [x.array for x in events if not x.binary]
    if all(array.dtype == data.dtype for array in valued):
        return data.dtype
    return result_dtype(data, *valued)


def cast(x: Events, dtype: Any) -> Events:
    """Valued events in ``dtype``; binary ones as they are."""
    return x if x.binary else x._replace(array=as_dtype(x.array, dtype))


def promote(data: jax.Array, x: Events) -> tuple[jax.Array, Events]:
    """Weights and valued events in the dtype of the result."""
    dtype = dtype_with(data, x)
    return as_dtype(data, dtype), cast(x, dtype)


def with_lanes(array: jax.Array, x: jax.Array) -> jax.Array:
    """``array``, of rank 1 at least, with as many axes in front as ``x`` has lanes."""
    shape = (1,) * (x.ndim - 1) + (array.shape or (1,))
    return array if array.shape == shape else array.reshape(shape)


def deliver(data: Any, indices: Any, indptr: Any, x: Events, *, size: int, backend: str | None) -> jax.Array:
    """The lists of active events added up: ``size`` values, for each lane of ``x``."""
    data, indices, indptr = (with_lanes(array, x.array) for array in (data, indices, indptr))
    return scatter(data, indices, indptr, x.array, cols=size, binary=x.binary, backend=backend)


def collect(data: Any, indices: Any, indptr: Any, x: Events, *, size: int, backend: str | None) -> jax.Array:
    """What each of ``size`` lists collects from the events it points at, for each lane of ``x``."""
    data, indices, indptr = (with_lanes(array, x.array) for array in (data, indices, indptr))
    return gather(data, indices, indptr, x.array, rows=size, binary=x.binary, backend=backend)


def right(A: SparseMatrix, x: Events, backend: str | None = None) -> jax.Array:
    """``A @ x``."""
    A._check_alone()
    A._check_whole()
    check_shapes(A.shape, x.array.shape, x.array)
    return _multiplied(A, x, left=False, backend=backend)


def left(A: SparseMatrix, x: Events, backend: str | None = None) -> jax.Array:
    """``x @ A``."""
    A._check_alone()
    A._check_whole()
    check_shapes(x.array.shape, A.shape, x.array)
    return _multiplied(A, x, left=True, backend=backend)


def _multiplied(A: SparseMatrix, x: Events, *, left: bool, backend: str | None) -> jax.Array:
    # Eagerly, one compiled program costs a third of the operations that it consists of.
    multiply = _compiled if is_known(A.data, x.array) else _multiply
    y: jax.Array = multiply(A, x.array, binary=x.binary, left=left, backend=backend)
    return y


def _multiply(A: SparseMatrix, array: jax.Array, *, binary: bool, left: bool, backend: str | None) -> jax.Array:
    if left or array.ndim == 1:
        return A._multiply(Events(array, binary), left=left, backend=backend)
    return A._multiply(Events(array.T, binary), left=left, backend=backend).T


_compiled = jax.jit(_multiply, static_argnames=("binary", "left", "backend"))


def sampled(A: SparseMatrix, y: Any, x: Any) -> jax.Array:
    """``y[row] * x[column]`` at the entries of ``A``."""
    A._check_alone()
    A._check_whole()
    rows, columns = as_events(y), as_events(x)
    if rows is None or columns is None:
        raise DTypeError(f"sddmm: got {type(y).__name__} and {type(x).__name__}; expected two arrays")
    shapes = rows.array.shape, columns.array.shape
    if shapes != ((A.shape[0],), (A.shape[1],)):
        raise ShapeError(f"sddmm: got {shapes[0]} and {shapes[1]} for {A.shape}; expected a vector for each axis")
    dtype = dtype_with(A.data, rows, columns)
    return A._sample(cast(rows, dtype), cast(columns, dtype), dtype)
