"""Zeros: what is not differentiated, or has no derivative, counts as what does not change."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._compare import Check
from ._subject import Arrays, Subject, is_inexact


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
