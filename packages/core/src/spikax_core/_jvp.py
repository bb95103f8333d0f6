"""``defjvp``: the derivative of a primitive from one rule per input."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from ._call import call_of, inherit_backend, visible
from ._compat import Array, Primitive, Zero, add_tangents, is_zero, match_varying, set_jvp, zero_tangent
from ._describe import describe
from ._errors import NotAPrimitiveError, RuleCountError, RuleOutputError

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
        RuleCountError: The number of rules differs from that of the inputs; raised when the operator is first bound
            (``XLACustomKernel``) or differentiated (``Primitive``).
        RuleOutputError: A rule returned another structure, shape or dtype; raised when it is called.

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
    for index, rule in enumerate(jvp_rules):
        if rule is not None and not callable(rule):
            raise NotAPrimitiveError(f"JVP rule {index}: got {type(rule).__name__}; expected a callable or None")
    if not isinstance(primitive, Primitive):
        declare = getattr(primitive, "def_jvp_rule2", None)
        if not isinstance(getattr(primitive, "primitive", None), Primitive) or declare is None:
            raise NotAPrimitiveError(
                f"got {type(primitive).__name__}; expected a jax.extend.core.Primitive or a spikax_core.XLACustomKernel"
            )
        declare(*jvp_rules)
        return
    set_jvp(primitive, functools.partial(per_input_jvp, primitive, jvp_rules))


def check_rule_count(name: str, rules: Sequence[JVPRule | None], inputs: int) -> None:
    """Raise unless there is one rule per input."""
    if len(rules) != inputs:
        raise RuleCountError(
            f"{name}: got {len(rules)} JVP rules for {inputs} inputs; pass one rule per input, None for one without a derivative"
        )


def per_input_jvp(
    primitive: Primitive,
    rules: Sequence[JVPRule | None],
    primals: Sequence[Array],
    tangents: Sequence[Array],
    **params: Any,
) -> tuple[Any, Any]:
    """JAX's form of the derivative: bind the primitive, then sum what the rules of the perturbed inputs contribute."""
    check_rule_count(primitive.name, rules, len(primals))
    out = primitive.bind(*primals, **params)
    outs = list(out) if primitive.multiple_results else [out]
    total: list[Array] = [zero_tangent(jax.typeof(o)) for o in outs]
    for index, (rule, tangent, primal) in enumerate(zip(rules, tangents, primals, strict=True)):
        if rule is None or is_zero(tangent) or not jnp.issubdtype(jax.typeof(primal).dtype, jnp.inexact):
            continue
        with inherit_backend(params):
            result = rule(tangent, *primals, **visible(params))
        where = f"JVP rule {index} of {primitive.name}"
        flat = _flatten(where, result, primitive, params, len(outs))
        checked = [_check_tangent(where, t, zero) for t, zero in zip(flat, total, strict=True)]
        total = [_add(t, c, o) for t, c, o in zip(total, checked, outs, strict=True)]
    return (out, total) if primitive.multiple_results else (out, total[0])


def _flatten(where: str, result: Any, primitive: Primitive, params: Mapping[str, Any], count: int) -> list[Any]:
    """The entries of a rule's result, one per output of the primitive."""
    call = call_of(params)
    if call is None and not primitive.multiple_results:
        flat = [result]
        bare = True
    elif call is None:
        bare = False
        if not isinstance(result, (tuple, list)) or len(result) != count:
            raise RuleOutputError(f"{where}: got {_structure(result)}; expected a tuple of {count} tangents, one per result")
        flat = list(result)
    else:
        bare = jax.tree_util.treedef_is_leaf(call.tree)
        entries = jax.tree.leaves(result, is_leaf=_is_leaf)
        marks = jax.tree.map(lambda _: 0, result, is_leaf=_is_leaf)
        # A tuple and a list are the same thing to the writer of a rule, so compare with lists as tuples.
        if result is not None and len(entries) == count and _as_tuples(marks) == _as_tuples(call.pack([0] * count)):
            flat = entries
        else:
            raise RuleOutputError(f"{where}: got {_structure(result)}; expected the structure of the results, {call.tree}")
    if bare and result is None:
        raise RuleOutputError(f"{where}: got None; expected a tangent (register None as the rule of an input without one)")
    return flat


def _is_leaf(x: Any) -> bool:
    return x is None or is_zero(x)


def _as_tuples(tree: Any) -> Any:
    if isinstance(tree, (list, tuple)):
        return tuple(map(_as_tuples, tree))
    return {k: _as_tuples(v) for k, v in tree.items()} if isinstance(tree, dict) else tree


def _structure(result: Any) -> str:
    return f"{type(result).__name__} of {len(result)}" if isinstance(result, (tuple, list)) else describe(result)


def _check_tangent(where: str, tangent: Any, zero: Zero) -> Array:
    """``tangent`` as an array of the type of ``zero``, or ``zero`` itself."""
    if _is_leaf(tangent):
        return zero
    if isinstance(tangent, (bool, int, float, complex)):
        tangent = jnp.asarray(tangent, zero.aval.dtype)
    expected = zero.aval
    if getattr(tangent, "dtype", None) != expected.dtype or np.shape(tangent) != expected.shape:
        raise RuleOutputError(f"{where}: got a tangent {describe(tangent)}; expected {describe(expected)}")
    return zero if expected.dtype == jax.dtypes.float0 else tangent


def _add(total: Array, tangent: Array, out: Array) -> Array:
    if is_zero(tangent):
        return total
    return add_tangents(total, match_varying([tangent, out])[0])
