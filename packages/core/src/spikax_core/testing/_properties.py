"""``CHECKS``: the table of all properties."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from . import _batching, _derivatives, _export, _partition, _sharding, _traces, _values, _zeros
from ._case import Property
from ._compare import Check, Problem
from ._subject import Subject

CHECKS: Mapping[Property, Callable[[Subject], Iterator[Check | Problem]]] = {
    "value": _values.value,
    "jit": _values.jit,
    "shared operands": _values.shared_operands,
    "retrace": _traces.retrace,
    "vmap": _batching.vmap,
    "nested vmap": _batching.nested_vmap,
    "empty": _values.empty,
    "jvp and vjp": _derivatives.jvp_and_vjp,
    "finite differences": _derivatives.finite_differences,
    "jacobians": _derivatives.jacobians,
    "symbolic zeros": _zeros.symbolic_zeros,
    "vmap of gradient": _batching.vmap_of_gradient,
    "shard_map": _sharding.shard_map,
    "gradient under shard_map": _sharding.gradient_under_shard_map,
    "partition": _partition.partition,
    "export": _export.export_round_trip,
}
"""What each property consists of."""
