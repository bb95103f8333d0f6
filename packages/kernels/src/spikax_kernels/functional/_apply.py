"""What the functional forms have in common: a matrix made of raw arrays, unchecked, and events of one rank."""

from __future__ import annotations

from typing import Any

import jax

from spikax_kernels._errors import DTypeError, ShapeError
from spikax_kernels.formats import _product
from spikax_kernels.formats.matrix import SparseMatrix


def apply(
    name: str, A: SparseMatrix, x: Any, *, rank: int, binary: bool = False, transpose: bool, backend: str | None
) -> jax.Array:
    """``A @ x``, or ``A.T @ x`` if ``transpose``, for ``x`` of this rank."""
    events = _product.as_events(x)
    if events is None:
        raise DTypeError(f"{name}: got x of type {type(x).__name__}; expected an array")
    if events.array.ndim != rank:
        other = f"{name[:-2]}{'mm' if rank == 1 else 'mv'}"
        raise ShapeError(f"{name}: got x of shape {events.array.shape}; expected rank {rank}, see also {other}")
    events = events._replace(binary=binary or events.binary)
    return _product.right(A.T if transpose else A, events, backend)
