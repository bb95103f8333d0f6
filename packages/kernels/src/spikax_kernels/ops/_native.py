"""What the CPU kernels of all operators have in common: the dtypes they take, and how they are called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

WEIGHTS = ("float16", "bfloat16", "float32", "float64")


def supports(dtype: Any) -> bool | str:
    """``True`` if kernels are compiled for weights of ``dtype``, else why not."""
    return str(dtype) in WEIGHTS or f"weights are {dtype}; it is compiled for {', '.join(WEIGHTS)}"


def as_events(x: jax.Array, binary: bool) -> jax.Array:
    """``x`` as kernels take it: bool if only being active counts."""
    return x != 0 if binary and x.dtype != jnp.bool_ else x


def call(target: str, out_avals: Sequence[Any]) -> Callable[..., Any]:
    """The FFI call to ``target``, as a function of its operands."""
    (out,) = out_avals
    return jax.ffi.ffi_call(target, jax.ShapeDtypeStruct(out.shape, out.dtype))
