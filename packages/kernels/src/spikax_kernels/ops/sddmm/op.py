"""``sddmm``: the outer product of two vectors at the entries of a matrix (sampled dense-dense product)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from spikax_core import XLACustomKernel
from spikax_kernels._errors import ShapeError
from spikax_kernels.ops import _check, _cuda, _lanes, _native
from spikax_kernels.ops.gather import op as gather_op
from spikax_kernels.ops.scatter import op as scatter_op
from spikax_kernels.ops.sddmm import gpu
from spikax_kernels.ops.sddmm.reference import reference

kernel: XLACustomKernel = XLACustomKernel("spikax_sddmm", reference=reference)


def sddmm(
    y: jax.Array,
    x: jax.Array,
    indices: jax.Array,
    indptr: jax.Array,
    *,
    dtype: jax.typing.DTypeLike,
    lanes: tuple[int, ...] = (),
    binary: tuple[bool, bool] = (False, False),
    backend: str | None = None,
) -> jax.Array:
    """Multiply two vectors at the entries of a compressed matrix: the gradient of a weight.

    ``z[k]`` is ``y[r] * x[c]`` for the entry ``k``, in row ``r`` and column ``c``, if both are active, else zero.
    Leading axes of the operands are lanes and broadcast. Entries out of range are zero.

    Args:
        y: One value per row, ``[..., rows]``: bool, or ``dtype``, or any real dtype if binary.
        x: One value per column, ``[..., cols]``: likewise.
        indices: The column of each entry, ``int32`` or ``int64[..., entries]``.
        indptr: Where each row begins among the entries, ``int32`` or ``int64[..., rows + 1]``; of length 0 if all rows
            hold equally many. Entries may then also be ``[..., rows, length]``, which devices can share by rows.
        dtype: The dtype of the result.
        lanes: The lane axes of the result; over those of length 1 lanes are summed.
        binary: For ``y`` and ``x``, whether active values count as 1; always so for bool.
        backend: The backend to run on, see ``spikax_core.use_backend``.

    Returns:
        ``[*lanes, entries]`` in ``dtype``, or ``[*lanes, rows, length]`` as ``indices``.

    Raises:
        ShapeError: Lengths do not fit, or lane axes do not broadcast.
        DTypeError: Values of another dtype than ``dtype`` that are not binary, or indices that are not ``int32`` or
            ``int64``.

    Example:
        >>> import jax.numpy as jnp
        >>> from spikax_kernels.ops.sddmm.op import sddmm
        >>> y, x = jnp.array([1.0, 2.0]), jnp.array([3.0, 5.0, 7.0])
        >>> indices, indptr = jnp.array([0, 2, 1]), jnp.array([0, 2, 3])
        >>> sddmm(y, x, indices, indptr, dtype=jnp.float32)
        Array([ 3.,  7., 10.], dtype=float32)
    """
    binary = (binary[0] or y.dtype == jnp.bool_, binary[1] or x.dtype == jnp.bool_)
    y, x = _check.differentiable(y, dtype), _check.differentiable(x, dtype)
    z: jax.Array = kernel(y, x, indices, indptr, dtype=jnp.dtype(dtype), lanes=lanes, binary=binary, backend=backend)
    return z


def _shape(y: Any, x: Any, indices: Any, indptr: Any, *, dtype: Any, lanes: Any, binary: Any) -> jax.ShapeDtypeStruct:
    full = _lanes.lane_shape(y, x, _lanes.listed(indices, indptr), indptr)
    if len(lanes) != len(full) or any(own not in (1, size) for own, size in zip(lanes, full, strict=True)):
        raise ShapeError(f"lanes: got {lanes} for operands with lane axes {full}; expected the same, or 1 where to sum")
    _check.check_matrix(indices, indptr, rows=y.shape[-1])
    _check.check_events("y", y, dtype, binary[0])
    _check.check_events("x", x, dtype, binary[1])
    return jax.ShapeDtypeStruct((*lanes, *indices.shape[len(lanes) :]), dtype)


def _build(in_avals: Any, out_avals: Sequence[Any], *, dtype: Any, lanes: Any, binary: Any) -> Callable[..., Any]:
    (out,) = out_avals
    call = _native.call("spikax_sddmm_cpu", [_lanes.listed(out, in_avals[3])])

    def run(y: jax.Array, x: jax.Array, indices: jax.Array, indptr: jax.Array) -> jax.Array:
        vectors = _native.as_events(y, binary[0]), _native.as_events(x, binary[1])
        z: jax.Array = call(*vectors, _lanes.as_list(indices, indptr), indptr)
        return z.reshape(out.shape)

    return run


def _supports(in_avals: Sequence[Any], *, dtype: Any, **_: Any) -> bool | str:
    return _native.supports(dtype)


def _linear(y: Any, x: Any, *_: Any, binary: Any, **__: Any) -> dict[int, Callable[..., Any]]:
    def transpose_y(ct: jax.Array, _: Any, other: Any, indices: Any, indptr: Any, /, **__: Any) -> jax.Array:
        return _lanes.fit(gather_op.gather(ct, indices, indptr, other, rows=y.shape[-1], binary=binary[1]), y.shape)

    def transpose_x(ct: jax.Array, other: Any, _: Any, indices: Any, indptr: Any, /, **__: Any) -> jax.Array:
        return _lanes.fit(scatter_op.scatter(ct, indices, indptr, other, cols=x.shape[-1], binary=binary[0]), x.shape)

    return {i: rule for i, rule in enumerate((transpose_y, transpose_x)) if not binary[i]}


def _jvp_y(t: jax.Array, y: Any, x: Any, *matrix: Any, dtype: Any, lanes: Any, binary: Any) -> jax.Array:
    return sddmm(t.astype(dtype), x, *matrix, dtype=dtype, lanes=lanes, binary=(False, binary[1]))


def _jvp_x(t: jax.Array, y: Any, x: Any, *matrix: Any, dtype: Any, lanes: Any, binary: Any) -> jax.Array:
    return sddmm(y, t.astype(dtype), *matrix, dtype=dtype, lanes=lanes, binary=(binary[0], False))


def _batch(size: int, args: Any, axes: Any, *, dtype: Any, lanes: Any, binary: Any) -> tuple[jax.Array, int]:
    return sddmm(*_lanes.lead(args, axes), dtype=dtype, lanes=(size, *lanes), binary=binary), 0


def _partition(y: Any, x: Any, indices: Any, indptr: Any, *, lanes: tuple[int, ...], **_: Any) -> str:
    full = _lanes.lane_shape(y, x, _lanes.listed(indices, indptr), indptr)
    rows, columns, result = (_lanes.names(own, full) for own in (y.shape[:-1], x.shape[:-1], lanes))
    # Devices that have some of the rows compute what is there.
    row, entries = ("row", "row _") if _lanes.is_rectangle(indices, indptr) else ("_", "_")
    matrix = _lanes.partition_rows((indices,), indptr, full)
    return f"{rows} {row}, {columns} _, {matrix} -> {result} {entries}"


def _on_one_device(y: Any, x: Any, indices: Any, indptr: Any, *, lanes: tuple[int, ...], **params: Any) -> jax.Array:
    full = _lanes.lane_shape(y, x, _lanes.listed(indices, indptr), indptr)
    here = tuple(own if own == 1 else size for own, size in zip(lanes, full, strict=True))
    return sddmm(y, x, indices, indptr, lanes=here, **params)


kernel.def_shape_rule(_shape)
kernel.def_kernel("cpp", "cpu", _build, supports=_supports, exportable=True, target="spikax_sddmm_cpu")
_cuda.declare(kernel, gpu.build, _supports)
kernel.def_linear(_linear)
kernel.def_jvp_rule2(_jvp_y, _jvp_x, None, None)
kernel.def_batching_rule(_batch)
kernel.def_partition(_partition, reduce="sum", compute=_on_one_device)
