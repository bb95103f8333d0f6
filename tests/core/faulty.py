"""Operators with one fault each, which the conformance kit must find."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spikax_core import XLACustomKernel, general_batching_rule
from spikax_core._compat import bind, is_zero, varying_axes
from spikax_core.testing import Property
from tests.core.operators import kernel, product


def _product() -> XLACustomKernel:
    operator = kernel("product", product)
    operator.def_jvp_rule2(lambda t, x, y: t * y, lambda t, x, y: x * t)
    return operator


def wrong_jvp() -> XLACustomKernel:
    operator = kernel("product", product)
    operator.def_jvp_rule2(lambda t, x, y: 1.02 * t * y, lambda t, x, y: x * t)
    return operator


def wrong_transpose() -> XLACustomKernel:
    operator = kernel("double", lambda x: 2 * x)
    operator.def_jvp_rule2(lambda t, x: operator(t))
    operator.def_transpose_rule(lambda ct, x: (3 * ct,))
    return operator


def wrong_batch() -> XLACustomKernel:
    """Takes the first lane for all lanes of its second operand."""
    operator = _product()

    def batch(size: int, args: Any, axes: Any) -> tuple[Any, int]:
        x, y = (
            jnp.broadcast_to(arg, (size, *arg.shape)) if axis is None else jnp.moveaxis(arg, axis, 0)
            for arg, axis in zip(args, axes, strict=True)
        )
        return operator(x, jnp.broadcast_to(y[:1], y.shape)), 0

    operator.def_batching_rule(batch)
    return operator


def wrong_batch_of(subset: tuple[int, ...]) -> XLACustomKernel:
    """Its batch is wrong where exactly these operands are batched."""
    operator = _product()

    def batch(size: int, args: Any, axes: Any) -> tuple[Any, Any]:
        wrong = tuple(i for i, axis in enumerate(axes) if axis is not None) == subset
        outs, out_axes = general_batching_rule(operator, args, axes)
        return (outs + 1 if wrong else outs), out_axes

    operator.def_batching_rule(batch)
    return operator


def no_batch_of_nothing() -> XLACustomKernel:
    """Makes its batch of the results of each lane, of which there may be none."""
    operator = _product()

    def batch(size: int, args: Any, axes: Any) -> tuple[Any, int]:
        lanes = [
            [x if ax is None else jnp.take(x, i, ax) for x, ax in zip(args, axes, strict=True)] for i in range(size)
        ]
        return jnp.stack([operator(*lane) for lane in lanes]), 0

    operator.def_batching_rule(batch)
    return operator


def wrong_for_rows() -> XLACustomKernel:
    """Wrong where there is more than one row."""
    operator = _product()
    operator.def_kernel("rows", "cpu", lambda _, __: lambda x, y: x * y[:1])
    return operator


def wrong_batch_of_the_transpose() -> XLACustomKernel:
    """Right, and so is its batch, but what its gradient calls is batched with lanes reversed."""
    operator, back = kernel("double", lambda x: 2 * x), kernel("back", lambda ct: 2 * ct)
    operator.def_jvp_rule2(lambda t, x: operator(t))
    operator.def_transpose_rule(lambda ct, x: (back(ct),))
    back.def_batching_rule(lambda size, args, axes: (jnp.flip(back(args[0]), axes[0]), axes[0]))
    return operator


def wrong_dtype() -> XLACustomKernel:
    operator = _product()
    operator.def_kernel("half", "cpu", lambda _, __: lambda x, y: (x * y).astype(jnp.float16))
    return operator


def wrong_declared_dtype() -> XLACustomKernel:
    operator = _product()
    operator.def_shape_rule(lambda x, y: jax.ShapeDtypeStruct(x.shape, jnp.float16))
    return operator


def wrong_value_on_one_backend() -> XLACustomKernel:
    operator = _product()
    operator.def_kernel("good", "cpu", lambda _, __: product)
    operator.def_kernel("bad", "cpu", lambda _, __: lambda x, y: x * y * 1.001)
    return operator


def nan() -> XLACustomKernel:
    operator = _product()
    operator.def_kernel("divides", "cpu", lambda _, __: lambda x, y: x * x * y / x)
    return operator


def nan_gradient() -> XLACustomKernel:
    operator = _product()
    operator.def_jvp_rule2(lambda t, x, y: t * (x * y) / x, lambda t, x, y: x * t)
    return operator


def refuses_all() -> XLACustomKernel:
    operator = _product()
    operator.def_kernel("idle", "cpu", lambda _, __: product, supports=lambda *_: "it is Sunday")
    return operator


def retrace() -> XLACustomKernel:
    """Its rule makes a new function for each call, which is compiled each time."""
    operator = kernel("double", lambda x: 2 * x)
    operator.def_jvp_rule2(lambda t, x: jax.jit(lambda t: 2 * t)(t))
    return operator


def value_as_param() -> XLACustomKernel:
    """Its rule passes a value as a static parameter, which is an error as soon as the value is traced."""
    operator, scale = kernel("square", lambda x: x * x), kernel("scale", lambda t, *, by: by * t)
    scale.def_jvp_rule2(lambda t, x, *, by: by * t)
    operator.def_jvp_rule2(lambda t, x: scale(t, by=2 * float(x.reshape(-1)[0])))
    return operator


def missing_reference() -> XLACustomKernel:
    operator = XLACustomKernel("product")
    operator.def_shape_rule(lambda x, y: x)
    operator.def_kernel("only", "cpu", lambda _, __: product)
    operator.def_jvp_rule2(lambda t, x, y: t * y, lambda t, x, y: x * t)
    return operator


def nothing_at_all() -> XLACustomKernel:
    return XLACustomKernel("nothing")


def bare_bind() -> XLACustomKernel:
    """Binds operands as they are, so that JAX is not told that a replicated one meets sharded ones."""

    class Plain(XLACustomKernel):
        def __call__(self, *ins: Any, outs: Any = None, backend: str | None = None, **params: Any) -> Any:
            with jax.ensure_compile_time_eval():
                call = super().__call__
                jaxpr = jax.make_jaxpr(lambda *ins: call(*ins, outs=outs, backend=backend, **params))(
                    *(np.zeros(x.shape, x.dtype) for x in ins)
                )
            return bind(self.primitive, ins, jaxpr.eqns[0].params)[0]

    operator = Plain("product", reference=product)
    operator.def_shape_rule(lambda x, y: jax.ShapeDtypeStruct(x.shape, x.dtype))
    operator.def_jvp_rule2(lambda t, x, y: operator(t, y), lambda t, x, y: operator(t, x))
    operator.def_transpose_rule(lambda ct, t, other: (operator(ct, other), None))
    return operator


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _cast(x: Any, axes: tuple[str, ...]) -> Any:
    return jax.lax.pcast(x, axes, to="varying")


_cast.defvjp(lambda x, axes: (_cast(x, axes), None), lambda axes, _, ct: (jax.lax.pmean(ct, axes),))


def mean_over_devices() -> XLACustomKernel:
    """Makes a replicated operand vary by a cast of its own, whose transpose is the mean over devices, not the sum."""

    class Means(XLACustomKernel):
        def __call__(self, *ins: Any, **options: Any) -> Any:
            axes: frozenset[str] = frozenset().union(*(varying_axes(jax.typeof(x)) for x in ins))
            missing = [tuple(axes - varying_axes(jax.typeof(x))) for x in ins]
            return super().__call__(*(_cast(x, m) if m else x for x, m in zip(ins, missing, strict=True)), **options)

    operator = Means("product", reference=product)
    operator.def_shape_rule(lambda x, y: x)
    operator.def_jvp_rule2(lambda t, x, y: t * y, lambda t, x, y: x * t)
    return operator


def mixes_devices() -> XLACustomKernel:
    """Computes with what its operands are on average over devices."""

    class Mixes(XLACustomKernel):
        def __call__(self, *ins: Any, **options: Any) -> Any:
            axes = [tuple(varying_axes(jax.typeof(x))) for x in ins]
            means = [jax.lax.pmean(x, over) if over else x for x, over in zip(ins, axes, strict=True)]
            return super().__call__(*means, **options)

    operator = Mixes("product", reference=product)
    operator.def_shape_rule(lambda x, y: x)
    return operator


def fails_on_nothing() -> XLACustomKernel:
    def build(in_avals: Any, _: Any) -> Callable[..., Any]:
        if not in_avals[0].size:
            raise ValueError("a grid of no blocks")
        return product

    operator = _product()
    operator.def_kernel("grid", "cpu", build)
    return operator


def drops_a_tangent() -> XLACustomKernel:
    """Its one rule takes a shortcut where a tangent is a symbolic zero, the wrong one."""
    operator = kernel("product", product)

    def rule(primals: Any, tangents: Any) -> Any:
        (x, y), (tx, ty) = primals, tangents
        if is_zero(ty):
            return operator(x, y), tx
        return operator(x, y), (0 * x if is_zero(tx) else tx * y) + x * ty

    operator.def_jvp_rule(rule)
    return operator


def eager_differs() -> XLACustomKernel:
    class Eager(XLACustomKernel):
        def __call__(self, *ins: Any, **options: Any) -> Any:
            out = super().__call__(*ins, **options)
            return out if isinstance(out, jax.core.Tracer) else out + 1

    operator = Eager("double", reference=lambda x: 2 * x)
    operator.def_shape_rule(lambda x: x)
    return operator


def keeps_a_trace() -> XLACustomKernel:
    """Keeps something computed from its operand, which in a compiled function is a tracer."""
    kept: dict[int, Any] = {}

    class Keeps(XLACustomKernel):
        def __call__(self, *ins: Any, **options: Any) -> Any:
            if id(ins[0]) not in kept:
                kept[id(ins[0])] = ins[0], jax.jit(jnp.sin)(ins[0])
            return super().__call__(kept[id(ins[0])][1], **options)

    operator = Keeps("double", reference=lambda x: 2 * x)
    operator.def_shape_rule(lambda x: x)
    return operator


def rows() -> XLACustomKernel:
    """Nothing is wrong with this one: the product of a vector and a matrix, divided as its gradients are."""
    operator, outer = kernel("rows", jnp.matmul), kernel("outer", jnp.outer)
    columns = kernel("columns", lambda ct, w: w @ ct)
    operator.def_linear({0: lambda ct, x, w: columns(ct, w), 1: lambda ct, x, w: outer(x, ct)})
    outer.def_partition("i, k -> i k")
    columns.def_partition("k, i k -> i", reduce="sum")
    operator.def_partition("i, i k -> k", reduce="sum")
    return operator


def wrong_reduction() -> XLACustomKernel:
    operator = rows()
    operator.def_partition("i, i k -> k", reduce="max")
    return operator


def wrong_partition() -> XLACustomKernel:
    """Says that each device may sum up its own part."""
    operator = kernel("running", jnp.cumsum)
    operator.def_jvp_rule2(lambda t, x: operator(t))
    operator.def_partition("i -> i")
    return operator


def gathers() -> XLACustomKernel:
    operator = rows()
    operator.def_partition("i, i k -> k", reduce=lambda x, axes: jax.lax.all_gather(x, axes).sum(0))
    return operator


def not_exportable() -> XLACustomKernel:
    operator = _product()

    def build(_: Any, outs: Any) -> Callable[..., Any]:
        struct = jax.ShapeDtypeStruct(outs[0].shape, outs[0].dtype)
        return lambda x, y: jax.pure_callback(lambda x, y: np.multiply(x, y), struct, x, y)

    operator.def_kernel("python", "cpu", build, exportable=True)
    return operator


X = np.linspace(-1, 2, 12, dtype=np.float32).reshape(3, 4)
ZERO = np.array([[0.0, 1.0, -2.0]], np.float32)
Y = np.cos(np.arange(12, dtype=np.float32)).reshape(3, 4)

FAULTS: dict[str, tuple[Callable[[], XLACustomKernel], tuple[Any, ...], Property, str]] = {
    "wrong JVP": (wrong_jvp, (X, Y), "finite differences", "jvp by argument 0 == finite difference: got"),
    "wrong transpose": (wrong_transpose, (X,), "jvp and vjp", "<cotangent, jvp> == <vjp, tangent>: got"),
    "wrong batch": (wrong_batch, (X, Y), "vmap", "vmap over arguments (1,)"),
    "wrong nested batch": (wrong_batch, (X, Y), "nested vmap", "vmap of vmap over all arguments"),
    "wrong batch of the transpose": (wrong_batch_of_the_transpose, (X,), "vmap of gradient", "vmap of the gradient"),
    "wrong batch in a Jacobian": (wrong_batch_of_the_transpose, (X,), "jacobians", "jacfwd == jacrev"),
    "wrong dtype": (wrong_dtype, (X, Y), "value", "OutputMismatchError: kernel 'half' of product: got (f16[3,4])"),
    "wrong declared dtype": (wrong_declared_dtype, (X, Y), "value", "expected (f16[3,4])"),
    "wrong value on one backend": (wrong_value_on_one_backend, (X, Y), "value", "on backend 'bad'"),
    "NaN": (nan, (ZERO, ZERO), "value", "got nan; expected 0 at (0, 0)"),
    "NaN in the derivative": (nan_gradient, (ZERO, ZERO), "jvp and vjp", "got 1 infinities or NaN in f64[]"),
    "a backend that serves nothing": (refuses_all, (X, Y), "value", "it is Sunday"),
    "retrace": (
        retrace,
        (X,),
        "retrace",
        "compilations by an eager jvp, after one with other values: got 1; expected 0",
    ),
    "value as a param": (value_as_param, (X,), "retrace", "compilations by an eager jvp"),
    "missing reference": (missing_reference, (X, Y), "value", "expected one to compare with"),
    "no kernel": (nothing_at_all, (X, Y), "value", "expected a reference"),
    "mixed devices": (mixes_devices, (X, Y), "shard_map", "values, arguments (0,) sharded, others replicated: got "),
    "sum over devices lost": (
        mean_over_devices,
        (X, Y),
        "gradient under shard_map",
        "gradient from outside, arguments (0,) sharded, others replicated: got ",
    ),
    "bound without a word of devices": (
        bare_bind,
        (X, Y),
        "gradient under shard_map",
        "(1,) sharded, others replicated",
    ),
    "results of devices joined the wrong way": (
        wrong_reduction,
        (X[0], Y.T),
        "partition",
        "values, 'i' cut on an Axis",
    ),
    "divided where it must not be": (wrong_partition, (X[0],), "partition", "values, 'i' cut on an AxisType.Auto mesh"),
    "gathers": (
        gathers,
        (X[0], Y.T),
        "partition",
        "operands gathered, 'i' cut on an AxisType.Auto mesh: got 1; expected 0",
    ),
    "nothing in fails": (fails_on_nothing, (X, Y), "empty", "ValueError: a grid of no blocks"),
    "a batch of nothing fails": (no_batch_of_nothing, (X, Y), "empty", "a batch of size zero: got ValueError"),
    "dropped tangent": (drops_a_tangent, (X, Y), "symbolic zeros", "jvp by argument 0 alone"),
    "eager differs": (eager_differs, (X,), "jit", "jit == eager"),
    "keeps a trace": (keeps_a_trace, (X,), "shared operands", "UnexpectedTracerError"),
    "exports Python": (not_exportable, (X, Y), "export", "exported program"),
}
"""Name, maker of the operator, operands, the property that must fail, and a part of what the failure must say."""
