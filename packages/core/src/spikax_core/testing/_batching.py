"""Batches: ``vmap`` over any arguments is a loop over lanes, also nested."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ._compare import Check
from ._subject import Arrays, Subject, vary


def vmap(subject: Subject) -> Iterator[Check]:
    """``vmap`` over each subset of the arguments is a loop, wherever the batch axes are."""
    count = len(subject.args)
    for size in range(1, count + 1):
        for subset in itertools.combinations(range(count), size):
            # In front for one argument, behind for the next.
            axes = [(i % 2) * subject.args[i].ndim if i in subset else None for i in range(count)]
            yield Check(
                f"vmap over arguments {subset} at axes {axes}",
                functools.partial(_batched, subject, axes),
                functools.partial(_loop, subject, subset),
            )


def _batched(subject: Subject, axes: Sequence[int | None]) -> Any:
    args = [
        arg if axis is None else jnp.stack(lanes, axis)
        for arg, axis, *lanes in zip(subject.args, axes, *subject.lanes, strict=True)
    ]
    return jax.jit(jax.vmap(subject.call, axes))(*args)


def _loop(subject: Subject, subset: Sequence[int]) -> Any:
    return subject.stack([subject.call(*_lane(subject, subset, i)) for i in range(len(subject.lanes))])


def _lane(subject: Subject, subset: Sequence[int], index: int) -> list[jax.Array]:
    """Operands that differ from lane to lane in those of ``subset``."""
    return [subject.lanes[index][i] if i in subset else arg for i, arg in enumerate(subject.args)]


def nested_vmap(subject: Subject) -> Iterator[Check]:
    """A batch of batches: of all arguments, and of the first inside and the others outside."""
    if not subject.args:
        return
    lanes, everything = range(len(subject.lanes)), range(len(subject.args))
    stacked = [jnp.stack(values) for values in zip(*subject.lanes, strict=True)]

    def both() -> Any:
        square = [jnp.stack([x, x[::-1]]) for x in stacked]
        return jax.jit(jax.vmap(jax.vmap(subject.call)))(*square)

    def loops() -> Any:
        inner = [subject.call(*_lane(subject, everything, i)) for i in lanes]
        return subject.stack([subject.stack(inner), subject.stack(inner[::-1])])

    yield Check("vmap of vmap over all arguments", both, loops)

    rest = [None, *(0 for _ in everything[1:])]

    def crossed() -> Any:
        inside = jax.vmap(subject.call, [0, *(None for _ in everything[1:])])
        return jax.jit(jax.vmap(inside, rest))(*stacked)

    def crossed_loops() -> Any:
        calls = [[subject.call(subject.lanes[j][0], *subject.lanes[i][1:]) for j in lanes] for i in lanes]
        return subject.stack([subject.stack(row) for row in calls])

    if len(subject.args) > 1:
        yield Check("vmap over the other arguments of vmap over the first", crossed, crossed_loops)


def vmap_of_gradient(subject: Subject) -> Iterator[Check]:
    """The gradient of each lane of a batch is that of a call of its own."""
    if not subject.differentiable:
        return

    def gradient(cotangents: Arrays, *args: jax.Array) -> Any:
        inputs = [args[i] for i in subject.argnums]
        return jax.vjp(subject.smooth_at(args), *inputs)[1](cotangents)

    lanes = [(tuple(vary(ct, i) for ct in subject.cotangents), *args) for i, args in enumerate(subject.lanes)]
    yield Check(
        "vmap of the gradient",
        lambda: jax.jit(jax.vmap(gradient))(*jax.tree.map(lambda *xs: jnp.stack(xs), *lanes)),
        lambda: subject.stack([gradient(*lane) for lane in lanes]),
        finite=True,
    )
