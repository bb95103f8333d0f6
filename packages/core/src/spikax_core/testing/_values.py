"""Values: those of the reference, alike eager and compiled, from operands that functions share, and from empty ones."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp

from spikax_core._context import REFERENCE

from ._compare import Check, Problem
from ._subject import Subject


def value(subject: Subject) -> Iterator[Check | Problem]:
    """On every backend the value is that of the reference."""
    if REFERENCE not in subject.kernel.available_backends(jax.default_backend()):
        yield Problem("reference", "got none; expected one to compare with, see def_reference")
        return
    reference = Subject(subject.kernel, subject.case, REFERENCE)
    for i, args in enumerate(subject.lanes):
        which = "value" if i == 0 else f"value with other operands ({i})"
        yield Check(which, functools.partial(subject.call, *args), functools.partial(reference.call, *args))


def jit(subject: Subject) -> Iterator[Check]:
    """Compiled as a part of a function it gives what it gives eagerly."""
    yield Check("jit == eager", lambda: jax.jit(subject.call)(*subject.args), lambda: subject.call(*subject.args))


def shared_operands(subject: Subject) -> Iterator[Check]:
    """Two functions, compiled one after the other, may close over the same operands: neither leaves a trace in them."""

    def first() -> object:
        return subject.call(*subject.args)

    def second() -> object:
        return subject.call(*subject.args)

    def expected() -> object:
        return subject.call(*subject.args)

    yield Check("first jit over the operands", lambda: jax.jit(first)(), expected)
    yield Check("second jit over the same operands", lambda: jax.jit(second)(), expected)
    if subject.differentiable:

        def gradient() -> object:
            return jax.vjp(subject.smooth, *subject.inputs)[1](subject.cotangents)

        yield Check("jit of the gradient over the same operands", lambda: jax.jit(gradient)(), gradient)


def empty(subject: Subject) -> Iterator[Check]:
    """Nothing in gives nothing out: a batch of size zero, and operands without rows unless they are refused."""
    none = [jnp.zeros((0, *arg.shape), arg.dtype) for arg in subject.args]
    nothing = jax.tree.map(lambda out: jnp.zeros((0, *out.shape), out.dtype), _types(subject))
    if subject.args:
        yield Check("a batch of size zero", lambda: jax.vmap(subject.call)(*none), lambda: nothing)
    rows = [arg[:0] if arg.ndim else arg for arg in subject.args]
    reference = Subject(subject.kernel, subject.case, REFERENCE)
    try:
        expected = reference.call(*rows)
    except Exception:  # noqa: BLE001 - whatever it raises, it says that such operands do not fit together
        return
    if subject.refusal(*rows) is None:
        yield Check("operands without rows", lambda: subject.call(*rows), lambda: expected)


def _types(subject: Subject) -> object:
    return jax.eval_shape(subject.call, *subject.args)
