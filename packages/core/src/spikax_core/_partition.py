"""``def_partition``: each device computes on the pieces of the operands that it holds, and none is gathered."""

from __future__ import annotations

import dataclasses
import functools
import math
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import jax
from jax.core import ShapedArray
from jax.experimental.custom_partitioning import custom_partitioning
from jax.experimental.xla_metadata import set_xla_metadata
from jax.sharding import AxisType

from ._call import PARAM, Call, user_params
from ._compat import Array, bare, mesh_axes, off_mesh, spec_of
from ._context import inherit_backend
from ._describe import describe
from ._errors import ParameterError
from ._factors import WHOLE, Axes, Factors, Names, parse
from ._keys import implementation, keys, numbers
from ._rules import entries, of_type

Rule: TypeAlias = str | Callable[..., str]
Reduce: TypeAlias = Literal["sum", "max", "min"] | Callable[[Array, tuple[str, ...]], Array]
Local: TypeAlias = Callable[..., Sequence[Array]]
"""The flat results of an operator on one device: ``local(params, *ins)`` with the params of the whole call."""

REDUCTIONS: Mapping[str, Callable[..., Array]] = {"sum": jax.lax.psum, "max": jax.lax.pmax, "min": jax.lax.pmin}


@dataclasses.dataclass(frozen=True)
class Partition:
    """What an operator declares, see :meth:`XLACustomKernel.def_partition`."""

    operator: str
    rule: Rule
    reduce: Reduce | None
    compute: Callable[..., Any] | None
    local: Local

    def factors(self, in_avals: Sequence[Any], outs: Sequence[Any], params: Mapping[str, Any]) -> Factors:
        """The rule for operands and results of these types, and for these params of the user's.

        Raises:
            ParameterError: It does not fit them.
        """
        rule = self.rule(*in_avals, **params) if callable(self.rule) else self.rule
        if not isinstance(rule, str):
            raise ParameterError(f"partition rule of {self.operator}: got {describe(rule)}; expected a string")
        shapes = ([tuple(aval.shape) for aval in avals] for avals in (in_avals, outs))
        return parse(self.operator, rule, *shapes, reducible=self.reduce is not None)

    def device(
        self, factors: Factors, axes: Mapping[str, Axes], mesh: Mapping[str, int], params: Mapping[str, Any]
    ) -> Callable[..., list[Array]]:
        """What one device computes where the factors are cut by these axes."""
        call: Call = params[PARAM]
        where = f"partition of {self.operator}"
        pieces = {name: math.prod(mesh[axis] for axis in cut) for name, cut in axes.items()}

        def expected(names: Names, out: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
            shape = [n // pieces.get(name, 1) for name, n in zip(names, out.shape, strict=True)]
            return jax.ShapeDtypeStruct(tuple(shape), out.dtype)

        def run(*ins: Array) -> list[Array]:
            if self.compute is None:
                outs = self.local(params, *ins)
            else:
                with inherit_backend(params):
                    outs = entries(where, self.compute(*ins, **user_params(params)), call.tree)
            results = []
            for i, (names, out, whole) in enumerate(zip(factors.outs, outs, call.outs, strict=True)):
                checked = of_type(f"{where}, result {i} on one device", out, expected(names, whole))
                results.append(self._reduced(checked, factors.lost(i, axes)))
            return results

        return run

    def _reduced(self, x: Array, axes: Axes) -> Array:
        if not axes:
            return x
        return self.reduce(x, axes) if callable(self.reduce) else REDUCTIONS[str(self.reduce)](x, axes)


def divided(partition: Partition, in_avals: Sequence[ShapedArray], params: Mapping[str, Any]) -> Callable[..., Any]:
    """The call as a function that JAX's partitioner divides, by the shardings that it finds when it compiles."""
    call: Call = params[PARAM]
    factors = partition.factors(in_avals, call.outs, user_params(params))
    made_for = [list(map(implementation, avals)) for avals in (in_avals, call.outs)]
    cut = dataclasses.replace(
        factors, ins=_with_numbers(factors.ins, made_for[0]), outs=_with_numbers(factors.outs, made_for[1])
    )

    def on_numbers(function: Callable[..., Sequence[Array]]) -> Callable[..., list[Array]]:
        return lambda *ins: numbers(function(*keys(ins, made_for[0])))

    def plan(mesh: jax.sharding.Mesh, ins: Sequence[Any], outs: Sequence[Any]) -> tuple[Any, ...]:
        wanted = [(cut.ins[i], _cuts(spec_of(ins[i].sharding, mesh), len(ins[i].shape))) for i in _large_first(ins)]
        results = zip(cut.outs, outs, strict=True)
        wanted += [(names, _cuts(spec_of(out.sharding, mesh), len(out.shape))) for names, out in results]
        axes = cut.assign(wanted, mesh.shape)
        places = [[jax.NamedSharding(mesh, _spec(names, axes)) for names in side] for side in (cut.outs, cut.ins)]
        device = off_mesh(on_numbers(partition.device(factors, axes, mesh.shape, params)))
        return mesh, device, places[0], tuple(places[1])

    rule, reduced, kept = cut.renamed()
    function = custom_partitioning(on_numbers(functools.partial(partition.local, params)))
    function.def_partition(
        plan, sharding_rule=rule, reduction_factors=reduced, need_replication_factors=kept, decode_shardings=False
    )

    def marked(*ins: Array) -> Any:
        # The program names `plan` by its address alone. JAX's persistent cache would take that of another kernel, which
        # happens to have the address now, for the same program.
        with set_xla_metadata(spikax_partition=uuid.uuid4().hex):
            return keys(function(*numbers(ins)), made_for[1])

    return marked


def _with_numbers(arrays: Sequence[Names], made_for: Sequence[str | None]) -> tuple[Names, ...]:
    """The names of dimensions where keys have one more."""
    return tuple(names if name is None else (*names, WHOLE) for names, name in zip(arrays, made_for, strict=True))


def over_explicit_axes(avals: Sequence[Any]) -> bool:
    """Whether types of operands say how they are sharded; not inside of ``shard_map``, which JAX cannot nest for AD."""
    shardings = [aval.sharding for aval in avals if any(aval.sharding.spec)]
    return bool(shardings) and all(AxisType.Manual not in sharding.mesh.axis_types for sharding in shardings)


def divided_explicitly(partition: Partition, ins: Sequence[Array], params: Mapping[str, Any]) -> Sequence[Array]:
    """The call on operands whose types say how they are sharded, and so the types of its results."""
    outs: list[Array] = _jitted_explicit(partition, tuple(params.items()), *ins)
    return outs


def _explicit(partition: Partition, params: tuple[tuple[str, Any], ...], *ins: Array) -> list[Array]:
    avals = list(map(jax.typeof, ins))
    mesh = next(aval.sharding.mesh for aval in avals if any(aval.sharding.spec))
    bound = dict(params)
    factors = partition.factors(list(map(bare, avals)), bound[PARAM].outs, user_params(bound))
    wanted = [(factors.ins[i], _cuts(avals[i].sharding.spec, avals[i].ndim)) for i in _large_first(avals)]
    axes = factors.assign(wanted, mesh.shape)
    places, results = ([_spec(names, axes) for names in side] for side in (factors.ins, factors.outs))
    device = partition.device(factors, axes, mesh.shape, bound)
    moved = [jax.sharding.reshard(x, jax.NamedSharding(mesh, spec)) for x, spec in zip(ins, places, strict=True)]
    if not axes or not any(math.prod(aval.shape) for aval in avals):  # XLA fails to divide what is empty all over
        return list(partition.local(bound, *moved))
    names = {axis for cut in axes.values() for axis in cut}
    # A function of the user's need not tell JAX that its result is the same on all devices.
    known = not callable(partition.reduce)
    run = jax.shard_map(device, mesh=mesh, in_specs=tuple(places), out_specs=results, axis_names=names, check_vma=known)
    with mesh_axes(names):
        return run(*moved)


# Eager calls need it, as an operand that is not on the mesh can be moved there only by a program for the mesh.
_jitted_explicit = jax.jit(_explicit, static_argnums=(0, 1))


def _large_first(avals: Sequence[Any]) -> list[int]:
    """The order in which operands choose: a large one stays where it is, and small ones follow it."""
    return sorted(range(len(avals)), key=lambda i: -math.prod(avals[i].shape) * avals[i].dtype.itemsize)


def _cuts(spec: jax.P, rank: int) -> list[Axes]:
    """The mesh axes that cut each dimension of an array."""
    cuts = [(cut,) if isinstance(cut, str) else tuple(cut) if isinstance(cut, tuple) else () for cut in spec]
    return cuts + [()] * (rank - len(cuts))


def _spec(names: Names, axes: Mapping[str, Axes]) -> jax.P:
    return jax.P(*[axes.get(name) for name in names])
