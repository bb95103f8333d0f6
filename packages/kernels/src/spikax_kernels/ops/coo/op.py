"""``coo``: entries in any order, each with its row and column. It is ``spikes @ A`` for a matrix in coordinates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from spikax_core import XLACustomKernel
from spikax_kernels._errors import DTypeError, ShapeError
from spikax_kernels.ops import _check, _cuda, _lanes, _native
from spikax_kernels.ops._reference import take
from spikax_kernels.ops.coo import gpu
from spikax_kernels.ops.coo.reference import reference
from spikax_kernels.ops.gather import op as gather_op
from spikax_kernels.ops.sddmm import op as sddmm_op

kernel: XLACustomKernel = XLACustomKernel("spikax_coo", reference=reference)


def coo(
    data: jax.Array,
    row: jax.Array,
    col: jax.Array,
    x: jax.Array,
    *,
    size: int,
    binary: bool = False,
    backend: str | None = None,
) -> jax.Array:
    """Deliver the events of a matrix in coordinates.

    ``y[c]`` is the sum of ``data[k] * x[r]`` over the entries ``k``, in row ``r`` and column ``c``, whose event is
    active (``x[r] != 0``). With ``row`` and ``col`` swapped it is the product with the transpose. Leading axes of the
    operands are lanes and broadcast. An entry whose row or column is out of range is dropped.

    Args:
        data: Weights, ``[..., entries]``, or ``[..., 1]`` for one weight that all entries share.
        row: The row of each entry, ``int32`` or ``int64[..., entries]``.
        col: The column of each entry, of the same dtype and length.
        x: Events, ``[..., rows]``: bool, or the dtype of ``data``, or any real dtype if ``binary``.
        size: The number of columns.
        binary: Whether an active event counts as 1, whatever its value; always so for bool.
        backend: The backend to run on, see ``spikax_core.use_backend``.

    Returns:
        ``[..., size]`` in the dtype of ``data``.

    Raises:
        ShapeError: Lengths do not fit, or lane axes do not broadcast.
        DTypeError: Valued events of another dtype than the weights, or indices that are not both ``int32`` or both
            ``int64``.

    Example:
        >>> import jax.numpy as jnp
        >>> from spikax_kernels.ops.coo.op import coo
        >>> data, row, col = jnp.array([1.0, 4.0, 2.0]), jnp.array([0, 1, 0]), jnp.array([0, 1, 2])
        >>> coo(data, row, col, jnp.array([True, False]), size=3)
        Array([1., 0., 2.], dtype=float32)
        >>> coo(data, col, row, jnp.array([1.0, 10.0, 100.0]), size=2)
        Array([201.,  40.], dtype=float32)
    """
    binary = binary or x.dtype == jnp.bool_
    x = _check.differentiable(x, data.dtype)
    y: jax.Array = kernel(data, row, col, x, size=size, binary=binary, backend=backend)
    return y


def _shape(data: Any, row: Any, col: Any, x: Any, *, size: int, binary: bool) -> jax.ShapeDtypeStruct:
    lanes = _lanes.lane_shape(data, row, col, x)
    _check.check_indices("row", row)
    if row.dtype != col.dtype:
        raise DTypeError(f"col: got {col.dtype}; expected {row.dtype}, as row is")
    if row.shape[-1] != col.shape[-1]:
        raise ShapeError(f"row and col: got {row.shape[-1]} and {col.shape[-1]} entries; expected as many of both")
    _check.check_weights(data, row.shape[-1])
    _check.check_events("x", x, data.dtype, binary)
    return jax.ShapeDtypeStruct((*lanes, size), data.dtype)


def _build(in_avals: Any, out_avals: Sequence[Any], *, size: int, binary: bool) -> Callable[..., Any]:
    call = _native.call("spikax_coo_cpu", out_avals)
    return lambda data, row, col, x: call(data, row, col, _native.as_events(x, binary))


def _supports(in_avals: Sequence[Any], **_: Any) -> bool | str:
    return _native.supports(in_avals[0].dtype)


def _linear(data: Any, row: Any, col: Any, x: Any, *, size: int, binary: bool) -> dict[int, Callable[..., Any]]:
    def transpose_data(ct: jax.Array, _: None, row: Any, col: Any, events: Any, **__: Any) -> jax.Array:
        if data.shape[-1] == row.shape[-1]:
            # The outer product at rows of one entry each: entry k is all there is in a row whose event is that of k.
            each = jnp.vectorize(take, signature="(r),(k)->(k)")(events, row)
            one = jnp.zeros((1,) * (row.ndim - 1) + (0,), row.dtype)
            lanes = data.shape[:-1]
            return sddmm_op.sddmm(each, ct, col, one, dtype=ct.dtype, lanes=lanes, binary=(binary, False))
        # One weight for all entries: its cotangent is that of the product with weight 1.
        unit = coo(jnp.ones((1,) * data.ndim, ct.dtype), row, col, events, size=size, binary=binary)
        return _lanes.fit(gather_op.dot(ct, unit), data.shape)

    def transpose_x(ct: jax.Array, weights: Any, row: Any, col: Any, _: None, **__: Any) -> jax.Array:
        return _lanes.fit(coo(weights, col, row, ct, size=x.shape[-1]), x.shape)

    return {0: transpose_data} if binary else {0: transpose_data, 3: transpose_x}


def _jvp_x(t: jax.Array, data: Any, row: Any, col: Any, x: Any, *, size: int, binary: bool) -> jax.Array:
    # Straight through: the tangent of a binary product is the valued product.
    return coo(data, row, col, t.astype(data.dtype), size=size)


def _batch(lanes: int, args: Any, axes: Any, *, size: int, binary: bool) -> tuple[jax.Array, int]:
    return coo(*_lanes.lead(args, axes), size=size, binary=binary), 0


kernel.def_shape_rule(_shape)
kernel.def_kernel("cpp", "cpu", _build, supports=_supports, exportable=True, target="spikax_coo_cpu")
_cuda.declare(kernel, gpu.build, _supports)
kernel.def_linear(_linear)
kernel.def_jvp_rule2(None, None, None, _jvp_x)
kernel.def_batching_rule(_batch)
kernel.def_partition(lambda *operands, **_: _lanes.partition(*operands))
