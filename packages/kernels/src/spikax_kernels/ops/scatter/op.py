"""``scatter``: the rows of active events, added up. It is ``spikes @ A`` for a matrix compressed by rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from spikax_core import XLACustomKernel
from spikax_kernels.ops import _check, _cuda, _lanes, _native
from spikax_kernels.ops.gather import op as gather_op
from spikax_kernels.ops.scatter import gpu
from spikax_kernels.ops.scatter.reference import reference
from spikax_kernels.ops.sddmm import op as sddmm_op

kernel: XLACustomKernel = XLACustomKernel("spikax_scatter", reference=reference)


def scatter(
    data: jax.Array,
    indices: jax.Array,
    indptr: jax.Array,
    x: jax.Array,
    *,
    cols: int,
    binary: bool = False,
    backend: str | None = None,
) -> jax.Array:
    """Add up the rows of a compressed matrix that have an event.

    ``y[c]`` is the sum of ``data[k] * x[r]`` over the entries ``k``, in row ``r`` and column ``c``, whose event is
    active (``x[r] != 0``). Leading axes of the operands are lanes and broadcast. An entry whose column is out of range
    is dropped.

    Args:
        data: Weights, ``[..., entries]``, or ``[..., 1]`` for one weight that all entries share.
        indices: The column of each entry, ``int32`` or ``int64[..., entries]``.
        indptr: Where each row begins among the entries, ``int32`` or ``int64[..., rows + 1]``; of length 0 if all rows
            hold equally many. Entries may then also be ``[..., rows, length]``, which devices can share by rows.
        x: Events, ``[..., rows]``: bool, or the dtype of ``data``, or any real dtype if ``binary``.
        cols: The number of columns.
        binary: Whether an active event counts as 1, whatever its value; always so for bool.
        backend: The backend to run on, see ``spikax_core.use_backend``.

    Returns:
        ``[..., cols]`` in the dtype of ``data``.

    Raises:
        ShapeError: Lengths do not fit, or lane axes do not broadcast.
        DTypeError: Valued events of another dtype than the weights, or indices that are not ``int32`` or ``int64``.

    Example:
        >>> import jax.numpy as jnp
        >>> from spikax_kernels.ops.scatter.op import scatter
        >>> data, indices, indptr = jnp.array([1.0, 2.0, 4.0]), jnp.array([0, 2, 1]), jnp.array([0, 2, 3])
        >>> scatter(data, indices, indptr, jnp.array([True, False]), cols=3)
        Array([1., 0., 2.], dtype=float32)
    """
    binary = binary or x.dtype == jnp.bool_
    x = _check.differentiable(x, data.dtype)
    y: jax.Array = kernel(data, indices, indptr, x, cols=cols, binary=binary, backend=backend)
    return y


def _shape(data: Any, indices: Any, indptr: Any, x: Any, *, cols: int, binary: bool) -> jax.ShapeDtypeStruct:
    lanes = _lanes.lane_shape(_lanes.listed(data, indptr), _lanes.listed(indices, indptr), indptr, x)
    _check.check_matrix(indices, indptr, rows=x.shape[-1], data=data)
    _check.check_events("x", x, data.dtype, binary)
    return jax.ShapeDtypeStruct((*lanes, cols), data.dtype)


def _build(in_avals: Any, out_avals: Sequence[Any], *, cols: int, binary: bool) -> Callable[..., Any]:
    call = _native.call("spikax_scatter_cpu", out_avals)

    def run(data: jax.Array, indices: jax.Array, indptr: jax.Array, x: jax.Array) -> Any:
        matrix = (_lanes.as_list(array, indptr) for array in (data, indices))
        return call(*matrix, indptr, _native.as_events(x, binary))

    return run


def _supports(in_avals: Sequence[Any], **_: Any) -> bool | str:
    return _native.supports(in_avals[0].dtype)


def _linear(data: Any, indices: Any, indptr: Any, x: Any, *, cols: int, binary: bool) -> dict[int, Callable[..., Any]]:
    def transpose_data(ct: jax.Array, _: None, indices: Any, indptr: Any, events: Any, **__: Any) -> jax.Array:
        if _lanes.is_per_entry(data, indices):
            lanes = data.shape[: len(x.shape) - 1]
            return sddmm_op.sddmm(events, ct, indices, indptr, dtype=ct.dtype, lanes=lanes, binary=(binary, False))
        # One weight for all entries: its cotangent is that of the product with weight 1.
        unit = scatter(jnp.ones((1,) * data.ndim, ct.dtype), indices, indptr, events, cols=cols, binary=binary)
        return _lanes.fit(gather_op.dot(ct, unit), data.shape)

    def transpose_x(ct: jax.Array, weights: Any, indices: Any, indptr: Any, _: None, **__: Any) -> jax.Array:
        return _lanes.fit(gather_op.gather(weights, indices, indptr, ct, rows=x.shape[-1]), x.shape)

    return {0: transpose_data} if binary else {0: transpose_data, 3: transpose_x}


def _jvp_x(t: jax.Array, data: Any, indices: Any, indptr: Any, x: Any, *, cols: int, binary: bool) -> jax.Array:
    # Straight through: the tangent of a binary product is the valued product.
    return scatter(data, indices, indptr, t.astype(data.dtype), cols=cols)


def _batch(size: int, args: Any, axes: Any, *, cols: int, binary: bool) -> tuple[jax.Array, int]:
    return scatter(*_lanes.lead(args, axes), cols=cols, binary=binary), 0


def _partition(data: Any, indices: Any, indptr: Any, x: Any, **_: Any) -> str:
    full = _lanes.lane_shape(_lanes.listed(data, indptr), _lanes.listed(indices, indptr), indptr, x)
    matrix = _lanes.partition_rows((data, indices), indptr, full)
    # Devices that have some of the rows each deliver the events of these.
    given = "row" if _lanes.is_rectangle(indices, indptr) else "_"
    return f"{matrix}, {_lanes.names(x.shape[:-1], full)} {given} -> {_lanes.names(full, full)} _"


kernel.def_shape_rule(_shape)
kernel.def_kernel("cpp", "cpu", _build, supports=_supports, exportable=True, target="spikax_scatter_cpu")
_cuda.declare(kernel, gpu.build, _supports)
kernel.def_linear(_linear)
kernel.def_jvp_rule2(None, None, None, _jvp_x)
kernel.def_batching_rule(_batch)
kernel.def_partition(_partition, reduce="sum")
