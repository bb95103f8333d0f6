"""Every call of an operator that the table of shapes names, lowered for a GPU that need not be there."""

import functools
from collections.abc import Iterator
from typing import Any

import jax

from tests.kernels._oracle import OPERATORS

CALLS = [
    (operator, spec)
    for operator in OPERATORS
    for spec in operator.specs.SPECS
    if "test" in spec.tags and spec.dtype != "int32"  # integers have no kernel
]


def lowered(backend: str) -> Iterator[tuple[Any, str]]:
    """The name of each call, and its program's text."""
    for operator, spec in CALLS:
        args, params = operator.specs.arguments(spec)
        with jax.enable_x64("64" in spec.dtype + spec.index):
            call = jax.jit(functools.partial(operator.call, **params, backend=backend))
            text = call.trace(*args).lower(lowering_platforms=("cuda",)).as_text()
        yield (operator.name, spec.name), text
