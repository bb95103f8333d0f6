"""A client of spikax_core as a type checker sees it; checked by mypy and pyright, never run."""

from collections.abc import Callable, Sequence
from typing import Any, assert_type

import jax.numpy as jnp
from jax import Array
from jax.core import ShapedArray

import spikax_core
from spikax_core import KernelEntry, XLACustomKernel, defjvp, general_batching_rule, use_backend


def build(in_avals: Sequence[ShapedArray], out_avals: Sequence[ShapedArray], *, by: float) -> Callable[[Array], Array]:
    return lambda x: x * by


def supports(in_avals: Sequence[ShapedArray], *, by: float) -> bool | str:
    return by != 0 or "by is 0"


scale = XLACustomKernel("scale", reference=lambda x, *, by: x * by)
scale.def_kernel("fast", "cpu", build, supports=supports, exportable=True)
scale.def_shape_rule(lambda x, *, by: x)
defjvp(scale, lambda t, x, *, by: scale(t, by=by))
defjvp(scale.primitive, None)

assert_type(scale, XLACustomKernel)
assert_type(scale.name, str)
assert_type(scale(jnp.ones(3), by=2.0), Any)
assert_type(scale.available_backends("cpu"), tuple[str, ...])
assert_type(general_batching_rule(scale, [jnp.ones((2, 3))], [0], chunk=2, by=2.0), tuple[Any, Any])
assert_type(KernelEntry("fast", "cpu", build).runs_on("gpu"), bool)
assert_type(spikax_core.__version__, str)

with use_backend("fast") as nothing:
    assert_type(nothing, None)

try:
    scale(jnp.ones(3), by=2.0, backend="fast")
except spikax_core.NoBackendError as group:
    assert_type(group.exceptions, tuple[Exception | ExceptionGroup[Exception], ...])
except spikax_core.SpikaxError as error:
    raise SystemExit(str(error)) from error
