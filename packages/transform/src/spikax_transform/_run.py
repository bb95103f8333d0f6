"""Run a program over plain leaves: inlined where something around is staged, else compiled once for each structure."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeAlias

import jax

from . import _compat
from ._intern import Interned, UnkeyableError, jaxpr_key

Leaves: TypeAlias = list[Any]
FlatProgram: TypeAlias = Callable[..., Any]

# Enough for any model, small enough that a program that makes programs without end stays bounded.
_programs = Interned[FlatProgram](capacity=512)


def run(make: Callable[..., FlatProgram], jaxprs: Sequence[_compat.Jaxpr], spec: Hashable, *operands: Any) -> Any:
    """Call ``make(jaxprs, spec)`` with the operands; a program that was made before is not compiled again.

    `make` must depend on nothing else, because it is part of what the program is found by.
    """
    if _compat.under_staging() or _compat.jit_disabled():
        return make(jaxprs, spec)(*operands)
    try:
        key = (make, tuple(map(jaxpr_key, jaxprs)), spec)
        hash(key)
    except (UnkeyableError, TypeError):
        return make(jaxprs, spec)(*operands)
    return _programs.get(key, lambda: jax.jit(make(jaxprs, spec)))(*operands)
