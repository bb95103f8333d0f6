"""`grad`, `jacrev` and their like: each is one of JAX's derivatives, put into the common mechanism."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from . import _compat
from ._gradient import GradientOptions, GradientTransform, Kind


def _grad(pure: Callable[..., Any], argnums: int | tuple[int, ...], options: GradientOptions) -> Callable[..., Any]:
    return jax.grad(pure, argnums, has_aux=True, holomorphic=options.holomorphic, allow_int=options.allow_int)


def _jacrev(pure: Callable[..., Any], argnums: int | tuple[int, ...], options: GradientOptions) -> Callable[..., Any]:
    return jax.jacrev(pure, argnums, has_aux=True, holomorphic=options.holomorphic, allow_int=options.allow_int)


def _vector_grad(
    pure: Callable[..., Any], argnums: int | tuple[int, ...], options: GradientOptions
) -> Callable[..., Any]:
    wanted = jnp.complexfloating if options.holomorphic else jnp.floating

    def require(leaf: Any, what: str) -> None:
        dtype = _compat.aval_of(leaf).dtype
        if not jnp.issubdtype(dtype, wanted) and not (what == "inputs" and options.allow_int):
            raise TypeError(f"vector_grad got {what} of dtype {dtype}; expected {wanted.__name__}.")

    def derivative(*primals: Any) -> tuple[Any, Any]:
        jax.tree.map(lambda leaf: require(leaf, "inputs"), primals)
        out, pullback, aux = jax.vjp(pure, *primals, has_aux=True)
        jax.tree.map(lambda leaf: require(leaf, "outputs"), out)
        grads = pullback(jax.tree.map(jnp.ones_like, out))
        return (grads[0] if argnums == 0 else grads), aux

    return derivative


GRAD = Kind("grad", _grad, per_output=False)
VECTOR_GRAD = Kind("vector_grad", _vector_grad, per_output=False)
JACREV = Kind("jacrev", _jacrev, per_output=True)


def make(kind: Kind, fun: Callable[..., Any] | None, options: GradientOptions) -> Any:
    """The transform of `fun`, or a decorator if `fun` is left out."""
    if fun is None:
        return lambda fun: GradientTransform(kind, fun, options)
    if not callable(fun):
        raise TypeError(f"{kind.name} got a {type(fun).__name__} as its first argument; expected a function.")
    return GradientTransform(kind, fun, options)
