"""``def_fold``: batches of some arguments as one call of an operator that takes the batch as a leading axis of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import jax.numpy as jnp

from ._call import PARAM, Call, rule_params, user_params
from ._compat import Array
from ._context import inherit_backend
from ._rules import batched, entries, pair

Folds: TypeAlias = Mapping[frozenset[int], Callable[..., Any]]
"""The operator to call for each set of arguments that are batched."""

BatchingRule: TypeAlias = Callable[..., tuple[Any, Any]]


def batch_by_folds(
    name: str, folds: Folds, otherwise: BatchingRule, args: Sequence[Array], axes: Sequence[int | None], **params: Any
) -> tuple[Any, Any]:
    """JAX's form of a batching rule: the fold for exactly the arguments that are batched, or another rule."""
    to = folds.get(frozenset(i for i, axis in enumerate(axes) if axis is not None))
    if to is None:
        return otherwise(args, axes, **params)
    call: Call = params[PARAM]
    leading = [arg if axis is None else jnp.moveaxis(arg, axis, 0) for arg, axis in zip(args, axes, strict=True)]
    size = next(arg.shape[0] for arg, axis in zip(leading, axes, strict=True) if axis is not None)
    where = f"fold of {name} into {getattr(to, 'name', to)}"
    with inherit_backend(params):
        outs = entries(where, to(*leading, **user_params(params)), call.tree)
    checked = [
        batched(f"{where}, result {i}", out, 0, size, lane)[0]
        for i, (out, lane) in enumerate(zip(outs, call.outs, strict=True))
    ]
    return checked, [0] * len(checked)


def batch_by_rule(
    name: str, rule: BatchingRule, args: Sequence[Array], axes: Sequence[int | None], **params: Any
) -> tuple[Any, Any]:
    """JAX's form of a user's rule, with what it returned checked."""
    call: Call = params[PARAM]
    where = f"batching rule of {name}"
    size = next(arg.shape[axis] for arg, axis in zip(args, axes, strict=True) if axis is not None)
    with inherit_backend(params):
        result = rule(size, tuple(args), tuple(axes), **rule_params(params))
    outs, out_axes = (entries(where, part, call.tree) for part in pair(where, result, "(outs, out_axes)"))
    lanes = enumerate(zip(outs, out_axes, call.outs, strict=True))
    checked = [batched(f"{where}, result {i}", out, axis, size, lane) for i, (out, axis, lane) in lanes]
    return [out for out, _ in checked], [axis for _, axis in checked]
