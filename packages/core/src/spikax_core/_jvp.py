"""``defjvp``: the derivative of a primitive from one rule per input."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import jax.numpy as jnp

from ._call import PARAM, Call, call_of, rule_params
from ._compat import Array, Primitive, TreeDef, add_tangents, bind, has_jvp, is_zero, set_jvp, zero_tangent
from ._context import declaring_anew, inherit_backend
from ._errors import NoRuleError, NotAPrimitiveError, ParameterError, RuleCountError, RuleOutputError
from ._linear import Linear, linear_tangent, resolve
from ._rules import entries, of_type, pair, tangents

if TYPE_CHECKING:
    from ._kernel import XLACustomKernel

JVPRule: TypeAlias = Callable[..., Any]


def defjvp(primitive: Primitive | XLACustomKernel, *jvp_rules: JVPRule | None) -> None:
    """Define the derivative of a primitive by one JVP rule per input.

    A rule gives the contribution of its own input to the tangent of the result; the contributions are summed. It works
    the same for primitives with one result and with several. A rule is never called for a symbolic-zero tangent, nor
    for an integer or bool input; integer and bool results get ``float0`` tangents. Calling again replaces the rules.

    Args:
        primitive: A JAX ``Primitive`` or an :class:`XLACustomKernel`.
        *jvp_rules: One per input, ``rule(tangent, *primals, **params) -> tangent_out``, or ``None`` where the input
            contributes nothing. ``tangent_out`` has the shape and tangent dtype of the result; for several results it
            is in their structure, and each entry may be ``None`` or a symbolic zero.

    Raises:
        NotAPrimitiveError: ``primitive`` is neither (it is an ``AssertionError`` and a ``TypeError``).
        ParameterError: A rule is not callable.
        RuleOutputError: A rule returned another structure, shape or dtype; raised when it is called.
        RuleCountError: The number of rules differs from that of the inputs; raised when the operator is first bound
            (``XLACustomKernel``) or differentiated (``Primitive``).

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import spikax_core
        >>> multiply = spikax_core.XLACustomKernel("multiply", reference=lambda x, y: x * y)
        >>> multiply.def_shape_rule(lambda x, y: jax.ShapeDtypeStruct(x.shape, x.dtype))
        >>> spikax_core.defjvp(multiply, lambda t, x, y: t * y, lambda t, x, y: x * t)
        >>> [float(g) for g in jax.grad(multiply, argnums=(0, 1))(jnp.float32(2), jnp.float32(3))]
        [3.0, 2.0]
    """
    declare = getattr(primitive, "def_jvp_rule2", None)
    unwrapped = getattr(primitive, "primitive", None) if declare else primitive
    if not isinstance(unwrapped, Primitive):
        raise NotAPrimitiveError(
            f"got {type(primitive).__name__}; expected a jax.extend.core.Primitive or a spikax_core.XLACustomKernel"
        )
    if declare:
        declare(*jvp_rules)
    else:
        with declaring_anew() if has_jvp(unwrapped) else contextlib.nullcontext():
            set_jvp_rules(unwrapped, jvp_rules)


def set_jvp_rules(primitive: Primitive, rules: Sequence[JVPRule | None] | None, linear: Linear | None = None) -> None:
    """Derive a primitive by these rules in the inputs that are not ``linear``; ``None``: there are none."""
    for index, rule in enumerate(rules or ()):
        if rule is not None and not callable(rule):
            raise ParameterError(
                f"JVP rule {index} of {primitive.name}: got {type(rule).__name__}; expected a callable or None"
            )
    set_jvp(primitive, functools.partial(_per_input_jvp, primitive, rules, linear or {}))


def jvp_by_rule(
    name: str, rule: JVPRule, primals: Sequence[Array], tangents_in: Sequence[Array], **params: Any
) -> tuple[Any, Any]:
    """JAX's form of one rule for the whole derivative, with what it returned checked."""
    call: Call = params[PARAM]
    where = f"JVP rule of {name}"
    with inherit_backend(params):
        result = rule(tuple(primals), tuple(tangents_in), **rule_params(params))
    given, tangents_out = (entries(where, part, call.tree) for part in pair(where, result, "(outs, tangents_out)"))
    outs = [of_type(f"{where}, result {i}", o, t) for i, (o, t) in enumerate(zip(given, call.outs, strict=True))]
    return outs, tangents(where, tangents_out, outs)


def check_rule_count(name: str, rules: int, inputs: int) -> None:
    """Raise unless there is one rule per input."""
    if rules != inputs:
        raise RuleCountError(
            f"{name}: got {rules} JVP rules for {inputs} inputs; "
            "pass one rule per input, None for one that contributes nothing"
        )


def _per_input_jvp(
    primitive: Primitive,
    rules: Sequence[JVPRule | None] | None,
    linear: Linear,
    primals: Sequence[Array],
    tangents_in: Sequence[Array],
    /,
    **params: Any,
) -> tuple[Any, Any]:
    """JAX's form of the derivative: bind the primitive, then sum what the perturbed inputs contribute."""
    name, avals = primitive.name, list(map(jax.typeof, primals))
    if rules is not None:
        check_rule_count(name, len(rules), len(primals))
    transposes = resolve(name, linear, avals, params)
    out = bind(primitive, primals, params)
    outs = list(out) if primitive.multiple_results else [out]
    call = call_of(params)
    tree = call.tree if call else jax.tree.structure(tuple(outs) if primitive.multiple_results else out)
    total: list[Array] = [zero_tangent(jax.typeof(o)) for o in outs]
    for index, (tangent, aval) in enumerate(zip(tangents_in, avals, strict=True)):
        if is_zero(tangent) or not jnp.issubdtype(aval.dtype, jnp.inexact):
            continue
        where = f"JVP rule {index} of {name}"
        if index in transposes:
            flat = linear_tangent(primitive, index, tangent, primals, params)
        elif rules is None:
            raise NoRuleError(
                f"{name} cannot be differentiated in argument {index}: it is not declared linear in it and has no JVP "
                "rules; pass def_jvp_rule2 one rule per input, None for one that contributes nothing"
            )
        else:
            flat = _by_rule(where, rules[index], tree, tangent, primals, params)
        total = list(map(add_tangents, total, tangents(where, flat, outs)))
    return (out, total) if primitive.multiple_results else (out, total[0])


def _by_rule(
    where: str,
    rule: JVPRule | None,
    tree: TreeDef,
    tangent: Array,
    primals: Sequence[Array],
    params: Mapping[str, Any],
) -> list[Any]:
    """What an input contributes by its rule, one entry per result."""
    if rule is None:
        return [None] * tree.num_leaves
    with inherit_backend(params):
        result = rule(tangent, *primals, **rule_params(params))
    if result is None:
        raise RuleOutputError(f"{where}: got None; expected a tangent (an input without one takes None as its rule)")
    return entries(where, result, tree)
