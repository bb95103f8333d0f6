"""Derivatives: forward mode, reverse mode and finite differences agree, and so do symbolic and real zeros."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._compare import DIFFERENCE_TOLERANCES, STEPS, Check, by_dtype, wide
from ._subject import Arrays, Subject, is_inexact


def jvp_and_vjp(subject: Subject) -> Iterator[Check]:
    """Reverse mode is the transpose of forward mode: the dot-product test, and tangents of results without any."""
    if not subject.differentiable:
        return
    out = jax.jvp(subject.smooth, subject.inputs, subject.tangents)[1]
    back = jax.vjp(subject.smooth, *subject.inputs)[1](subject.cotangents)
    scale = _dot(map(abs, map(wide, subject.cotangents)), map(abs, map(wide, out)))
    rough = _coarsest(subject)
    yield Check(
        "the value beside a tangent",
        lambda: jax.jvp(subject.smooth, subject.inputs, subject.tangents)[0],
        lambda: subject.smooth(*subject.inputs),
    )
    yield Check(
        "<cotangent, jvp> == <vjp, tangent>",
        lambda: np.asarray(_dot(back, subject.tangents)).astype(rough),
        lambda: np.asarray(_dot(subject.cotangents, out)).astype(rough),
        finite=True,
        scale=scale,
    )


def finite_differences(subject: Subject) -> Iterator[Check]:
    """The derivative is that of the value, by each input that is not declared to have a surrogate."""
    if not subject.differentiable:
        return
    step = by_dtype(STEPS, _coarsest(subject))
    tolerance = by_dtype(DIFFERENCE_TOLERANCES, _coarsest(subject))
    size = max((np.abs(wide(out)).max(initial=0) for out in subject.smooth(*subject.inputs)), default=0.0)
    for place, index in enumerate(subject.argnums):
        if index in subject.case.surrogate:
            continue
        alone = [t if i == place else jnp.zeros_like(t) for i, t in enumerate(subject.tangents)]
        yield Check(
            f"jvp by argument {index} == finite difference",
            functools.partial(_tangents, subject, alone),
            functools.partial(_central, subject, alone, step),
            finite=True,
            tolerances={"float64": tolerance},
            scale=float(size),
        )


def _tangents(subject: Subject, tangents: Sequence[Any]) -> list[Any]:
    return [wide(t) for t in jax.jvp(subject.smooth, subject.inputs, tuple(tangents))[1]]


def _central(subject: Subject, tangents: Sequence[Any], step: float) -> list[Any]:
    """The central difference of the value along ``tangents``."""

    def at(sign: float) -> Arrays:
        moved = [
            (wide(x) + sign * step * wide(t)).astype(x.dtype) for x, t in zip(subject.inputs, tangents, strict=True)
        ]
        return subject.smooth(*map(jnp.asarray, moved))

    return [(wide(high) - wide(low)) / (2 * step) for high, low in zip(at(1), at(-1), strict=True)]


def jacobians(subject: Subject) -> Iterator[Check]:
    """The Jacobian by columns (forward mode) is that by rows (reverse mode); both batch the derivative."""
    if not subject.differentiable:
        return
    if any(jnp.issubdtype(x.dtype, jnp.complexfloating) for x in (*subject.inputs, *subject.cotangents)):
        return  # JAX defines them of holomorphic functions alone
    numbers = tuple(range(len(subject.inputs)))
    yield Check(
        "jacfwd == jacrev",
        lambda: jax.jit(jax.jacfwd(subject.smooth, numbers))(*subject.inputs),
        lambda: jax.jit(jax.jacrev(subject.smooth, numbers))(*subject.inputs),
        finite=True,
    )


def symbolic_zeros(subject: Subject) -> Iterator[Check]:
    """What is not differentiated (a symbolic zero) counts as what is differentiated along zero."""
    if not subject.differentiable:
        return
    back = jax.vjp(subject.smooth, *subject.inputs)[1]
    for place, index in enumerate(subject.argnums):
        alone = functools.partial(_with, subject, place)
        zeros = tuple(t if i == place else jnp.zeros_like(t) for i, t in enumerate(subject.tangents))
        x, t = subject.inputs[place], subject.tangents[place]
        yield Check(
            f"jvp by argument {index} alone == jvp by all, the others along zero",
            lambda alone=alone, x=x, t=t: jax.jvp(alone, (x,), (t,))[1],  # type: ignore[misc]
            lambda zeros=zeros: jax.jvp(subject.smooth, subject.inputs, zeros)[1],  # type: ignore[misc]
            finite=True,
        )
        yield Check(
            f"vjp by argument {index} alone == its part of vjp by all",
            lambda alone=alone, x=x: jax.vjp(alone, x)[1](subject.cotangents)[0],  # type: ignore[misc]
            lambda place=place: back(subject.cotangents)[place],  # type: ignore[misc]
            finite=True,
        )
    yield from _one_result(subject, back)
    yield from _without_tangents(subject)


def _with(subject: Subject, place: int, x: jax.Array) -> Arrays:
    """The results as a function of one input."""
    return subject.smooth(*(x if i == place else other for i, other in enumerate(subject.inputs)))


def _one_result(subject: Subject, back: Any) -> Iterator[Check]:
    """Cotangents of one result alone."""
    if len(subject.cotangents) == 1:
        return
    for k, cotangent in enumerate(subject.cotangents):
        zeros = tuple(c if i == k else jnp.zeros_like(c) for i, c in enumerate(subject.cotangents))
        yield Check(
            f"vjp of result {k} alone == vjp of all, the others along zero",
            lambda k=k, ct=cotangent: jax.vjp(lambda *x: subject.smooth(*x)[k], *subject.inputs)[1](ct),  # type: ignore[misc]
            lambda zeros=zeros: back(zeros),  # type: ignore[misc]
            finite=True,
        )


def _without_tangents(subject: Subject) -> Iterator[Check]:
    """Integers and bools have tangents of dtype ``float0``, as inputs and as results."""
    results = [np.zeros(out.shape, jax.dtypes.float0) for out in subject.types if not is_inexact(out)]

    def tangents_out() -> list[Any]:
        whole = jax.jvp(lambda *x: subject.call(*subject.filled(subject.args, x)), subject.inputs, subject.tangents)[1]
        leaves = jax.tree.leaves(whole)
        return [t for t, out in zip(leaves, subject.types, strict=True) if not is_inexact(out)]

    if results:
        yield Check("tangents of integer results", tangents_out, lambda: results)
    inputs = [np.zeros(x.shape, jax.dtypes.float0) for i, x in enumerate(subject.args) if i not in subject.argnums]

    def cotangents_in() -> list[Any]:
        cotangents = jax.vjp(subject.floats, *subject.args)[1](subject.cotangents)
        return [ct for i, ct in enumerate(cotangents) if i not in subject.argnums]

    if inputs:
        yield Check("cotangents of integer arguments", cotangents_in, lambda: inputs)


def _coarsest(subject: Subject) -> Any:
    """The least precise dtype among inputs and results."""
    arrays = (*subject.inputs, *subject.cotangents)
    return max((np.zeros(0, a.dtype).real.dtype for a in arrays), key=lambda dtype: by_dtype(STEPS, dtype))


def _dot(left: Any, right: Any) -> float:
    """The real part of the sum of products: JAX transposes complex functions without conjugation."""
    return float(sum((np.sum(wide(a) * wide(b)).real for a, b in zip(left, right, strict=True)), 0.0))
