"""How types of arrays read in a message: ``f32[3,4]``, as JAX prints them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

_PREFIXES = (("bfloat", "bf"), ("float8_", "f8_"), ("float", "f"), ("uint", "u"), ("int", "i"), ("complex", "c"))


def describe(value: Any) -> str:
    """The dtype and shape of an array, aval or ``ShapeDtypeStruct``; the type's name for anything else."""
    dtype, shape = getattr(value, "dtype", None), getattr(value, "shape", None)
    if dtype is None or shape is None:
        return type(value).__name__
    name = str(np.dtype(dtype)) if isinstance(dtype, type) else str(dtype)
    short = "float0" if dtype == jax.dtypes.float0 else _shorten(name)
    return f"{short}[{','.join(map(str, shape))}]"


def _shorten(name: str) -> str:
    for long, short in _PREFIXES:
        if name.startswith(long):
            return short + name.removeprefix(long)
    return name


def describe_all(values: Iterable[Any]) -> str:
    """The types of several values, as a parenthesised list."""
    return f"({', '.join(map(describe, values))})"
