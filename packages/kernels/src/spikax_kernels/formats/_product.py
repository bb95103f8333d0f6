"""What ``@`` asks of its operands in every format: events of rank 1 or 2 that fit, and one dtype for the result."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from spikax_kernels._binary import BinaryArray
from spikax_kernels._errors import DTypeError, ShapeError
from spikax_kernels.formats._structure import is_real


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
    array = jnp.asarray(array)
    if array.dtype != jnp.bool_ and not is_real(array.dtype):
        raise DTypeError(f"events: got {array.dtype}; expected bool or a real dtype")
    return Events(array, binary=marked or array.dtype == jnp.bool_)


def check_shapes(left: tuple[int, ...], right: tuple[int, ...], x: jax.Array) -> None:
    """Raise unless ``left @ right`` is a product of a matrix with the vector or matrix ``x``."""
    if x.ndim not in (1, 2):
        raise ShapeError(f"got {left} @ {right}; expected events of rank 1 or 2 (for more, use jax.vmap)")
    if left[-1] != right[0]:
        raise ShapeError(f"got {left} @ {right}; expected equal inner lengths, not {left[-1]} and {right[0]}")


def promote(data: jax.Array, events: Events) -> tuple[jax.Array, Events]:
    """Weights and valued events in the dtype of the result; binary events do not take part in it."""
    if events.binary:
        return data, events
    # The result dtype is part of the format's contract, so the caller's setting for implicit promotion is not asked.
    with jax.numpy_dtype_promotion("standard"):
        dtype = jnp.result_type(data, events.array)
    return data.astype(dtype), Events(events.array.astype(dtype), binary=False)
