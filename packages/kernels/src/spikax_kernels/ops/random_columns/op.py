"""``random_columns``: columns at random for each row, without a column coming twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spikax_core import XLACustomKernel
from spikax_kernels._errors import ShapeError
from spikax_kernels.ops import _cuda
from spikax_kernels.ops.random_columns import gpu
from spikax_kernels.ops.random_columns.reference import reference

kernel: XLACustomKernel = XLACustomKernel("spikax_random_columns", reference=reference)

LIMIT = np.iinfo(np.int32).max
"""The largest number of columns: a draw has 32 bits."""


def random_columns(
    key: jax.Array,
    lengths: jax.Array,
    *,
    rows: int,
    entries: int,
    cols: int,
    replace: bool = False,
    loops: bool = True,
    backend: str | None = None,
) -> jax.Array:
    """Draw the columns of each row: every set of columns is equally likely.

    Row ``i`` has a stream of numbers that are exactly uniform, made by Philox from the key and ``i`` alone. Its columns
    are the first distinct numbers of the stream (with ``replace``, the first ones). A row that takes more than half of
    the columns draws those that it leaves out.

    Args:
        key: ``uint32[2]``.
        lengths: The number of columns of each row, ``int32[rows]``; of length 0 if all rows have equally many.
        rows: The number of rows.
        entries: The length of the result: the sum of ``lengths``, or more.
        cols: The number of columns, less than 2^31.
        replace: Whether a row may hold a column twice.
        loops: Whether row ``i`` may hold column ``i``.
        backend: The backend to run on, see ``spikax_core.use_backend``.

    Returns:
        ``int32[entries]``, row after row, ascending within each; ``cols`` where a row finds no more columns, and after
        the last row.

    Raises:
        ShapeError: Lengths do not fit each other.

    Example:
        >>> import jax.numpy as jnp
        >>> from spikax_kernels.ops.random_columns.op import random_columns
        >>> key, lengths = jnp.array([1, 2], jnp.uint32), jnp.array([2, 0, 4])
        >>> random_columns(key, lengths, rows=3, entries=7, cols=4).tolist()[2:]
        [0, 1, 2, 3, 4]
    """
    columns: jax.Array = kernel(
        key, lengths, rows=rows, entries=entries, cols=cols, replace=replace, loops=loops, backend=backend
    )
    return columns


def _shape(key: Any, lengths: Any, *, rows: int, entries: int, cols: int, **_: Any) -> jax.ShapeDtypeStruct:
    if key.shape != (2,) or key.dtype != jnp.uint32:
        raise ShapeError(f"key: got {key.dtype}{list(key.shape)}; expected uint32[2]")
    if lengths.dtype != jnp.int32 or lengths.shape not in ((0,), (rows,)):
        raise ShapeError(f"lengths: got {lengths.dtype}{list(lengths.shape)}; expected int32[{rows}], or int32[0]")
    if lengths.shape != (rows,) and entries % rows:
        raise ShapeError(f"entries: got {entries} for {rows} equal rows; expected a multiple")
    if not 0 <= cols <= LIMIT:
        raise ShapeError(f"cols: got {cols}; expected 0 to {LIMIT}")
    return jax.ShapeDtypeStruct((entries,), jnp.int32)


def _build(in_avals: Any, out_avals: Sequence[Any], *, entries: int, **params: Any) -> Callable[..., Any]:
    (out,) = out_avals
    call = jax.ffi.ffi_call("spikax_random_columns_cpu", jax.ShapeDtypeStruct(out.shape, out.dtype))
    attributes = {name: np.int64(value) if name in ("rows", "cols") else value for name, value in params.items()}
    return lambda key, lengths: call(key, lengths, **attributes)


kernel.def_shape_rule(_shape)
kernel.def_kernel("cpp", "cpu", _build, exportable=True, target="spikax_random_columns_cpu")
_cuda.declare(kernel, gpu.build, gpu.supports)
