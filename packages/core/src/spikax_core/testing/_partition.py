"""Sharded arrays: an operator that says how it may be divided is right in each way of cutting, and gathers nothing."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.sharding import AxisType

from ._compare import Check
from ._sharding import AXIS, COUNT
from ._subject import Arrays, Subject


def partition(subject: Subject) -> Iterator[Check]:
    """For each dimension that may be cut, by name: values, gradients, and what is gathered."""
    declared = subject.kernel._partition
    if declared is None or jax.device_count() < COUNT:
        return
    factors = declared.factors(subject.args, subject.types, subject.case.params)
    for name in sorted(factors.sizes.keys() - factors.whole):
        if not factors.sizes[name] or factors.sizes[name] % COUNT:
            continue
        specs = tuple(jax.P(*[AXIS if name == other else None for other in names]) for names in factors.ins)
        for kind in (AxisType.Auto, AxisType.Explicit):
            run = functools.partial(_run, subject, specs, kind)
            label = f"{name!r} cut on an {kind} mesh"
            yield Check(f"values, {label}", functools.partial(run, subject.call), lambda: subject.call(*subject.args))
            yield Check(f"operands gathered, {label}", functools.partial(_gathered, run, subject.call), lambda: 0)
            if subject.differentiable:
                gradient = functools.partial(_gradient, subject)
                expected = functools.partial(gradient, *subject.args)
                yield Check(f"gradient, {label}", functools.partial(run, gradient), expected, finite=True)


def _gradient(subject: Subject, *args: Any) -> Any:
    """The cotangents of the inputs that have some."""
    _, pullback = jax.vjp(subject.smooth_at(args), *(args[i] for i in subject.argnums))
    return pullback(subject.cotangents)


def _run(subject: Subject, specs: Arrays, kind: AxisType, function: Callable[..., Any], *, text: bool = False) -> Any:
    """What a compiled function gives for operands that are sharded so, or its compiled program."""
    mesh = jax.make_mesh((COUNT,), (AXIS,), axis_types=(kind,), devices=jax.devices()[:COUNT])
    with jax.set_mesh(mesh):
        placed = [jax.device_put(x, jax.NamedSharding(mesh, spec)) for x, spec in zip(subject.args, specs, strict=True)]
        compiled = jax.jit(function).lower(*placed).compile()
        return compiled.as_text() if text else jax.device_get(compiled(*placed))


def _gathered(run: Callable[..., Any], function: Callable[..., Any]) -> int:
    """How often the compiled program collects an array from all devices."""
    return len(re.findall(r" all-gather(?:-start)?\(", run(function, text=True)))
