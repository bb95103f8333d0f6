"""A client of spikax_core.testing as a type checker sees it; checked by mypy and pyright, never run."""

from collections.abc import Callable
from typing import assert_type

import jax.numpy as jnp
import numpy as np
from jax import Array

from spikax_core import XLACustomKernel
from spikax_core.testing import (
    Case,
    ConformanceError,
    NotConformingError,
    Property,
    TooManyTracesError,
    assert_max_traces,
    check_kernel,
)


def double(x: Array, *, by: int = 2) -> Array:
    return by * x


kernel = XLACustomKernel("double", reference=double)
one = Case("one", (jnp.ones(3),), {"by": 3}, skip={"jacobians": "too large"}, surrogate={0: "a step"})
two = Case("two", [np.ones(3)], others=[[np.zeros(3)]], tolerance=1e-3)
assert_type(one.name, str)

try:
    check_kernel(kernel, [one, two], backends=["reference"])
except NotConformingError as group:
    assert_type(group.exceptions, tuple[ConformanceError | ExceptionGroup[ConformanceError], ...])
    for failure in group.exceptions:
        if isinstance(failure, ConformanceError):
            assert_type(failure.case, str)
            raised: Property = failure.property

guarded = assert_max_traces(double)
assert_type(guarded(jnp.ones(3), by=2), Array)
same_type: Callable[..., Array] = guarded

try:
    guarded(jnp.ones(4))
except TooManyTracesError as too_many:
    as_builtin: AssertionError = too_many
