"""``def_linear``: the transpose in each linear input, from which tangents and cotangents follow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import ShapedArray

from ._call import PARAM, Call, rule_params
from ._compat import (
    Array,
    Primitive,
    UndefinedPrimal,
    Zero,
    align,
    bare,
    bind,
    is_zero,
    tangent_type,
    vary_over,
    varying_axes,
)
from ._context import inherit_backend
from ._errors import NoRuleError, ParameterError, RuleOutputError
from ._rules import cotangent, entries

Transposes: TypeAlias = Mapping[int, Callable[..., Any]]
"""The transpose in each linear argument."""

Linear: TypeAlias = Transposes | Callable[..., Transposes]
"""What an operator declares: the transposes, or a function of its inputs' types and params that gives them."""


def check_transposes(name: str, transposes: Any, inputs: int | None = None) -> Transposes:
    """``transposes``, if they are callables by argnum; of so many ``inputs``, if that is known.

    Raises:
        ParameterError: They are not.
    """
    where, expected = f"def_linear of {name}", "a dict from argnums to transposes"
    if not isinstance(transposes, Mapping):
        raise ParameterError(f"{where}: got {type(transposes).__name__}; expected {expected}, or a function giving one")
    for argnum, rule in transposes.items():
        if isinstance(argnum, bool) or not isinstance(argnum, int):
            raise ParameterError(f"{where}: got the argnum {argnum!r}; expected an integer")
        if argnum < 0 or (inputs is not None and argnum >= inputs):
            span = "at least 0" if inputs is None else f"in [0, {inputs}), as there are {inputs} inputs"
            raise ParameterError(f"{where}: got the argnum {argnum}; expected one {span}")
        if not callable(rule):
            raise ParameterError(f"{where}, argument {argnum}: got {type(rule).__name__}; expected a callable")
    return transposes


def check_no_rules(name: str, linear: Linear, rules: Sequence[Any] | None) -> None:
    """Raise if a linear argument has a JVP rule of its own, which could say something else.

    Where the declaration depends on types and params, a rule serves those for which the argument is not linear.
    """
    if callable(linear) or rules is None:
        return
    for argnum in check_transposes(name, linear, len(rules)):
        if rules[argnum] is not None:
            raise ParameterError(
                f"{name}: argument {argnum} is declared linear and also has a JVP rule; its tangent follows from "
                "def_linear, so pass None as its rule"
            )


def resolve(name: str, linear: Linear, avals: Sequence[ShapedArray], params: Mapping[str, Any]) -> Transposes:
    """The transposes for inputs of these types and these (bound) params."""
    given = linear(*map(bare, avals), **rule_params(params)) if callable(linear) else linear
    return check_transposes(name, given, len(avals))


def linear_tangent(
    primitive: Primitive, argnum: int, tangent: Array, primals: Sequence[Array], params: Mapping[str, Any]
) -> list[Array | None]:
    """What a linear argument contributes: the operator, with the tangent in its place."""
    ins = [tangent if i == argnum else primal for i, primal in enumerate(primals)]
    outs = bind(primitive, align(ins), params)
    return [out if jnp.issubdtype(out.dtype, jnp.inexact) else None for out in outs]


def transpose(name: str, linear: Linear, cotangents: Sequence[Array], *args: Array, **params: Any) -> list[Any]:
    """JAX's form of the transpose: the cotangent of the one argument that is undefined, ``None`` for the others."""
    avals = [arg.aval if isinstance(arg, UndefinedPrimal) else jax.typeof(arg) for arg in args]
    transposes = resolve(name, linear, avals, params)
    argnum = _only_one(name, transposes, [i for i, arg in enumerate(args) if isinstance(arg, UndefinedPrimal)])
    result: list[Any] = [None] * len(args)
    aval, call = avals[argnum], params[PARAM]
    if all(map(is_zero, cotangents)):
        result[argnum] = Zero(aval)
        return result
    others = [None if i == argnum else arg for i, arg in enumerate(args)]
    where = f"transpose of {name} in argument {argnum}"
    with inherit_backend(params):
        ct = transposes[argnum](_instantiate(cotangents, call, varying_axes(aval)), *others, **rule_params(params))
    if ct is None:
        raise RuleOutputError(f"{where}: got None; expected the cotangent of argument {argnum}")
    result[argnum] = cotangent(where, ct, aval)
    return result


def transpose_by_rule(
    name: str, rule: Callable[..., Any], cotangents: Sequence[Array], *args: Array, **params: Any
) -> list[Any]:
    """JAX's form of a user's raw transpose rule, with what it returned checked."""
    call: Call = params[PARAM]
    where = f"transpose rule of {name}"
    with inherit_backend(params):
        result = rule(call.pack(cotangents), *args, **rule_params(params))
    flat = entries(where, result, jax.tree.structure((0,) * len(args)))
    return [
        cotangent(f"{where}, argument {i}", ct, arg.aval) if isinstance(arg, UndefinedPrimal) else None
        for i, (ct, arg) in enumerate(zip(flat, args, strict=True))
    ]


def _only_one(name: str, transposes: Transposes, undefined: Sequence[int]) -> int:
    """The one argument in which to transpose."""
    for argnum in undefined:
        if argnum not in transposes:
            declared = ", ".join(map(str, sorted(transposes))) or "none"
            raise NoRuleError(
                f"{name} cannot be transposed in argument {argnum}: it is declared linear in {declared} "
                "for these types and params; name it in def_linear if it is linear"
            )
    if len(undefined) > 1:
        raise NoRuleError(
            f"{name} cannot be transposed in arguments {', '.join(map(str, undefined))} at once: it is linear in each "
            "with the others held fixed, which is not linear in all together; transpose in one at a time"
        )
    return undefined[0]


def _instantiate(cotangents: Sequence[Array], call: Call, axes: frozenset[str]) -> Any:
    """The cotangents in the structure of the results, with zeros for symbolic ones."""
    zipped = zip(cotangents, call.outs, strict=True)
    return call.pack([_zeros(out, axes) if is_zero(ct) else ct for ct, out in zipped])


def _zeros(out: jax.ShapeDtypeStruct, axes: frozenset[str]) -> Array:
    """The zero cotangent of a result; as everywhere in JAX, that of an integer or bool is of type ``float0``."""
    dtype = tangent_type(ShapedArray(out.shape, out.dtype)).dtype
    if dtype == jax.dtypes.float0:
        return np.zeros(out.shape, dtype)
    return vary_over(jnp.zeros(out.shape, dtype), axes)
