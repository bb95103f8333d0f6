"""All this package knows of JAX's internals; each JAX version difference is handled here and nowhere else."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
from jax.extend.core import Primitive as Primitive
from jax.interpreters import ad, batching, mlir, xla

Array: TypeAlias = Any
"""A value seen by a rule: an array, a tracer, or a symbolic zero."""

UndefinedPrimal = ad.UndefinedPrimal
Zero = ad.Zero

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
"""The platforms JAX lowers for by name; on any other one an operator runs its reference."""


def new_primitive(name: str) -> Primitive:
    """A primitive with a tuple of results that runs eagerly by compiling itself."""
    primitive = Primitive(name)
    primitive.multiple_results = True
    primitive.def_impl(functools.partial(xla.apply_primitive, primitive))
    return primitive


def set_jvp(primitive: Primitive, rule: Callable[..., Any]) -> None:
    """Make ``rule(primals, tangents, **params)`` the derivative of ``primitive``."""
    ad.primitive_jvps[primitive] = rule


def set_transpose(primitive: Primitive, rule: Callable[..., Any]) -> None:
    """Make ``rule(cotangents, *args, **params)`` the transpose of ``primitive``."""
    ad.primitive_transposes[primitive] = rule


def set_batching(primitive: Primitive, rule: Callable[..., Any]) -> None:
    """Make ``rule(args, axes, **params)`` the batching rule of ``primitive``; an unbatched axis is ``None``."""
    batching.primitive_batchers[primitive] = rule


def set_lowering(primitive: Primitive, platform: str | None, rule: Callable[..., Any]) -> None:
    """Lower ``primitive`` on ``platform`` (``None``: on any other one) as ``rule(in_avals, out_avals, params)(*ins)``."""

    def lower(ctx: Any, *operands: Any, **params: Any) -> Any:
        function = rule(ctx.avals_in, ctx.avals_out, params)
        return mlir.lower_fun(function, multiple_results=True)(ctx, *operands)

    mlir.register_lowering(primitive, lower, platform=platform)


def add_tangents(x: Array, y: Array) -> Array:
    """The sum of two tangents, either of which may be a symbolic zero."""
    return ad.add_tangents(x, y)


def is_zero(x: Array) -> bool:
    """Whether ``x`` is a symbolic zero, in JAX's internal form or in the form that custom rules see."""
    return isinstance(x, (Zero, jax.custom_derivatives.SymbolicZero))


def zero_tangent(aval: jax.core.ShapedArray) -> Zero:
    """The symbolic zero tangent of a value of type ``aval`` (``float0`` for integers and bools)."""
    return Zero(aval.to_tangent_aval())


def varying_axes(aval: Any) -> frozenset[str]:
    """The manual mesh axes over which a value differs from device to device (``shard_map``)."""
    # jax 0.12 moved the attribute from the aval into its "manual axis type".
    manual = getattr(aval, "mat", None)
    axes: frozenset[str] = aval.vma if manual is None else manual.varying
    return axes


def with_varying_axes(aval: jax.core.ShapedArray, axes: frozenset[str]) -> jax.core.ShapedArray:
    """``aval`` as a type that varies over ``axes``."""
    if not axes:
        return aval
    if getattr(aval, "mat", None) is None:
        return aval.update(vma=axes)
    return aval.update(manual_axis_type=aval.mat.update(varying=axes))


def match_varying(args: Sequence[Array]) -> list[Array]:
    """Let every argument vary over the mesh axes that any of them varies over.

    JAX's own operators do this before they bind. Without it a replicated operand of a primitive under ``shard_map`` loses
    the sum over devices from its gradient: the cast inserted here is what transposes to that sum.
    """
    avals = [jax.typeof(arg) for arg in args]
    union: frozenset[str] = frozenset().union(*map(varying_axes, avals))
    if not union:
        return list(args)
    return [
        jax.lax.pcast(arg, tuple(sorted(union - varying_axes(aval))), to="varying") if union - varying_axes(aval) else arg
        for arg, aval in zip(args, avals, strict=True)
    ]
