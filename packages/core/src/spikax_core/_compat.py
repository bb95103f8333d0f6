"""All this package knows of JAX's internals; each JAX version difference is handled here and nowhere else."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.monitoring
import jax.numpy as jnp

# From where it is defined: in jax 0.10 `jax.extend.core` imports Pallas, five times the cost of this whole package.
from jax._src import core
from jax._src.core import Primitive as Primitive
from jax._src.dispatch import prim_requires_devices_during_lowering
from jax._src.sharding_impls import parse_flatten_op_sharding
from jax.core import ShapedArray
from jax.interpreters import ad, batching, mlir, xla

Array: TypeAlias = Any
"""A value seen by a rule: an array, a tracer, or a symbolic zero."""

TreeDef: TypeAlias = Any
"""A ``jax.tree_util.PyTreeDef``, whose methods jaxlib does not type."""

UndefinedPrimal = ad.UndefinedPrimal
Zero = ad.Zero

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
"""The platforms JAX lowers for by name; on any other one an operator runs its reference."""


def set_context(context: Any, value: object) -> None:
    """Give a context made by ``jax.make_user_context`` another value, in all threads that are not inside of it."""
    context._obj.set_global(value)  # jax 0.9 has no method for it


def new_primitive(name: str) -> Primitive:
    """A primitive with a tuple of results that runs eagerly by compiling itself."""
    primitive = Primitive(name)
    primitive.multiple_results = True
    primitive.def_impl(functools.partial(xla.apply_primitive, primitive))
    return primitive


def bind(primitive: Primitive, operands: Sequence[Array], params: Mapping[str, Any]) -> Any:
    """The result of ``primitive``, or the sequence of its results if it has several."""
    return primitive.bind(*operands, **params)  # type: ignore[no-untyped-call, unused-ignore]


def wide_types() -> bool:
    """Whether 64-bit types are enabled, here and now."""
    wide: bool = jax.config.jax_enable_x64  # type: ignore[attr-defined]
    return wide


def unflatten(tree: TreeDef, leaves: Sequence[Any]) -> Any:
    """``leaves`` in the structure ``tree``."""
    return tree.unflatten(leaves)


def set_jvp(primitive: Primitive, rule: Callable[..., Any]) -> None:
    """Make ``rule(primals, tangents, **params)`` the derivative of ``primitive``."""
    ad.primitive_jvps[primitive] = rule


def has_jvp(primitive: Primitive) -> bool:
    """Whether ``primitive`` has a derivative."""
    return primitive in ad.primitive_jvps


def set_transpose(primitive: Primitive, rule: Callable[..., Any]) -> None:
    """Make ``rule(cotangents, *args, **params)`` the transpose of ``primitive``."""
    ad.primitive_transposes[primitive] = rule


def set_batching(primitive: Primitive, rule: Callable[..., Any]) -> None:
    """Make ``rule(args, axes, **params)`` the batching rule of ``primitive``; an unbatched axis is ``None``."""
    batching.primitive_batchers[primitive] = rule


class Target(NamedTuple):
    """What a program is compiled for: export to another process; several devices that JAX divides arrays over."""

    exporting: bool
    divided: bool


def set_lowering(primitive: Primitive, platform: str | None, rule: Callable[..., Any]) -> None:
    """Lower ``primitive`` on ``platform`` (``None``: any other) by ``rule(in_avals, out_avals, params, target)``."""

    def lower(ctx: Any, *operands: Any, **params: Any) -> Any:
        avals_in, avals_out = list(map(bare, ctx.avals_in)), list(map(bare, ctx.avals_out))
        function = rule(avals_in, avals_out, params, _target(ctx.module_context))
        # Bare, because what matters of a mesh has been settled: a reference may loop over a constant of its own, which
        # does not vary over devices as its operands do.
        return mlir.lower_fun(off_mesh(function), multiple_results=True)(ctx.replace(avals_in=avals_in), *operands)

    mlir.register_lowering(primitive, lower, platform=platform)


def _target(module: Any) -> Target:
    # Only the context of `jit` itself has a mesh to divide over: under `shard_map` a device has its own part already.
    axes = module.axis_context
    on_mesh = getattr(axes, "abstract_mesh", None) is not None and axes.num_devices > 1
    exporting: bool = module.lowering_parameters.for_export
    return Target(exporting, on_mesh and bool(jax.config.jax_use_shardy_partitioner))  # type: ignore[attr-defined]


def off_mesh(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` out of reach of ``jax.set_mesh``, for operands whose types say nothing of a mesh."""

    @functools.wraps(function)
    def apart(*operands: Array) -> Any:
        with jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((), ())):
            return function(*operands)

    return apart


def need_devices(primitive: Primitive) -> None:
    """Let JAX say which devices it compiles for when it lowers ``primitive``."""
    prim_requires_devices_during_lowering.add(primitive)


def add_tangents(x: Array, y: Array) -> Array:
    """The sum of two tangents, either of which may be a symbolic zero."""
    return ad.add_tangents(x, y)


def is_zero(x: Array) -> bool:
    """Whether ``x`` is a symbolic zero, in JAX's internal form or in the form that custom rules see."""
    return isinstance(x, (Zero, jax.custom_derivatives.SymbolicZero))


def tangent_type(aval: ShapedArray) -> ShapedArray:
    """The type of the tangents of a value of type ``aval``: ``float0`` for integers and bools."""
    tangent: ShapedArray = aval.to_tangent_aval()
    return tangent


def zero_tangent(aval: ShapedArray) -> Zero:
    """The symbolic zero tangent of a value of type ``aval``."""
    return Zero(tangent_type(aval))


def varying_axes(aval: Any) -> frozenset[str]:
    """The manual mesh axes over which a value differs from device to device (``shard_map``)."""
    # jax 0.12 moved the attribute from the aval into its "manual axis type".
    manual = getattr(aval, "mat", None)
    axes: frozenset[str] = aval.vma if manual is None else manual.varying
    return axes


def bare(aval: ShapedArray) -> ShapedArray:
    """``aval`` without what it says of a mesh."""
    return ShapedArray(aval.shape, aval.dtype, weak_type=aval.weak_type)


def result_aval(struct: jax.ShapeDtypeStruct, operands: Sequence[ShapedArray]) -> ShapedArray:
    """The type of a result: on the operands' mesh, varying over the axes that any of them varies over."""
    mesh = next((a.sharding.mesh for a in operands if not a.sharding.mesh.empty), None)
    if mesh is None:
        return ShapedArray(struct.shape, struct.dtype)
    spec = jax.P(*[None] * len(struct.shape))
    aval = ShapedArray(struct.shape, struct.dtype, sharding=jax.NamedSharding(mesh, spec))
    axes = _union(operands)
    varying: ShapedArray
    if getattr(aval, "mat", None) is None:
        varying = aval.update(vma=axes)
    else:
        varying = aval.update(manual_axis_type=aval.mat.update(varying=axes))
    return varying


def aligned(avals: Sequence[ShapedArray]) -> bool:
    """Whether :func:`align` would leave operands of these types as they are."""
    return all(varying_axes(a) == varying_axes(avals[0]) and not any(a.sharding.spec) for a in avals)


def align(operands: Sequence[Array]) -> list[Array]:
    """Make the operands' types agree over a mesh, as JAX's own operators do before they bind.

    Under ``shard_map`` each is made to vary over the axes that any of them varies over: this cast is what transposes to
    the sum over devices, which the gradient of a replicated operand would otherwise lose. Over Explicit mesh axes each
    is gathered, because how the results of an unknown kernel would be sharded cannot be told.
    """
    axes = _union(map(jax.typeof, operands))
    return [vary_over(unshard(x, range(jnp.ndim(x))), axes) for x in operands]


@contextlib.contextmanager
def mesh_axes(names: Iterable[str]) -> Iterator[None]:
    """Let ``shard_map`` use these axes of the mesh, over which operands are sharded.

    ``vmap`` hides the Explicit axes that its batch is sharded over; in a batching rule the batch is an axis of the
    operands again, but jax 0.9 still hides them.
    """
    if hasattr(core, "remove_explicit_mesh_axis_names"):
        yield
        return
    env = core.trace_ctx.axis_env
    hidden = env.explicit_mesh_axis_names - frozenset(names)
    core.trace_ctx.set_axis_env(type(env)(env.axis_sizes, env.spmd_axis_names, hidden))
    try:
        yield
    finally:
        core.trace_ctx.set_axis_env(env)


def vary_over(x: Array, axes: frozenset[str]) -> Array:
    """``x`` as a value that varies over at least ``axes``."""
    missing = axes - varying_axes(jax.typeof(x))
    return jax.lax.pcast(x, tuple(sorted(missing)), to="varying") if missing else x


def unshard(x: Array, dimensions: Iterable[int]) -> Array:
    """``x`` with none of ``dimensions`` sharded over an Explicit mesh axis."""
    sharding = jax.typeof(x).sharding
    spec = [None if i in dimensions else axis for i, axis in enumerate(sharding.spec)]
    if tuple(spec) == tuple(sharding.spec):
        return x
    return jax.sharding.reshard(x, jax.NamedSharding(sharding.mesh, jax.P(*spec)))


def spec_of(sharding: Any, mesh: jax.sharding.Mesh) -> jax.P:
    """The mesh axes by which XLA cuts an array; none where it cuts by a part of an axis, which has no name."""
    if sharding is None:
        return jax.P()
    try:
        spec: jax.P = parse_flatten_op_sharding(sharding._hlo_sharding, mesh)[0]
    except (ValueError, LookupError, AssertionError, NotImplementedError):
        return jax.P()
    return spec


def _union(avals: Iterable[Any]) -> frozenset[str]:
    axes: frozenset[str] = frozenset()
    return axes.union(*map(varying_axes, avals))


@contextlib.contextmanager
def count_compilations() -> Iterator[Callable[[], int]]:
    """How many programs JAX has compiled since, in this thread."""
    compiled, thread = 0, threading.get_ident()

    def listen(event: str, duration_secs: float, **_: Any) -> None:
        nonlocal compiled
        # Traces have an event too, which jax 0.9 records for eager transformations that find everything in a cache.
        compiled += event == "/jax/core/compile/backend_compile_duration" and threading.get_ident() == thread

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield lambda: compiled
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
