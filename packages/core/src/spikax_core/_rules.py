"""Checks of what a user's rule returned: its structure, then the shape and dtype of each entry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import ShapedArray

from ._compat import Array, TreeDef, Zero, is_zero, tangent_type, vary_over, varying_axes, zero_tangent
from ._describe import describe
from ._errors import RuleOutputError


def entries(where: str, value: Any, tree: TreeDef) -> list[Any]:
    """One entry of ``value`` per leaf of ``tree``; whether a sequence is a tuple or a list makes no difference.

    Raises:
        RuleOutputError: ``value`` is of another structure.
    """
    node = tree.node_data()
    a_tuple = node is not None and node[0] in (tuple, list)
    sequence = isinstance(value, (tuple, list))
    try:
        flat: list[Any] = tree.flatten_up_to(node[0](value) if a_tuple and sequence else value)
    except (TypeError, ValueError):
        got = f"{type(value).__name__} of {len(value)}" if sequence else describe(value)
        expected = f"a tuple of {tree.num_leaves}" if a_tuple else f"the structure {tree}"
        raise RuleOutputError(f"{where}: got {got}; expected {expected}") from None
    return flat


def pair(where: str, value: Any, expected: str) -> tuple[Any, Any]:
    """``value``, if it is a pair.

    Raises:
        RuleOutputError: It is not.
    """
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise RuleOutputError(f"{where}: got {describe(value)}; expected a pair {expected}")
    return value[0], value[1]


def of_type(where: str, value: Any, expected: Any) -> Array:
    """``value`` as an array of exactly the shape and dtype of ``expected``; a Python scalar takes its dtype.

    Raises:
        RuleOutputError: It has another shape or dtype, or is no array.
    """
    dtype = expected.dtype
    scalars = (int, float, complex) if jnp.issubdtype(dtype, jnp.complexfloating) else (int, float)
    if isinstance(value, scalars) and jnp.issubdtype(dtype, jnp.inexact):
        value = jnp.asarray(value, dtype)
    if getattr(value, "dtype", None) != dtype or getattr(value, "shape", None) != expected.shape:
        raise RuleOutputError(f"{where}: got {describe(value)}; expected {describe(expected)}")
    if dtype == jax.dtypes.float0 or not jax.typeof(value).weak_type:
        return value
    # A weak type would spread to what is computed from it, and no declared result is weak.
    return jnp.asarray(value, dtype)


def tangents(where: str, flat: Sequence[Any], outs: Sequence[Array]) -> list[Array]:
    """The tangents of ``outs`` as JAX wants them: arrays of their type, or symbolic zeros (for ``None`` too)."""
    return [_tangent(f"{where}, result {i}", t, out) for i, (t, out) in enumerate(zip(flat, outs, strict=True))]


def _tangent(where: str, tangent: Any, out: Array) -> Array:
    aval = jax.typeof(out)
    expected = tangent_type(aval)
    if tangent is None or is_zero(tangent):
        return zero_tangent(aval)
    checked = of_type(where, tangent, expected)
    return zero_tangent(aval) if expected.dtype == jax.dtypes.float0 else vary_over(checked, varying_axes(aval))


def cotangent(where: str, value: Any, aval: ShapedArray) -> Array:
    """The cotangent of a linear argument of type ``aval``, or a symbolic zero (for ``None`` too)."""
    if value is None or is_zero(value):
        return Zero(aval)
    return vary_over(of_type(where, value, aval), varying_axes(aval))


def batched(where: str, value: Any, axis: Any, size: int, lane: jax.ShapeDtypeStruct) -> tuple[Array, int | None]:
    """A batched result and its axis, counted from the front, where each lane is of type ``lane``."""
    if axis is None:
        return of_type(where, value, lane), None
    rank = len(lane.shape) + 1
    if not isinstance(axis, int) or not -rank <= axis < rank:
        raise RuleOutputError(f"{where}: got the batch axis {axis!r}; expected None or an integer in [{-rank}, {rank})")
    axis %= rank
    shape = (*lane.shape[:axis], size, *lane.shape[axis:])
    return of_type(where, value, jax.ShapeDtypeStruct(shape, lane.dtype)), axis
