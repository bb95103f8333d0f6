"""The Pallas backend: the body of a Pallas kernel as the kernel of an operator."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import jax.numpy as jnp
from jax.core import ShapedArray

from spikax_core._describe import describe
from spikax_core._errors import BackendRefusedError, ParameterError
from spikax_core._registry import Build

Options: TypeAlias = Mapping[str, Any] | Callable[..., Mapping[str, Any]]
"""Keyword arguments of ``pallas_call``, or a function ``(in_avals, out_avals, **params)`` that returns them."""


def pallas_kernel(body: Callable[..., None], platform: str, options: Options) -> Build:
    """The kernel of an operator with this Pallas body, see :meth:`XLACustomKernel.def_pallas_kernel`."""

    def build(
        in_avals: Sequence[ShapedArray], out_avals: Sequence[ShapedArray], /, **params: Any
    ) -> Callable[..., Any]:
        reason = _complex([*in_avals, *out_avals])
        if reason is not None:
            raise BackendRefusedError(reason)
        if not any(aval.size for aval in out_avals):
            return lambda *_: [jnp.zeros(aval.shape, aval.dtype) for aval in out_avals]
        empty = [aval for aval in in_avals if not aval.size]
        if empty:  # of a grid of no programs, none would write the result
            raise BackendRefusedError(f"Pallas cuts no blocks from an empty array, such as {describe(empty[0])}")
        from jax.experimental import pallas

        chosen = _checked(options(in_avals, out_avals, **params) if callable(options) else options)
        # Avals, not structs: of a struct Pallas asks, under shard_map, over which mesh axes the result varies.
        out_shape = out_avals[0] if len(out_avals) == 1 else list(out_avals)
        call: Callable[..., Any] = pallas.pallas_call(
            functools.partial(body, **params), out_shape, **{"interpret": platform == "cpu", **chosen}
        )
        return call

    return build


def _complex(avals: Sequence[ShapedArray]) -> str | None:
    """Which of these is complex, if any."""
    found = (aval for aval in avals if jnp.issubdtype(aval.dtype, jnp.complexfloating))
    return next((f"Pallas has no complex arrays, such as {describe(aval)}" for aval in found), None)


def _checked(options: Any) -> Mapping[str, Any]:
    if not isinstance(options, Mapping) or "out_shape" in options:
        got = sorted(options) if isinstance(options, Mapping) else options
        raise ParameterError(
            f"options: got {got!r}; expected keyword arguments of pallas_call other than out_shape, "
            "which follows from the operator's results"
        )
    return options
