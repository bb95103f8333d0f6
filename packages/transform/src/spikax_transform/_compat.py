"""All that this package knows about the inside of JAX, for every supported version."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax._src import api_util, config, core, custom_batching, effects, source_info_util
from jax._src import linear_util as lu
from jax._src.interpreters import batching
from jax._src.interpreters import partial_eval as pe
from jax._src.named_sharding import UNSPECIFIED
from jax._src.util import HashableWrapper, Unhashable

Array: TypeAlias = jax.Array
Aval: TypeAlias = Any  # a `ShapedArray`; JAX does not export the class for annotation
Trace: TypeAlias = Any
Jaxpr: TypeAlias = Any
Tracer = core.Tracer
Literal = core.Literal
Var = core.Var

EVAL_TRACE: Trace = core.eval_trace


class _TraceContext:
    """`CURRENT_TRACE` of JAX before 0.10."""

    @property
    def value(self) -> Trace:
        return core.trace_ctx.trace


# Its `value` is the trace of the calling thread. Read here and not through JAX's own property around it, which takes
# as long again: a tenth of a microsecond, at each read of a State and each call of a jitted function.
CURRENT_TRACE: Any = getattr(core, "trace_state_strong_ref", None) or _TraceContext()

state_read_p = core.Primitive("state_read")
# `index` makes the parameters of two reads differ, so that nothing may take them for one.
state_read_p.def_abstract_eval(lambda *, aval, index: aval)


def current_trace() -> Trace:
    """The trace that a primitive bound now would go to."""
    return CURRENT_TRACE.value


def is_staging(trace: Trace) -> bool:
    """Whether `trace` writes a program down (jit, scan, cond), and may thus be cached by JAX."""
    return isinstance(trace, pe.DynamicJaxprTrace)


def parent_of(trace: Trace) -> Trace | None:
    """The trace outside of an eager-type trace (vmap, jvp, linearize), `None` outside of all."""
    return getattr(trace, "parent_trace", None)


def trace_of(leaf: object) -> Trace | None:
    """The trace that a tracer belongs to, `None` for a value."""
    return leaf._trace if isinstance(leaf, Tracer) else None


def lane_count(trace: Trace) -> int:
    """How many lanes the trace of a `vmap` has."""
    return int(trace.axis_data.size)


def as_lanes(trace: Trace, value: Any, axis: int) -> Any:
    """A tracer of the trace of a `vmap` that stands for the slices of an array along an axis."""
    return batching.BatchTracer(trace, value, axis)


def varying_axes(aval: Aval) -> frozenset[Any]:
    """The axes of the mesh along which a value inside of `jax.shard_map` is known to differ."""
    axes = getattr(aval, "manual_axis_type", None)  # since JAX 0.10
    return frozenset(getattr(aval, "vma", ()) if axes is None else axes.varying)


def under_staging() -> bool:
    """Whether anything around the caller is being staged, whoever asked for it."""
    trace = current_trace()
    while trace is not None:
        if is_staging(trace):
            return True
        trace = parent_of(trace)
    return False


def jit_disabled() -> bool:
    """Whether the user is inside `jax.disable_jit()`."""
    return bool(config.disable_jit.value)


def aval_of(leaf: Any) -> Aval:
    """Shape, dtype and weak type of a leaf; `TypeError` for what JAX cannot hold."""
    return jax.typeof(leaf)


def abstract_aval(leaf: Any) -> Aval:
    """The same, also for a `jax.ShapeDtypeStruct`, which stands for an array."""
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return core.ShapedArray(leaf.shape, leaf.dtype, weak_type=getattr(leaf, "weak_type", False))
    return jax.typeof(leaf)


def slice_aval(aval: Aval, length: int) -> Aval:
    """What one step of a loop sees of an array whose leading axis is time."""
    return core.mapped_aval(length, 0, aval)


def bind_state_read(trace: Trace, aval: Aval, index: int) -> Any:
    """A tracer of `trace` that stands for one leaf of a State's value."""
    # JAX 0.10 takes the avals of the operands besides the operands, of which there are none
    none = ((),) * _OPERAND_LISTS
    bind: Any = state_read_p.bind_with_trace
    return bind(trace, *none, {"aval": aval, "index": index})


_OPERAND_LISTS = len(inspect.signature(core.Primitive.bind_with_trace).parameters) - 3


def trace_flat(fun: Callable[..., list[Any]], avals: Sequence[Aval], name: str) -> tuple[Jaxpr, list[Any]]:
    """Trace a flat function once, without any of JAX's caches: `(jaxpr, values of its constants)`."""
    debug_info = api_util.debug_info(name, fun, (), {}, signature=_OF_LEAVES)
    jaxpr, _, consts = pe.trace_to_jaxpr_dynamic(lu.wrap_init(fun, debug_info=debug_info), tuple(avals))
    return jaxpr, consts


# JAX would look it up at each trace, for the names of the arguments.
_OF_LEAVES = inspect.signature(lambda *leaves: None)


def as_inputs(jaxpr: Jaxpr, reads: int) -> Jaxpr:
    """Make everything an input: the constants first, then the arguments, then the `reads` of State leaves.

    The constants become inputs because JAX 0.12 tells them from arguments only while their values are attached.
    """
    found: dict[int, Any] = {}
    rest = []
    for eqn in jaxpr.eqns:
        if eqn.primitive is state_read_p:
            found[eqn.params["index"]] = eqn.outvars[0]
        else:
            rest.append(eqn)
    inputs = [*jaxpr.constvars, *jaxpr.invars, *(found[i] for i in range(reads))]
    return jaxpr.replace(constvars=[], invars=inputs, eqns=rest)


def eval_jaxpr(jaxpr: Jaxpr, args: Sequence[Any]) -> list[Any]:
    """Run a jaxpr without constants in the current trace."""
    trace = current_trace()
    if is_staging(trace) and _may_copy(jaxpr, args):
        return _copy_equations(trace, jaxpr, args)
    out: list[Any] = jax.core.eval_jaxpr(jaxpr, (), *args)
    if is_staging(trace):
        return out
    return [plain(x, var.aval) for x, var in zip(out, jaxpr.outvars, strict=True)]


def _may_copy(jaxpr: Jaxpr, args: Sequence[Any]) -> bool:
    """Whether its equations mean the same for these arguments: of exactly the types for which they were written."""
    if jaxpr.is_high or any(isinstance(e, effects.JaxprInputEffect) for eqn in jaxpr.eqns for e in eqn.effects):
        return False  # mutable arrays and their like, of which an equation knows in which trace they are
    return all(
        isinstance(arg, jax.Array) and aval_of(arg) == var.aval for arg, var in zip(args, jaxpr.invars, strict=True)
    )


def _copy_equations(trace: Trace, jaxpr: Jaxpr, args: Sequence[Any]) -> list[Any]:
    """What `eval_jaxpr` gives, without asking each operation for its type anew: a fifth of the time.

    JAX inlines so what it jitted; here every equation keeps its line of the user's code, too.
    """
    here = source_info_util.current()
    env = {var: trace.to_jaxpr_tracer(arg, here) for var, arg in zip(jaxpr.invars, args, strict=True)}

    def tracer(atom: Any, source: Any) -> Any:
        return pe.DynamicJaxprTracer(trace, atom.aval, atom, source) if isinstance(atom, Literal) else env[atom]

    for eqn in jaxpr.eqns:
        source = eqn.source_info
        if len(here.name_stack):
            source = source.replace(name_stack=here.name_stack + source.name_stack)
        inputs = [tracer(atom, source) for atom in eqn.invars]
        avals = [var.aval for var in eqn.outvars]
        outputs = trace.emit_eqn(inputs, avals, eqn.primitive, eqn.params, eqn.effects, source, eqn.ctx)
        env.update(zip(eqn.outvars, outputs, strict=True))
    return [tracer(atom, here) for atom in jaxpr.outvars]


# What else there is in the equation of a scan depends on how many operands and results it has, and on nothing else.
_OF_NUMBERS = {"num_consts", "num_carry", "linear", "_split_transpose", "ft_in", "ft_out"}


@functools.lru_cache(maxsize=512)
def _scan_equation(consts: int, carry: int, xs: int, ys: int) -> Any:
    """The equation that `lax.scan` writes for so many arrays of each kind; `None` if it is not as it is known here."""

    def program(consts: list[Array], init: list[Array], xs: list[Array]) -> Any:
        def step(carry: list[Array], x: list[Array]) -> tuple[list[Array], list[Array]]:
            total = sum([*consts, *x], jnp.float32(0))
            return [leaf + total for leaf in carry], [total * total for _ in range(ys)]

        return jax.lax.scan(step, init, xs, length=2)

    number = np.float32(0)
    found = jax.make_jaxpr(program)([number] * consts, [number] * carry, [np.zeros(2, np.float32)] * xs).eqns[-1]
    known = found.params.keys() - _OF_NUMBERS == {"jaxpr", "reverse", "length", "unroll"}
    return found if found.primitive.name == "scan" and known else None


def scan_jaxpr(
    jaxpr: Jaxpr,
    inputs: tuple[Sequence[Any], Sequence[Any], Sequence[Any]],
    outputs: tuple[Sequence[Any], Sequence[Any]],
    args: tuple[Sequence[Any], Sequence[Any], Sequence[Any]],
    *,
    length: int,
    reverse: bool,
    unroll: int,
) -> tuple[list[Any], list[Any]] | None:
    """`lax.scan` for a body that is a jaxpr, which is taken as it is; `None` where it has to be traced.

    Args:
        jaxpr: the body, without constants.
        inputs: its variables for constants, for the carry and for a slice of the inputs; `None` for one that it does
            not read.
        outputs: its variables for the next carry and for what is stacked.
        args: the constants, the first carry, and the inputs.
        length: the number of steps.
        reverse: run from the last step to the first.
        unroll: steps per iteration.
    """
    consts, carry, xs = args
    following, ys = outputs
    if jit_disabled():
        return None
    equation = _scan_equation(len(consts), len(carry), len(xs), len(ys))
    if equation is None:
        return None
    expected = [*map(aval_of, consts), *map(aval_of, carry), *(slice_aval(aval_of(x), length) for x in xs)]
    variables = [v or core.Var(aval) for v, aval in zip((v for part in inputs for v in part), expected, strict=True)]
    if (
        jaxpr.effects
        or jaxpr.is_high
        # An error, which JAX knows to tell.
        or any(tuple(aval_of(x).sharding.spec)[:1] not in ((), (None,)) for x in xs)
        or any(var.aval != aval for var, aval in zip(variables, expected, strict=True))
        or any(var.aval != aval for var, aval in zip(following, expected[len(consts) :], strict=False))
        # JAX takes out of the loop what only passes through.
        or any(before is after for before, after in zip(inputs[1], following, strict=True))
        or not {id(var) for var in inputs[2]}.isdisjoint(map(id, ys))
    ):
        return None
    names = jaxpr.debug_info.with_unknown_names()
    body = pe.close_jaxpr(jaxpr.replace(invars=variables, outvars=[*following, *ys], debug_info=names))
    params = {**equation.params, "jaxpr": body, "length": length, "reverse": reverse, "unroll": unroll}
    out = equation.primitive.bind(*consts, *carry, *xs, **params)
    return out[: len(carry)], out[len(carry) :]


def plain(value: Any, aval: Aval) -> Any:
    """A literal of a program as an array, and not as an instance of one of JAX's classes for literals."""
    if isinstance(value, jax.Array):
        return value
    array = np.asarray(value, aval.dtype)
    return jnp.asarray(array.item() if aval.weak_type and array.ndim == 0 else array)


def open_jaxpr(jaxpr: Jaxpr) -> tuple[Jaxpr, Sequence[Any]]:
    """`(jaxpr, consts)` of a closed jaxpr; since JAX 0.12 both are the same class."""
    return jaxpr.jaxpr, jaxpr.consts


def is_closed_jaxpr(obj: object) -> bool:
    """Whether `obj` is a jaxpr together with the values of its constants."""
    return type(obj).__name__ in ("Jaxpr", "ClosedJaxpr") and hasattr(obj, "consts")


def is_open_jaxpr(obj: object) -> bool:
    """Whether `obj` is a jaxpr without values for its constants."""
    return isinstance(obj, core.Jaxpr) and not hasattr(obj, "consts")


def is_jax_function(function: Any) -> bool:
    """Whether a function is part of JAX: its globals do not change and need not be looked at."""
    return str(function.__module__ or "").partition(".")[0] == "jax"


def is_rule_memory(function: Any, name: str) -> bool:
    """Whether a closed-over variable of JAX's wrappers around a derivative rule is scratch memory, not meaning."""
    return is_jax_function(function) and name in ("cells", "sentinel", "self", "out_store", "store", "aux_store")


_RULE_FIELDS = ("fun", "nondiff_argnums", "nondiff_argnames", "jvp", "fwd", "bwd", "symbolic_zeros", "optimize_remat")


def is_compiled_function(value: Any) -> bool:
    """Whether `value` is a function made by `jax.jit`, whose meaning is fixed when it is made."""
    return type(value).__name__ == "PjitFunction"


def rule_parts(value: Any) -> tuple[Any, ...] | None:
    """What an object that JAX keeps in the parameters of `custom_jvp` and `custom_vjp` means; `None` if not one."""
    if isinstance(value, lu.WrappedFun):
        return (value.f, value.transforms, value.params)
    if isinstance(value, lu.Store | lu.EqualStore | core.DebugInfo | core.Trace):
        return ()
    if isinstance(value, jax.custom_jvp | jax.custom_vjp):
        return tuple(sorted((name, part) for name, part in vars(value).items() if name in _RULE_FIELDS))
    if isinstance(value, custom_batching.custom_vmap):
        return (value.fun, value.vmap_rule)
    if isinstance(value, custom_batching.ClosedRule):
        return (value.rule,)
    if isinstance(value, Unhashable | HashableWrapper):
        return (value.val if isinstance(value, Unhashable) else value.x,)
    return None


_PLAIN_DATA: tuple[Any, ...] = (
    core.AbstractValue,
    core.Effect,
    np.dtype,
    jax.tree_util.PyTreeDef,
    jax.sharding.Sharding,
)
_PLAIN_DATA += (jax.sharding.Mesh, jax.sharding.AbstractMesh, jax.sharding.PartitionSpec)


def is_plain_data(value: Any) -> bool:
    """Whether a parameter is one of JAX's or NumPy's immutable descriptions, which compare by what they say."""
    if isinstance(value, _PLAIN_DATA) or value is UNSPECIFIED:
        return True
    kind: Any = type(value)
    if not kind.__module__.startswith(("jax.", "jaxlib.")) or callable(value):
        return False
    # descriptions of JAX such as GatherDimensionNumbers or Precision: by value, if they define it
    return kind.__eq__ is not object.__eq__ and kind.__hash__ not in (None, object.__hash__)
