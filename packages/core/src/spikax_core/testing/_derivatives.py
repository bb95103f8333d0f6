"""Derivatives: forward mode, reverse mode and finite differences agree."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._compare import DIFFERENCE_TOLERANCES, STEPS, Check, by_dtype, wide
from ._subject import Arrays, Subject


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


def _coarsest(subject: Subject) -> Any:
    """The least precise dtype among inputs and results."""
    arrays = (*subject.inputs, *subject.cotangents)
    return max((np.zeros(0, a.dtype).real.dtype for a in arrays), key=lambda dtype: by_dtype(STEPS, dtype))


def _dot(left: Any, right: Any) -> float:
    """The real part of the sum of products: JAX transposes complex functions without conjugation."""
    return float(sum((np.sum(wide(a) * wide(b)).real for a, b in zip(left, right, strict=True)), 0.0))
