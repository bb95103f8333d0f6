"""How the kernel in ``gpu.cu`` is launched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spikax_kernels.cuda._steps import Argument, Buffer, Launch, call
from spikax_kernels.ops import _cuda
from spikax_kernels.ops.random_columns.reference import ends_of

_BLOCK = 256
_MOST_SHARED = 96 << 10
"""Bytes of shared memory for a bitmap: a block may have 99 KB on any GPU since sm_80 (CUDA C++ programming guide,
technical specifications)."""


def supports(in_avals: Any, *, cols: int, replace: bool, **_: Any) -> bool | str:
    """Whether the kernel draws such columns, or why not."""
    if replace:
        return "columns that may come twice are drawn by the reference"
    if cols > 8 * _MOST_SHARED:
        return f"got {cols} columns; a bitmap in shared memory has room for {8 * _MOST_SHARED}"
    return True


def build(
    in_avals: Any,
    out_avals: Sequence[Any],
    *,
    rows: int,
    entries: int,
    cols: int,
    replace: bool,
    loops: bool,
    exact: bool,
) -> Callable[..., Any]:
    """The draw as a function of its operands, see ``def_kernel``; it is always the same bits."""
    (out,) = out_avals
    equal = in_avals[1].shape[0] != rows
    numbers = [np.int64(number) for number in (rows, entries, cols, loops, equal)]
    shared = -(-max(cols, 1) // 32) * 4
    arguments: list[Argument] = [Buffer(0), Buffer(1), Buffer(2), *numbers]
    launch = Launch("random_columns", (rows, 1, 1), (_BLOCK, 1, 1), arguments, shared, resident=True)
    draw = call(_cuda.program("random_columns"), [launch], [jax.ShapeDtypeStruct(out.shape, out.dtype)])

    def run(key: jax.Array, lengths: jax.Array) -> Any:
        if entries == 0:
            return jnp.zeros(0, out.dtype)
        begins = lengths if equal else jnp.concatenate([jnp.zeros(1, jnp.int32), ends_of(lengths, entries)])
        return draw(key, begins)[0]

    return run
