"""``gather``: each row collects from the events it points at. It is ``A @ x`` for a matrix compressed by rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from spikax_core import XLACustomKernel
from spikax_kernels.ops import _check, _cuda, _lanes, _native
from spikax_kernels.ops.gather import gpu
from spikax_kernels.ops.gather.reference import reference
from spikax_kernels.ops.scatter import op as scatter_op
from spikax_kernels.ops.sddmm import op as sddmm_op

kernel: XLACustomKernel = XLACustomKernel("spikax_gather", reference=reference)


def gather(
    data: jax.Array,
    indices: jax.Array,
    indptr: jax.Array,
    x: jax.Array,
    *,
    rows: int,
    binary: bool = False,
    backend: str | None = None,
) -> jax.Array:
    """Let each row of a compressed matrix collect from the events in its columns.

    ``y[r]`` is the sum of ``data[k] * x[c]`` over the entries ``k``, in row ``r`` and column ``c``, whose event is
    active (``x[c] != 0``). Leading axes of the operands are lanes and broadcast. An entry whose column is out of range
    is dropped.

    Args:
        data: Weights, ``[..., entries]``, or ``[..., 1]`` for one weight that all entries share.
        indices: The column of each entry, ``int32`` or ``int64[..., entries]``.
        indptr: Where each row begins among the entries, ``int32`` or ``int64[..., rows + 1]``; of length 0 if all rows
            hold equally many. Entries may then also be ``[..., rows, length]``, which devices can share by rows.
        x: Events, ``[..., cols]``: bool, or the dtype of ``data``, or any real dtype if ``binary``.
        rows: The number of rows.
        binary: Whether an active event counts as 1, whatever its value; always so for bool.
        backend: The backend to run on, see ``spikax_core.use_backend``.

    Returns:
        ``[..., rows]`` in the dtype of ``data``.

    Raises:
        ShapeError: Lengths do not fit, or lane axes do not broadcast.
        DTypeError: Valued events of another dtype than the weights, or indices that are not ``int32`` or ``int64``.

    Example:
        >>> import jax.numpy as jnp
        >>> from spikax_kernels.ops.gather.op import gather
        >>> data, indices, indptr = jnp.array([1.0, 2.0, 4.0]), jnp.array([0, 2, 1]), jnp.array([0, 2, 3])
        >>> gather(data, indices, indptr, jnp.array([1.0, 10.0, 100.0]), rows=2)
        Array([201.,  40.], dtype=float32)
    """
    binary = binary or x.dtype == jnp.bool_
    x = _check.differentiable(x, data.dtype)
    y: jax.Array = kernel(data, indices, indptr, x, rows=rows, binary=binary, backend=backend)
    return y


def dot(weights: jax.Array, x: jax.Array) -> jax.Array:
    """The sum of ``weights * x`` over the last axis, kept with length 1: what a full row collects from ``x``."""
    size, lead = x.shape[-1], (1,) * (x.ndim - 1)
    columns = jnp.arange(size, dtype=jnp.int32).reshape(*lead, size)
    return gather(weights, columns, jnp.zeros((*lead, 0), jnp.int32), x, rows=1)


def _shape(data: Any, indices: Any, indptr: Any, x: Any, *, rows: int, binary: bool) -> jax.ShapeDtypeStruct:
    lanes = _lanes.lane_shape(_lanes.listed(data, indptr), _lanes.listed(indices, indptr), indptr, x)
    _check.check_matrix(indices, indptr, rows=rows, data=data)
    _check.check_events("x", x, data.dtype, binary)
    return jax.ShapeDtypeStruct((*lanes, rows), data.dtype)


def _build(in_avals: Any, out_avals: Sequence[Any], *, rows: int, binary: bool) -> Callable[..., Any]:
    call = _native.call("spikax_gather_cpu", out_avals)

    def run(data: jax.Array, indices: jax.Array, indptr: jax.Array, x: jax.Array) -> Any:
        matrix = (_lanes.as_list(array, indptr) for array in (data, indices))
        return call(*matrix, indptr, _native.as_events(x, binary))

    return run


def _supports(in_avals: Sequence[Any], **_: Any) -> bool | str:
    return _native.supports(in_avals[0].dtype)


def _linear(data: Any, indices: Any, indptr: Any, x: Any, *, rows: int, binary: bool) -> dict[int, Callable[..., Any]]:
    def transpose_data(ct: jax.Array, _: None, indices: Any, indptr: Any, events: Any, **__: Any) -> jax.Array:
        if _lanes.is_per_entry(data, indices):
            lanes = data.shape[: len(x.shape) - 1]
            return sddmm_op.sddmm(ct, events, indices, indptr, dtype=ct.dtype, lanes=lanes, binary=(False, binary))
        # One weight for all entries: its cotangent is that of the product with weight 1.
        unit = gather(jnp.ones((1,) * data.ndim, ct.dtype), indices, indptr, events, rows=rows, binary=binary)
        return _lanes.fit(dot(ct, unit), data.shape)

    def transpose_x(ct: jax.Array, weights: Any, indices: Any, indptr: Any, _: None, **__: Any) -> jax.Array:
        return _lanes.fit(scatter_op.scatter(weights, indices, indptr, ct, cols=x.shape[-1]), x.shape)

    return {0: transpose_data} if binary else {0: transpose_data, 3: transpose_x}


def _jvp_x(t: jax.Array, data: Any, indices: Any, indptr: Any, x: Any, *, rows: int, binary: bool) -> jax.Array:
    # Straight through: the tangent of a binary product is the valued product.
    return gather(data, indices, indptr, t.astype(data.dtype), rows=rows)


def _batch(size: int, args: Any, axes: Any, *, rows: int, binary: bool) -> tuple[jax.Array, int]:
    return gather(*_lanes.lead(args, axes), rows=rows, binary=binary), 0


def _partition(data: Any, indices: Any, indptr: Any, x: Any, **_: Any) -> str:
    full = _lanes.lane_shape(_lanes.listed(data, indptr), _lanes.listed(indices, indptr), indptr, x)
    matrix = _lanes.partition_rows((data, indices), indptr, full)
    # Devices that have some of the rows compute what these collect.
    got = "row" if _lanes.is_rectangle(indices, indptr) else "_"
    return f"{matrix}, {_lanes.names(x.shape[:-1], full)} _ -> {_lanes.names(full, full)} {got}"


def _on_one_device(data: Any, indices: Any, indptr: Any, x: Any, *, rows: int, **params: Any) -> jax.Array:
    here = indices.shape[-2] if _lanes.is_rectangle(indices, indptr) else rows
    return gather(data, indices, indptr, x, rows=here, **params)


kernel.def_shape_rule(_shape)
kernel.def_kernel("cpp", "cpu", _build, supports=_supports, exportable=True, target="spikax_gather_cpu")
_cuda.declare(kernel, gpu.build, _supports)
kernel.def_linear(_linear)
kernel.def_jvp_rule2(None, None, None, _jvp_x)
kernel.def_batching_rule(_batch)
kernel.def_partition(_partition, compute=_on_one_device)
