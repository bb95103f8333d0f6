"""What one call of an operator is compiled to: the chosen kernel, its outputs checked, divided over devices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import ShapedArray

from ._call import PARAM, Call, rule_params, user_params
from ._compat import Array, Target
from ._context import inherit_backend
from ._describe import describe_all
from ._errors import OutputMismatchError, check_callable
from ._partition import Partition, divided
from ._registry import KernelEntry, Registry


def lowered(
    kernels: Registry,
    partition: Partition | None,
    platform: str,
    in_avals: Sequence[ShapedArray],
    out_avals: Sequence[ShapedArray],
    params: dict[str, Any],
    target: Target,
) -> Callable[..., list[Array]]:
    """The function to compile for one bind."""
    call: Call = params[PARAM]
    if partition is not None and target.divided and not target.exporting and not call.local:
        return divided(partition, in_avals, params)

    def build(entry: KernelEntry) -> Callable[..., Any]:
        seen = rule_params(params) if entry is kernels.reference else user_params(params)
        built = entry.build(in_avals, out_avals, **seen)
        check_callable(f"build of {entry.backend!r} of {kernels.operator} returned", built)
        return built

    def checked(*ins: Array) -> list[Array]:
        with inherit_backend(params):
            entry, run = kernels.choose(
                platform, call, in_avals, user_params(params), build=build, exporting=target.exporting
            )
            outs = jax.tree.leaves(run(*ins))
        return _checked_outputs(kernels.operator, entry, call, outs)

    return checked


def _checked_outputs(operator: str, entry: KernelEntry, call: Call, outs: Sequence[Any]) -> list[Array]:
    """What a kernel returned, if it is of the declared types; a Python scalar is an array.

    Raises:
        OutputMismatchError: It is not.
    """
    arrays = [jnp.asarray(o) if isinstance(o, (bool, int, float, complex)) else o for o in outs]
    if list(map(type_of, arrays)) != list(map(type_of, call.outs)):
        raise OutputMismatchError(
            f"kernel {entry.backend!r} of {operator}: got {describe_all(arrays)}; "
            f"expected {describe_all(call.outs)}, as declared; mend the kernel or the shape rule"
        )
    return arrays


def type_of(value: Any) -> tuple[Any, Any]:
    """The shape and dtype of a value, ``None`` where it has none."""
    return getattr(value, "shape", None), getattr(value, "dtype", None)
