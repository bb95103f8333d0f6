"""How the kernels in ``gpu.cu`` are launched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from spikax_kernels.cuda._steps import Argument, Buffer, Launch
from spikax_kernels.ops import _cuda

_BLOCK = 128
_AT_ONCE = 4
"""Entries of a thread."""


def build(in_avals: Any, out_avals: Sequence[Any], *, size: int, binary: bool, exact: bool) -> Callable[..., Any]:
    """The product as a function of its operands, see ``def_kernel``."""
    (out,) = out_avals
    data, row, _, x = in_avals
    lanes, packed = _cuda.describe_lanes(*in_avals)
    entries = row.shape[-1]
    shape = np.array([x.shape[-1], size, entries, data.shape[-1] != 1 or entries == 1], np.int64)
    grid = (-(-entries // (_BLOCK * _AT_ONCE)), 1, _cuda.along_z(lanes))

    def launch(function: str, to: Sequence[Argument]) -> Launch:
        arguments: list[Argument] = [*map(Buffer, range(4)), *to, shape, packed]
        return Launch(function, grid, (_BLOCK, 1, 1), arguments)

    types = {"WEIGHT": out.dtype, "INDEX": row.dtype, "EVENT": _cuda.event_type(x, binary)}
    compiled = _cuda.program("coo", "EXACT" if exact else "", **types)
    product = _cuda.sums(compiled, out, 4, launch, "coo", lanes=lanes, exact=exact, addends=entries)

    def run(data: jax.Array, row: jax.Array, col: jax.Array, x: jax.Array) -> Any:
        return product(data, row, col, _cuda.as_events(x, binary))[0]

    return run
