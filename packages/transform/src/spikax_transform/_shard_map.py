"""`shard_map`: one program for each device, with States that are divided over devices or the same on all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar, overload

import jax
import jax.numpy as jnp

from . import _compat, _overlay
from ._entry import Inputs, store
from ._errors import StateAxesError
from ._run import FlatProgram, Leaves, run
from ._state import State
from ._trace import Traced, refuse_states, trace_once
from ._transformed import Transformed, transformed

P = ParamSpec("P")
R = TypeVar("R")


@overload
def shard_map(
    f: Callable[P, R],
    mesh: Any,
    in_specs: Any,
    out_specs: Any,
    *,
    state_in_specs: Mapping[Any, Any] | None = None,
    state_out_specs: Mapping[Any, Any] | None = None,
    axis_names: frozenset[str] | set[str] = frozenset(),
    check_vma: bool = True,
) -> Transformed[P, R]: ...
@overload
def shard_map(
    f: None = None,
    *,
    mesh: Any,
    in_specs: Any,
    out_specs: Any,
    state_in_specs: Mapping[Any, Any] | None = None,
    state_out_specs: Mapping[Any, Any] | None = None,
    axis_names: frozenset[str] | set[str] = frozenset(),
    check_vma: bool = True,
) -> Callable[[Callable[P, R]], Transformed[P, R]]: ...
def shard_map(
    f: Callable[..., Any] | None = None,
    mesh: Any = None,
    in_specs: Any = None,
    out_specs: Any = None,
    *,
    state_in_specs: Mapping[Any, Any] | None = None,
    state_out_specs: Mapping[Any, Any] | None = None,
    axis_names: frozenset[str] | set[str] = frozenset(),
    check_vma: bool = True,
) -> Any:
    """`jax.shard_map` for a function that reads and writes States.

    Each device runs the function on its part of the arguments and of the States. A State that is not declared is the
    same on all devices, also a `RandomState`: fold ``jax.lax.axis_index`` into its keys for numbers that differ.

    Args:
        f: the function of one device, of positional arguments.
        mesh: the devices; `None` for those of ``jax.set_mesh``.
        in_specs: how the arguments are divided, as in JAX.
        out_specs: how the results are put together, as in JAX.
        state_in_specs: how States are divided: ``{PartitionSpec: States}``, with States in any nesting.
        state_out_specs: in the same form, how the values are put together that States hold afterwards; those of
            ``state_in_specs`` come out as they went in.
        axis_names: as in JAX, the axes of the mesh that are divided by hand; all if empty.
        check_vma: as in JAX, check what is the same on all devices.

    Returns:
        A function of the whole arrays.

    Raises:
        StateAxesError: a State is declared twice, or written with values that differ between devices along an axis
            that its spec does not name.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> from spikax_transform import State, shard_map
    >>> mesh = jax.make_mesh((1,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
    >>> v = State(jnp.zeros(4))
    >>> def step(x):
    ...     v.value = v.value + x
    ...     return jax.lax.psum(v.value.sum(), "d")
    >>> shard_map(step, mesh, jax.P("d"), jax.P(), state_in_specs={jax.P("d"): v})(jnp.ones(4))
    Array(4., dtype=float32)
    """
    inside = _specs("state_in_specs", state_in_specs)
    outside = inside | _specs("state_out_specs", state_out_specs)
    layout = _Layout(mesh, *_flat(in_specs), *_flat(out_specs), frozenset(axis_names), check_vma)

    def call(fun: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        if kwargs:
            raise TypeError(f"shard_map got keyword arguments {sorted(kwargs)}; expected positional ones, as in JAX.")
        return _call(fun, args, layout, inside, outside)

    return transformed("shard_map", f, call)


@dataclass(frozen=True)
class _Layout:
    """The keywords of `jax.shard_map`, in a form that can be compared."""

    mesh: Any
    in_specs: tuple[Any, ...]
    in_tree: Any
    out_specs: tuple[Any, ...]
    out_tree: Any
    axis_names: frozenset[str]
    check_vma: bool

    def over(self, body: Callable[..., Any], states_in: Any, states_out: Any) -> FlatProgram:
        """`jax.shard_map` of ``body(constants, args, states) -> (result, states)``."""
        return jax.shard_map(
            body,
            mesh=self.mesh,
            in_specs=(jax.P(), jax.tree.unflatten(self.in_tree, self.in_specs), states_in),
            out_specs=(jax.tree.unflatten(self.out_tree, self.out_specs), states_out),
            axis_names=self.axis_names,
            check_vma=self.check_vma,
        )


@dataclass(frozen=True)
class _Program:
    """What the program depends on besides the jaxpr."""

    layout: _Layout
    sources: tuple[int, ...]
    states_in: tuple[Any, ...]  # a spec for each leaf
    states_out: tuple[Any, ...]
    result: Any


def _call(
    fun: Callable[..., Any], args: Any, layout: _Layout, inside: dict[State[Any], Any], outside: dict[State[Any], Any]
) -> Any:
    refuse_states(jax.tree.leaves(args), "shard_map", "passed to")
    args = jax.tree.map(jnp.asarray, args)
    traced = _trace(fun, args, layout, inside)
    inputs = Inputs([traced])
    _check_writes(traced, outside)
    specs = [inside.get(state, jax.P()) for state in traced.reads for _ in inputs.places(state)]
    out_specs = [outside.get(state, jax.P()) for state, tree in traced.writes.items() for _ in range(tree.num_leaves)]
    spec = _Program(layout, inputs.sources(traced), tuple(specs), tuple(out_specs), traced.out_tree)
    out, values = run(_make, [traced.jaxpr], spec, [*traced.consts], args, inputs.leaves)
    store(traced.writes, values, inputs)
    return out


def _make(jaxprs: Sequence[_compat.Jaxpr], spec: _Program) -> FlatProgram:
    def body(consts: Leaves, args: Any, states: Leaves) -> tuple[Any, Leaves]:
        reads = [states[place] for place in spec.sources]
        out = _compat.eval_jaxpr(jaxprs[0], [*consts, *jax.tree.leaves(args), *reads])
        size = spec.result.num_leaves
        return jax.tree.unflatten(spec.result, out[:size]), out[size:]

    return spec.layout.over(body, list(spec.states_in), list(spec.states_out))


def _trace(fun: Callable[..., Any], args: Any, layout: _Layout, inside: dict[State[Any], Any]) -> Traced:
    """Trace the function for the part of one device.

    Which part of a State that is, JAX says of the values that go in. So a State that turns out to be read without
    being declared costs a second trace.
    """
    known = dict(inside)
    while True:
        values = [_overlay.peek(state, len(_overlay.frames())) for state in known]
        traced = _trace_part(fun, args, layout, known, values)
        undeclared = [state for state in traced.reads if state not in known]
        if not undeclared:
            return traced
        known |= dict.fromkeys(undeclared, jax.P())


def _trace_part(
    fun: Callable[..., Any], args: Any, layout: _Layout, known: dict[State[Any], Any], values: list[Any]
) -> Traced:
    found: list[Traced] = []

    def part(consts: Any, args: Any, values: list[Any]) -> tuple[()]:
        leaves, in_tree = jax.tree.flatten((args, {}))
        avals = [_compat.aval_of(leaf) for leaf in leaves]
        starts = dict(zip(known, values, strict=True))
        found.append(trace_once(fun, in_tree, avals, name="shard_map", starts=starts))
        return ()

    program = jax.shard_map(
        part,
        mesh=layout.mesh,
        in_specs=(jax.P(), jax.tree.unflatten(layout.in_tree, layout.in_specs), list(known.values())),
        out_specs=(),
        axis_names=layout.axis_names,
        check_vma=layout.check_vma,
    )
    jax.eval_shape(program, [], args, values)
    return found.pop()


def _check_writes(traced: Traced, outside: dict[State[Any], Any]) -> None:
    position = traced.out_tree.num_leaves
    for state, tree in traced.writes.items():
        avals = traced.out_avals[position : position + tree.num_leaves]
        position += tree.num_leaves
        spec = outside.get(state, jax.P())
        named = {name for part in spec for name in (part if isinstance(part, tuple) else (part,))}
        varying = {name for aval in avals for name in _compat.varying_axes(aval)}
        if varying - named:
            raise StateAxesError(
                f"shard_map got a write of a value that differs between devices along {sorted(varying - named)} to "
                f"{state.describe()}, whose spec is {spec}. Declare it in state_out_specs={{PartitionSpec: States}}, "
                f"or reduce the value over these axes first."
            )


def _specs(what: str, given: Mapping[Any, Any] | None) -> dict[State[Any], Any]:
    specs: dict[State[Any], Any] = {}
    if given is not None and not isinstance(given, Mapping):
        raise StateAxesError(
            f"shard_map got {what} of type {type(given).__name__}; expected {{PartitionSpec: States}}."
        )
    for spec, group in (given or {}).items():
        for leaf in jax.tree.leaves(group):
            if not isinstance(leaf, State) or not isinstance(spec, jax.P):
                raise StateAxesError(
                    f"shard_map got {what} with {type(spec).__name__}: {type(leaf).__name__}; expected "
                    f"{{PartitionSpec: States}}, with States in any nesting."
                )
            if specs.setdefault(leaf, spec) != spec:
                raise StateAxesError(f"shard_map got {leaf.describe()} under two specs of {what}; expected one.")
    return specs


def _flat(specs: Any) -> tuple[tuple[Any, ...], Any]:
    leaves, tree = jax.tree.flatten(specs, is_leaf=lambda spec: isinstance(spec, jax.P))
    return tuple(leaves), tree
