"""Batching by broadcasting: leading axes of the operands are lanes, and a lane axis of length 1 serves them all.

So ``vmap`` over any subset of the operands is one native call that copies nothing: it puts one more axis in front of
each operand, of length 1 where that operand is not batched.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spikax_kernels._errors import ShapeError


def is_rectangle(indices: Any, indptr: Any) -> bool:
    """Whether entries come as ``[..., rows, length]``, for rows of one length, and not as one list."""
    return len(indices.shape) > len(indptr.shape)


def is_per_entry(data: Any, indices: Any) -> bool:
    """Whether there is a weight for each entry."""
    return len(data.shape) == len(indices.shape) and bool(data.shape[-1] == indices.shape[-1])


def list_shape(array: Any, indptr: Any) -> tuple[int, ...]:
    """The shape of ``array`` with what comes after the lanes, of which ``indptr`` has as many, as one axis."""
    lanes = len(indptr.shape) - 1
    return (*array.shape[:lanes], math.prod(array.shape[lanes:]))


def as_list(array: jax.Array, indptr: Any) -> jax.Array:
    """``array`` in this shape."""
    shape = list_shape(array, indptr)
    return array if array.shape == shape else array.reshape(shape)


def listed(array: Any, indptr: Any) -> jax.ShapeDtypeStruct:
    """The type of ``array`` in this shape."""
    return jax.ShapeDtypeStruct(list_shape(array, indptr), array.dtype)


def lead(args: Sequence[jax.Array], axes: Sequence[int | None]) -> list[jax.Array]:
    """Each operand with one more axis in front: its batch axis, or one of length 1."""
    return [arg[None] if axis is None else jnp.moveaxis(arg, axis, 0) for arg, axis in zip(args, axes, strict=True)]


def lane_shape(*operands: Any) -> tuple[int, ...]:
    """The lane axes of a result: those of all operands, broadcast."""
    shapes = [operand.shape[:-1] for operand in operands]
    if len({len(shape) for shape in shapes}) != 1:
        raise ShapeError(f"got operands with lane axes {shapes}; expected the same number of axes in each")
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise ShapeError(f"got operands with lane axes {shapes}; expected lengths that are equal or 1") from None


def partition(*operands: Any, lanes: tuple[int, ...] | None = None) -> str:
    """How a call is divided over devices: along lanes, see ``XLACustomKernel.def_partition``.

    Args:
        operands: What has lane axes in front of one other.
        lanes: The lane axes of the result, ``1`` where it is summed over them; those of all operands if left out.
    """
    full = lane_shape(*operands)
    ins = ", ".join(f"{names(operand.shape[:-1], full)} _" for operand in operands)
    return f"{ins} -> {names(full if lanes is None else lanes, full)} _"


def partition_rows(matrix: Sequence[Any], indptr: Any, full: tuple[int, ...]) -> str:
    """The part of such a rule for weights and indices, of which rectangles are divided by rows, and for pointers."""
    lanes = len(indptr.shape) - 1
    parts = [(array, "row _" if is_rectangle(array, indptr) else "_") for array in matrix]
    return ", ".join(f"{names(array.shape[:lanes], full)} {own}" for array, own in [*parts, (indptr, "_")])


def names(lengths: tuple[int, ...], full: tuple[int, ...]) -> str:
    """The names of lane axes in a rule of :func:`partition`, where all operands together have the axes ``full``."""
    return " ".join(f"lane{i}" if own == size else "_" for i, (own, size) in enumerate(zip(lengths, full, strict=True)))


def fit(x: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """``x`` summed over the lanes that ``shape`` shares, and repeated over those that ``x`` shares."""
    axes = tuple(i for i, (have, want) in enumerate(zip(x.shape, shape, strict=True)) if have != want == 1)
    return jnp.broadcast_to(x.sum(axes, keepdims=True) if axes else x, shape)
