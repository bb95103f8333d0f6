"""``dense``: the rows of active events of a dense matrix, added up; or its columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from spikax_core import XLACustomKernel
from spikax_kernels._errors import ShapeError
from spikax_kernels.ops import _check, _cuda, _lanes, _native
from spikax_kernels.ops.dense import gpu
from spikax_kernels.ops.dense.reference import reference
from spikax_kernels.ops.sddmm import op as sddmm_op

kernel: XLACustomKernel = XLACustomKernel("spikax_dense", reference=reference)


def dense(
    weights: jax.Array, x: jax.Array, *, transpose: bool = False, binary: bool = False, backend: str | None = None
) -> jax.Array:
    """Multiply events by a dense matrix; what is inactive is not read.

    ``y[c]`` is the sum of ``weights[r, c] * x[r]`` over the rows ``r`` whose event is active (``x[r] != 0``); if
    ``transpose``, ``y[r]`` is that of ``weights[r, c] * x[c]`` over the columns ``c``. Leading axes of the operands
    are lanes and broadcast.

    Args:
        weights: The matrix, ``[..., rows, cols]``.
        x: Events, ``[..., rows]``, or ``[..., cols]`` if ``transpose``: bool, or the dtype of ``weights``, or any real
            dtype if ``binary``.
        transpose: Whether to give ``weights @ x`` in place of ``x @ weights``.
        binary: Whether an active event counts as 1, whatever its value; always so for bool.
        backend: The backend to run on, see ``spikax_core.use_backend``.

    Returns:
        ``[..., cols]``, or ``[..., rows]`` if ``transpose``, in the dtype of ``weights``.

    Raises:
        ShapeError: Lengths do not fit, or lane axes do not broadcast.
        DTypeError: Valued events of another dtype than the weights.

    Example:
        >>> import jax.numpy as jnp
        >>> from spikax_kernels.ops.dense.op import dense
        >>> weights = jnp.array([[1.0, 0.0, 2.0], [0.0, 4.0, 0.0]])
        >>> dense(weights, jnp.array([True, False]))
        Array([1., 0., 2.], dtype=float32)
        >>> dense(weights, jnp.array([1.0, 10.0, 100.0]), transpose=True)
        Array([201.,  40.], dtype=float32)
    """
    binary = binary or x.dtype == jnp.bool_
    x = _check.differentiable(x, weights.dtype)
    y: jax.Array = kernel(weights, x, transpose=transpose, binary=binary, backend=backend)
    return y


def _shape(weights: Any, x: Any, *, transpose: bool, binary: bool) -> jax.ShapeDtypeStruct:
    if len(weights.shape) < 2:
        raise ShapeError(f"weights: got shape {weights.shape}; expected a matrix, [..., rows, cols]")
    lanes = _lane_shape(weights, x)
    size, out = weights.shape[-2:][:: -1 if transpose else 1]
    if x.shape[-1] != size:
        raise ShapeError(f"x: got {x.shape[-1]} events for weights of shape {weights.shape}; expected {size}")
    _check.check_events("x", x, weights.dtype, binary)
    return jax.ShapeDtypeStruct((*lanes, out), weights.dtype)


def _lane_shape(weights: Any, x: Any) -> tuple[int, ...]:
    return _lanes.lane_shape(jax.ShapeDtypeStruct(weights.shape[:-1], weights.dtype), x)


def _build(in_avals: Any, out_avals: Sequence[Any], *, transpose: bool, binary: bool) -> Callable[..., Any]:
    call = _native.call("spikax_dense_cpu", out_avals)
    return lambda weights, x: call(weights, _native.as_events(x, binary), transpose=transpose)


def _supports(in_avals: Sequence[Any], **_: Any) -> bool | str:
    return _native.supports(in_avals[0].dtype)


def _linear(weights: Any, x: Any, *, transpose: bool, binary: bool) -> dict[int, Callable[..., Any]]:
    rows, cols = weights.shape[-2:]

    def transpose_weights(ct: jax.Array, _: None, events: Any, **__: Any) -> jax.Array:
        # The outer product at a matrix whose rows hold every column.
        lead = (1,) * (ct.ndim - 1)
        every = jnp.broadcast_to(jnp.arange(cols, dtype=jnp.int32), (*lead, rows, cols)).reshape(*lead, rows * cols)
        pre, post, kinds = (ct, events, (False, binary)) if transpose else (events, ct, (binary, False))
        pointers = jnp.zeros((*lead, 0), jnp.int32)
        lanes = weights.shape[:-2]
        z = sddmm_op.sddmm(pre, post, every, pointers, dtype=ct.dtype, lanes=lanes, binary=kinds)
        return z.reshape(weights.shape)

    def transpose_x(ct: jax.Array, weights: Any, _: None, **__: Any) -> jax.Array:
        return _lanes.fit(dense(weights, ct, transpose=not transpose), x.shape)

    return {0: transpose_weights} if binary else {0: transpose_weights, 1: transpose_x}


def _jvp_x(t: jax.Array, weights: Any, x: Any, *, transpose: bool, binary: bool) -> jax.Array:
    # Straight through: the tangent of a binary product is the valued product.
    return dense(weights, t.astype(weights.dtype), transpose=transpose)


def _batch(size: int, args: Any, axes: Any, *, transpose: bool, binary: bool) -> tuple[jax.Array, int]:
    return dense(*_lanes.lead(args, axes), transpose=transpose, binary=binary), 0


def _partition(weights: Any, x: Any, *, transpose: bool, **_: Any) -> str:
    full = _lane_shape(weights, x)
    matrix, events, result = (_lanes.names(lanes, full) for lanes in (weights.shape[:-2], x.shape[:-1], full))
    # A device that holds some of the rows, or of the columns, computes what they give.
    given, got = ("cols", "rows") if transpose else ("rows", "cols")
    return f"{matrix} rows cols, {events} {given} -> {result} {got}"


kernel.def_shape_rule(_shape)
kernel.def_kernel("cpp", "cpu", _build, supports=_supports, exportable=True, target="spikax_dense_cpu")
_cuda.declare(kernel, gpu.build, _supports)
kernel.def_linear(_linear)
kernel.def_jvp_rule2(None, _jvp_x)
kernel.def_batching_rule(_batch)
kernel.def_partition(_partition, reduce="sum")
