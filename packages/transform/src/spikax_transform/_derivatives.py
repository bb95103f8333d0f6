"""`grad`, `jacrev` and their like: each is a derivative of a pure function, put into the common mechanism."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import reduce
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from . import _compat
from ._gradient import GradientOptions, GradientTransform, Kind
from ._integers import Derivative, is_inexact, past_integers

Pure: TypeAlias = Callable[..., tuple[Any, Any]]
Numbers: TypeAlias = int | tuple[int, ...]


def _grad(pure: Pure, argnums: Numbers, options: GradientOptions) -> Derivative:
    derivative: Derivative = options.autodiff.grad(
        pure, argnums, has_aux=True, holomorphic=options.holomorphic, allow_int=options.allow_int
    )
    return derivative


def _jacrev(pure: Pure, argnums: Numbers, options: GradientOptions) -> Derivative:
    def differentiated(fun: Pure, numbers: Numbers) -> Derivative:
        derivative: Derivative = options.autodiff.jacrev(
            fun, numbers, has_aux=True, holomorphic=options.holomorphic, allow_int=options.allow_int
        )
        return derivative

    return _or_nothing(differentiated, 1, pure, argnums, options)


def _jacfwd(pure: Pure, argnums: Numbers, options: GradientOptions) -> Derivative:
    return _forward(options.autodiff.jacfwd, 1, pure, argnums, options)


def _hessian(pure: Pure, argnums: Numbers, options: GradientOptions) -> Derivative:
    return _forward(options.autodiff.hessian, 2, pure, argnums, options)


def _forward(transform: Any, order: int, pure: Pure, argnums: Numbers, options: GradientOptions) -> Derivative:
    def differentiated(fun: Pure, numbers: Numbers) -> Derivative:
        derivative: Derivative = transform(fun, numbers, has_aux=True, holomorphic=options.holomorphic)
        return derivative

    if options.allow_int:
        return past_integers(lambda fun: differentiated(fun, 0), pure, order, options.is_leaf)
    return _or_nothing(differentiated, order, pure, argnums, options)


def _or_nothing(
    differentiated: Callable[[Pure, Numbers], Derivative],
    order: int,
    pure: Pure,
    argnums: Numbers,
    options: GradientOptions,
) -> Derivative:
    """The derivative; with respect to containers without anything in them, such containers, where JAX fails."""
    some = differentiated(pure, argnums)
    none = past_integers(lambda fun: differentiated(fun, 0), pure, order, options.is_leaf)
    return lambda *primals: (some if jax.tree.leaves(primals) else none)(*primals)


def _fwd_grad(pure: Pure, argnums: Numbers, options: GradientOptions) -> Derivative:
    wanted = jnp.complexfloating if options.holomorphic else jnp.floating

    def of_scalar(*primals: Any) -> tuple[Any, Any]:
        out, aux = pure(*primals)
        leaves, tree = jax.tree.flatten(out)
        avals = [_compat.aval_of(leaf) for leaf in leaves]
        if len(avals) != 1 or avals[0].shape or not (options.unit_aware or jax.tree_util.treedef_is_leaf(tree)):
            got = ", ".join(aval.str_short(True) for aval in avals) or "nothing"
            raise TypeError(f"fwd_grad got the output {got} in {tree}; expected one scalar. Of others, take jacfwd.")
        if not jnp.issubdtype(avals[0].dtype, wanted):
            raise TypeError(f"fwd_grad got an output of dtype {avals[0].dtype}; expected {wanted.__name__}.")
        return out, aux

    jacobian = _jacfwd(of_scalar, argnums, options)

    def derivative(*primals: Any) -> tuple[Any, Any]:
        grads, aux = jacobian(*primals)
        inputs = primals[0] if argnums == 0 else primals
        return jax.tree.map(_float0_for_integers, inputs, grads, is_leaf=options.is_leaf), aux

    return derivative


def _float0_for_integers(leaf: Any, block: Any) -> Any:
    return block if is_inexact(leaf) else np.zeros(np.shape(leaf), jax.dtypes.float0)


def _vector_grad(pure: Pure, argnums: Numbers, options: GradientOptions) -> Derivative:
    wanted = jnp.complexfloating if options.holomorphic else jnp.floating

    def require(leaf: Any, what: str) -> None:
        dtype = _compat.aval_of(leaf).dtype
        if not jnp.issubdtype(dtype, wanted) and not (what == "inputs" and options.allow_int):
            raise TypeError(f"vector_grad got {what} of dtype {dtype}; expected {wanted.__name__}.")

    def total(*primals: Any) -> tuple[Any, Any]:
        out, aux = pure(*primals)
        jax.tree.map(lambda leaf: require(leaf, "outputs"), out)
        sums = [leaf.sum() for leaf in jax.tree.leaves(out, is_leaf=options.is_leaf)]
        return reduce(operator.add, sums), aux

    def derivative(*primals: Any) -> tuple[Any, Any]:
        jax.tree.map(lambda leaf: require(leaf, "inputs"), primals)
        if options.unit_aware:
            return _grad(total, argnums, options)(*primals)
        out, pullback, aux = jax.vjp(pure, *primals, has_aux=True)
        jax.tree.map(lambda leaf: require(leaf, "outputs"), out)
        grads = pullback(jax.tree.map(jnp.ones_like, out))
        return (grads[0] if argnums == 0 else grads), aux

    return derivative


GRAD = Kind("grad", _grad, order=0)
VALUE_AND_GRAD = Kind("value_and_grad", _grad, order=0, value_first=True)
VECTOR_GRAD = Kind("vector_grad", _vector_grad, order=0)
FWD_GRAD = Kind("fwd_grad", _fwd_grad, order=0)
JACREV = Kind("jacrev", _jacrev, order=1)
JACFWD = Kind("jacfwd", _jacfwd, order=1)
HESSIAN = Kind("hessian", _hessian, order=2)


def make(kind: Kind, fun: Callable[..., Any] | None, options: GradientOptions) -> Any:
    """The transform of `fun`, or a decorator if `fun` is left out."""
    if fun is None:
        return lambda fun: GradientTransform(kind, fun, options)
    if not callable(fun):
        raise TypeError(f"{kind.name} got a {type(fun).__name__} as its first argument; expected a function.")
    return GradientTransform(kind, fun, options)
