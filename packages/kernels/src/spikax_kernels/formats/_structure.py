"""Checks of the arrays that make up a matrix, where something is known of them: shapes always, values if concrete."""

from __future__ import annotations

import operator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding

from spikax_kernels._errors import DTypeError, ShapeError, StructureError

_INT32 = np.iinfo(np.int32)


def is_real(dtype: Any) -> bool:
    """Whether these are numbers that a product can add up."""
    return jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer)


def is_known(*arrays: Any) -> bool:
    """Whether Python can look at the values of all of these; not inside ``jit`` and ``vmap``."""
    return not any(isinstance(array, jax.core.Tracer) for array in arrays)


def sharded_over(array: Any) -> tuple[Any, ...]:
    """The mesh axes that cut each dimension, ``None`` for what is whole, as far as they are known."""
    sharding = jax.typeof(array).sharding if isinstance(array, jax.core.Tracer) else getattr(array, "sharding", None)
    if not isinstance(sharding, NamedSharding) or not any(sharding.spec) or sharding.mesh.size == 1:
        return ()
    return tuple(sharding.spec)


def as_weights(data: Any) -> jax.Array:
    """``data`` on the device, of its own dtype: a Python number would leave it to what it is multiplied by."""
    array = jnp.asarray(data)
    return array.astype(array.dtype)


def as_structure(name: str, array: Any) -> jax.Array:
    """``array`` on the device; 64-bit indices become 32-bit ones where JAX is set to 32 bits and nothing is lost.

    Raises:
        StructureError: Values beyond 32 bits while JAX is set to 32 bits.
    """
    if isinstance(array, np.ndarray) and array.dtype == np.int64 and not jax.config.read("jax_enable_x64"):
        if array.size and (array.max() > _INT32.max or array.min() < _INT32.min):
            raise StructureError(
                f"{name}: got values beyond 32 bits; set jax.config.update('jax_enable_x64', True) before you build it"
            )
        array = array.astype(np.int32)
    return jnp.asarray(array)


def as_shape(shape: Any) -> tuple[int, int]:
    """``shape`` as two lengths."""
    lengths = tuple(map(operator.index, shape))
    if len(lengths) != 2 or min(lengths) < 0:
        raise ShapeError(f"shape: got {lengths}; expected two lengths, (n_pre, n_post)")
    return lengths


def check_indices(name: str, array: Any, rank: int) -> None:
    """Raise unless ``array`` may hold indices."""
    if str(getattr(array, "dtype", None)) not in ("int32", "int64"):
        raise DTypeError(
            f"{name}: got {getattr(array, 'dtype', type(array).__name__)}; expected an int32 or int64 array"
        )
    if array.ndim != rank:
        raise ShapeError(f"{name}: got shape {array.shape}; expected rank {rank}")


def check_weights(data: Any, entries: tuple[int, ...]) -> None:
    """Raise unless ``data`` is one real weight, or one for each of the entries."""
    if np.shape(data) not in ((), (1,), entries):
        raise ShapeError(f"data: got shape {np.shape(data)}; expected (), (1,) or {entries}, one weight per entry")
    dtype = jnp.asarray(data).dtype
    if not is_real(dtype):
        raise DTypeError(f"data: got {dtype}; expected real weights")


class Axes(NamedTuple):
    """What a format calls the axis whose lists it stores, and the one that their indices point into."""

    major: str
    minor: str


def check_pointers(indptr: np.ndarray[Any, Any], entries: int, axes: Axes) -> None:
    """Raise unless lists of entries begin and end in order and in range."""
    falls = np.flatnonzero(indptr[1:] < indptr[:-1])
    if falls.size:
        at = int(falls[0])
        raise StructureError(
            f"indptr: {axes.major} {at} begins at {indptr[at]} and ends at {indptr[at + 1]}; expected no decrease"
        )
    if indptr[0] != 0:
        raise StructureError(f"indptr: {axes.major} 0 begins at {indptr[0]}; expected 0")
    if indptr[-1] > entries:
        at = int(np.argmax(indptr > entries)) - 1
        raise StructureError(
            f"indptr: {axes.major} {at} ends at {indptr[at + 1]}; expected {entries} at most, the number of entries"
        )


def first_outside(indices: np.ndarray[Any, Any], size: int) -> int | None:
    """The position of the first index that is not in ``range(size)``."""
    wrong = np.flatnonzero((indices < 0) | (indices >= size))
    return int(wrong[0]) if wrong.size else None


def outside(axes: Axes, major: int, minor: Any, size: int, name: str = "indices") -> StructureError:
    """The error of an index out of range."""
    return StructureError(f"{name}: {axes.major} {major} points at {axes.minor} {minor}; expected 0 to {size - 1}")
