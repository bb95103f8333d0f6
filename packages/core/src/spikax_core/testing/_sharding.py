"""Several devices: values and gradients under ``shard_map`` with its default flags, operands replicated and sharded.

How an operator's own axes may be cut is not known here. What is sharded is a lane axis: each device calls it with a
lane of its own, and with the same values in the operands that are replicated.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType

from ._compare import Check
from ._subject import Arrays, Subject

AXIS = "devices"
COUNT = 2
"""Two devices tell a sum over devices from what is on one."""


def shard_map(subject: Subject) -> Iterator[Check]:
    """Each device gets the value of its own operands."""
    for sharded in _subsets(subject):
        yield Check(
            f"values, {_label(sharded)}",
            functools.partial(_values, subject, sharded),
            functools.partial(_expected_values, subject, sharded),
        )


def gradient_under_shard_map(subject: Subject) -> Iterator[Check]:
    """The gradient of a replicated operand is the sum over devices, taken from outside and from inside."""
    if not subject.differentiable:
        return
    for sharded in _subsets(subject):
        expected = functools.partial(_expected_gradient, subject, sharded)
        for name, gradient in (("from outside", _gradient_outside), ("from inside", _gradient_inside)):
            yield Check(
                f"gradient {name}, {_label(sharded)}",
                functools.partial(gradient, subject, sharded),
                expected,
                finite=True,
            )


def _subsets(subject: Subject) -> list[tuple[int, ...]]:
    """Which arguments are sharded: none, each alone, all. There is nothing to check on one device."""
    if jax.device_count() < COUNT or not subject.args:
        return []
    every = tuple(range(len(subject.args)))
    return list(dict.fromkeys([(), *((i,) for i in every), every]))


def _label(sharded: Sequence[int]) -> str:
    return f"arguments {tuple(sharded)} sharded, others replicated" if sharded else "all arguments replicated"


def _mesh() -> jax.sharding.Mesh:
    return jax.make_mesh((COUNT,), (AXIS,), axis_types=(AxisType.Auto,), devices=jax.devices()[:COUNT])


def _specs(subject: Subject, sharded: Sequence[int]) -> tuple[Any, ...]:
    return tuple(jax.P(AXIS) if i in sharded else jax.P() for i in range(len(subject.args)))


def _operands(subject: Subject, sharded: Sequence[int]) -> Arrays:
    """The operands on the mesh, those in ``sharded`` with one lane per device."""
    lanes = zip(*subject.lanes[:COUNT], strict=True)
    args = [jnp.stack(values) if i in sharded else values[0] for i, values in enumerate(lanes)]
    places = [jax.NamedSharding(_mesh(), spec) for spec in _specs(subject, sharded)]
    return tuple(jax.device_put(arg, place) for arg, place in zip(args, places, strict=True))


def _device(sharded: Sequence[int], *args: jax.Array) -> list[jax.Array]:
    """What one device calls the kernel with."""
    return [arg[0] if i in sharded else arg for i, arg in enumerate(args)]


def _expected_lanes(subject: Subject, sharded: Sequence[int]) -> list[list[jax.Array]]:
    lanes = subject.lanes[: COUNT if sharded else 1]
    return [[lane[i] if i in sharded else arg for i, arg in enumerate(subject.args)] for lane in lanes]


def _values(subject: Subject, sharded: Sequence[int]) -> Any:
    def device(*args: jax.Array) -> Any:
        out = subject.call(*_device(sharded, *args))
        return jax.tree.map(lambda x: x[None], out)

    return jax.jit(_mapped(subject, sharded, device))(*_operands(subject, sharded))


def _mapped(subject: Subject, sharded: Sequence[int], device: Any, out_specs: Any = None) -> Any:
    """``device`` on each device, its results sharded as soon as an operand is."""
    default = jax.P(AXIS) if sharded else jax.P()
    specs = _specs(subject, sharded)
    return jax.shard_map(device, mesh=_mesh(), in_specs=specs, out_specs=default if out_specs is None else out_specs)


def _expected_values(subject: Subject, sharded: Sequence[int]) -> Any:
    return subject.stack([subject.call(*lane) for lane in _expected_lanes(subject, sharded)])


def _loss(subject: Subject, outs: Sequence[jax.Array]) -> jax.Array:
    """The results against the cotangents, as a scalar."""
    parts = [jnp.sum(out * ct).real for out, ct in zip(outs, subject.cotangents, strict=True)]
    # In float32: results may be of several dtypes, and JAX may be told not to promote them.
    return functools.reduce(jnp.add, [part.astype(jnp.float32) if len(parts) > 1 else part for part in parts])


def _gradient_outside(subject: Subject, sharded: Sequence[int]) -> Any:
    def device(*args: jax.Array) -> jax.Array:
        return _loss(subject, subject.floats(*_device(sharded, *args)))[None]

    mapped = _mapped(subject, sharded, device)
    gradient = jax.grad(lambda *args: mapped(*args).sum(), subject.argnums)
    return jax.jit(gradient)(*_operands(subject, sharded))


def _gradient_inside(subject: Subject, sharded: Sequence[int]) -> Any:
    def loss(*args: jax.Array) -> jax.Array:
        return _loss(subject, subject.floats(*_device(sharded, *args)))

    specs = _specs(subject, sharded)
    mapped = _mapped(subject, sharded, jax.grad(loss, subject.argnums), tuple(specs[i] for i in subject.argnums))
    return jax.jit(mapped)(*_operands(subject, sharded))


def _expected_gradient(subject: Subject, sharded: Sequence[int]) -> Any:
    """Each lane's gradient where an operand is sharded, and the sum over devices where it is replicated."""

    def loss(*args: jax.Array) -> jax.Array:
        return _loss(subject, subject.floats(*args))

    lanes = [jax.grad(loss, subject.argnums)(*lane) for lane in _expected_lanes(subject, sharded)]
    return tuple(
        jnp.stack(parts) if i in sharded else functools.reduce(jnp.add, parts)
        for i, parts in zip(subject.argnums, zip(*lanes, strict=True), strict=True)
    )
