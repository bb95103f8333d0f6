"""``XLACustomKernel``: one operator, declared once, with a kernel for each platform and backend."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax

from ._backend import REFERENCE, Build, KernelEntry, Supports, choose, register_name, requested_backend
from ._batching import general_batching_rule
from ._call import PARAM, Call, inherit_backend, visible
from ._compat import (
    PLATFORMS,
    Array,
    match_varying,
    new_primitive,
    set_batching,
    set_jvp,
    set_lowering,
    set_transpose,
    varying_axes,
    with_varying_axes,
)
from ._describe import describe, describe_all
from ._errors import OutputMismatchError, ParameterError, RuleOutputError
from ._jvp import JVPRule, check_rule_count, per_input_jvp


class XLACustomKernel:
    """An operator: a JAX primitive with kernels per platform, and the rules to transform it.

    Declare it once, then call it like a function: it runs under ``jit``, ``vmap``, ``grad``, ``scan`` and ``shard_map``.

    Args:
        name: The operator's name, as it appears in a jaxpr.
        reference: Its specification in plain JAX, see :meth:`def_reference`.

    Attributes:
        name: As above.
        primitive: The JAX primitive beneath; it always has a tuple of results.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from spikax_core import XLACustomKernel
        >>> scale = XLACustomKernel("scale", reference=lambda x, *, by: x * by)
        >>> scale.def_shape_rule(lambda x, *, by: jax.ShapeDtypeStruct(x.shape, x.dtype))
        >>> scale.def_jvp_rule2(lambda t, x, *, by: scale(t, by=by))
        >>> scale(jnp.arange(3.0), by=2.0)
        Array([0., 2., 4.], dtype=float32)
        >>> jax.jvp(lambda x: scale(x, by=2.0), (1.0,), (1.0,))
        (Array(2., dtype=float32), Array(2., dtype=float32))
    """

    def __init__(self, name: str, *, reference: Callable[..., Any] | None = None) -> None:
        self.name = name
        self.primitive = new_primitive(name)
        self._entries: list[KernelEntry] = []
        self._reference: KernelEntry | None = None
        self._shape_rule: Callable[..., Any] | None = None
        self._jvp_rules: tuple[JVPRule | None, ...] | None = None
        self.primitive.def_abstract_eval(self._abstract_eval)
        for platform in (*PLATFORMS, None):
            set_lowering(self.primitive, platform, functools.partial(self._lower, platform or "this platform"))
        self.register_general_batching()
        if reference is not None:
            self.def_reference(reference)

    def __repr__(self) -> str:
        kernels = ", ".join(f"{e.backend} on {e.platform}" for e in self._entries)
        return f"XLACustomKernel({self.name!r}, kernels: {kernels or 'none'})"

    def __call__(self, *ins: Array, outs: Any = None, backend: str | None = None, **params: Any) -> Any:
        """Bind the operator.

        Args:
            *ins: Its inputs, arrays of any shape and dtype.
            outs: A pytree of ``jax.ShapeDtypeStruct``, the types of the results. May be left out when there is a shape
                rule, and must agree with it otherwise.
            backend: The backend this call must run on; it is an error if it does not serve the call.
            **params: Static parameters, hashable.

        Returns:
            The results in the structure of ``outs``: a bare array for a bare struct.

        Raises:
            ParameterError: A param is not hashable, or ``outs`` is missing and there is no shape rule.
            OutputMismatchError: ``outs`` and the shape rule disagree.
            RuleCountError: ``def_jvp_rule2`` got another number of rules than there are inputs.
            BackendRefusedError: ``backend`` does not serve the call (raised when it is compiled).

        Example:
            >>> import jax, jax.numpy as jnp
            >>> from spikax_core import XLACustomKernel
            >>> total = XLACustomKernel("total", reference=lambda x, outs: x.sum())
            >>> total(jnp.arange(4.0), outs=jax.ShapeDtypeStruct((), jnp.float32))
            Array(6., dtype=float32)
        """
        for name, value in params.items():
            try:
                hash(value)
            except TypeError:
                raise ParameterError(
                    f"{self.name}: param {name!r} is a {type(value).__name__}, which cannot be hashed; pass arrays as inputs "
                    "and lists as tuples"
                ) from None
        if self._jvp_rules is not None:
            check_rule_count(self.name, self._jvp_rules, len(ins))
        operands = match_varying(ins)
        flat, tree = self._declared_outs(operands, outs, params)
        call = Call(flat, tree, self._shape_rule is None, requested_backend(backend))
        return call.pack(self.primitive.bind(*operands, **{PARAM: call}, **params))

    def def_shape_rule(self, rule: Callable[..., Any]) -> None:
        """Declare the types of the results: ``rule(*in_avals, **params)`` gives a pytree of ``jax.ShapeDtypeStruct``."""
        self._shape_rule = rule

    def def_kernel(
        self, backend: str, platform: str, build: Build, *, supports: Supports | None = None, exportable: bool = False
    ) -> None:
        """Register a kernel; the first registered one that supports a call serves it.

        Args:
            backend: The name it is chosen by (``backend=``, :func:`use_backend`). A second kernel of the same backend
                and platform replaces the first.
            platform: ``"cpu"``, ``"gpu"`` (CUDA and ROCm), ``"cuda"``, ``"rocm"`` or ``"tpu"``.
            build: ``build(in_avals, out_avals, **params)`` returns a JAX-traceable callable ``(*ins) -> outs``.
            supports: ``supports(in_avals, **params)``: ``True``, ``False``, or a string that says why not.
            exportable: Whether it survives ``jax.export`` into another process.

        Raises:
            ParameterError: The backend is called ``"reference"``, or the platform is unknown.
        """
        if backend == REFERENCE or platform not in (*PLATFORMS, "gpu"):
            raise ParameterError(
                f"{self.name}: got backend {backend!r} on {platform!r}; expected any name but {REFERENCE!r} (use def_reference)"
                f" on one of {[*PLATFORMS, 'gpu']}"
            )
        entry = KernelEntry(backend, platform, build, supports, exportable)
        same = [i for i, e in enumerate(self._entries) if (e.backend, e.platform) == (backend, platform)]
        if same:
            self._entries[same[0]] = entry
        else:
            self._entries.append(entry)
        register_name(backend)

    def def_ffi_kernel(
        self, target: str, platform: str, *, backend: str = "ffi", supports: Supports | None = None, exportable: bool = True
    ) -> None:
        """Register an XLA FFI target whose operands and results are those of the operator, and its attributes the params.

        Args:
            target: The name under which ``jax.ffi.register_ffi_target`` knows it.
            platform: As for :meth:`def_kernel`.
            backend: The name it is chosen by.
            supports: As for :meth:`def_kernel`.
            exportable: As for :meth:`def_kernel`.
        """

        def build(
            in_avals: Sequence[jax.core.ShapedArray], out_avals: Sequence[jax.core.ShapedArray], **params: Any
        ) -> Callable[..., Any]:
            results = [jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in out_avals]
            return lambda *ins: jax.ffi.ffi_call(target, results)(*ins, **params)

        self.def_kernel(backend, platform, build, supports=supports, exportable=exportable)

    def def_reference(self, function: Callable[..., Any]) -> None:
        """Make ``function(*ins, **params)`` the specification: the fallback on every platform, and the tests' oracle.

        Without a shape rule it also gets the declared types, as ``outs=``.
        """

        def build(in_avals: Any, out_avals: Any, **params: Any) -> Callable[..., Any]:
            return functools.partial(function, **params)

        self._reference = KernelEntry(REFERENCE, "any", build, exportable=True)

    def def_jvp_rule(self, rule: Callable[..., Any]) -> None:
        """Define the derivative by one rule: ``rule(primals, tangents, **params) -> (outs, tangents_out)``.

        Tangents may be symbolic zeros. Replaces rules given before.
        """

        def jvp(primals: Sequence[Array], tangents: Sequence[Array], **params: Any) -> tuple[Any, Any]:
            call: Call = params[PARAM]
            with inherit_backend(params):
                outs, tangents_out = rule(tuple(primals), tuple(tangents), **visible(params))
            return self._flat(call, outs, "JVP rule"), self._flat(call, tangents_out, "JVP rule")

        self._jvp_rules = None
        set_jvp(self.primitive, jvp)

    def def_jvp_rule2(self, *rules: JVPRule | None) -> None:
        """Define the derivative by one rule per input, as :func:`defjvp` does. Replaces rules given before."""
        self._jvp_rules = rules
        set_jvp(self.primitive, functools.partial(per_input_jvp, self.primitive, rules))

    def def_transpose_rule(self, rule: Callable[..., Any]) -> None:
        """Define the transpose: ``rule(ct, *args, **params)`` gives one cotangent per argument.

        The linear argument is a ``jax.interpreters.ad.UndefinedPrimal``, every other one its value. ``ct`` is in the
        structure of the results and may hold symbolic zeros. The rule returns a sequence as long as ``args``, with
        ``None`` for arguments that are not linear.
        """

        def transpose(cotangents: Sequence[Array], *args: Array, **params: Any) -> Sequence[Any]:
            call: Call = params[PARAM]
            with inherit_backend(params):
                result: Sequence[Any] = rule(call.pack(cotangents), *args, **visible(params))
            if not isinstance(result, (tuple, list)) or len(result) != len(args):
                raise RuleOutputError(
                    f"transpose rule of {self.name}: got {describe(result)}; expected a tuple of {len(args)} entries, one per argument"
                )
            return result

        set_transpose(self.primitive, transpose)

    def def_batching_rule(self, rule: Callable[..., tuple[Any, Any]]) -> None:
        """Define ``vmap``: ``rule(axis_size, args, axes, **params) -> (outs, out_axes)``.

        ``axes`` holds the position of each argument's batch axis, or ``None``; ``outs`` and ``out_axes`` are in the
        structure of the results.
        """

        def batch(args: Sequence[Array], axes: Sequence[int | None], **params: Any) -> tuple[Any, Any]:
            call: Call = params[PARAM]
            size = next(arg.shape[axis] for arg, axis in zip(args, axes, strict=True) if axis is not None)
            with inherit_backend(params):
                outs, out_axes = rule(size, tuple(args), tuple(axes), **visible(params))
            return self._flat(call, outs, "batching rule"), self._flat(call, out_axes, "batching rule")

        set_batching(self.primitive, batch)

    def register_general_batching(self, *, chunk: int | None = None, independent: Sequence[int] = ()) -> None:
        """Batch by :func:`general_batching_rule`; operators do so from the start, unless told otherwise."""

        def batch(args: Sequence[Array], axes: Sequence[int | None], **params: Any) -> tuple[Any, Any]:
            bind = functools.partial(self.primitive.bind, **params)
            return general_batching_rule(bind, args, axes, chunk=chunk, independent=independent)

        set_batching(self.primitive, batch)

    def available_backends(self, platform: str) -> tuple[str, ...]:
        """The names of the backends with a kernel on ``platform``, in the order in which they are tried."""
        names = [entry.backend for entry in self._entries if entry.runs_on(platform)]
        return (*names, REFERENCE) if self._reference is not None else tuple(names)

    def _declared_outs(self, ins: Sequence[Array], outs: Any, params: dict[str, Any]) -> tuple[Any, Any]:
        """The types of the results, flattened, from ``outs`` and the shape rule."""
        if self._shape_rule is None and outs is None:
            raise ParameterError(f"{self.name} has no shape rule; pass outs=, a pytree of jax.ShapeDtypeStruct")
        if self._shape_rule is None:
            declared = outs
        else:
            declared = self._shape_rule(*map(jax.typeof, ins), **params)
            if outs is not None and _types(outs) != _types(declared):
                raise OutputMismatchError(
                    f"{self.name}: outs= says {describe_all(jax.tree.leaves(outs))}, the shape rule "
                    f"{describe_all(jax.tree.leaves(declared))}; leave outs= out"
                )
        leaves, tree = jax.tree.flatten(declared)
        return tuple(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves), tree

    def _abstract_eval(self, *avals: jax.core.ShapedArray, **params: Any) -> list[jax.core.ShapedArray]:
        call: Call = params[PARAM]
        axes: frozenset[str] = frozenset().union(*map(varying_axes, avals))
        return [with_varying_axes(jax.core.ShapedArray(o.shape, o.dtype), axes) for o in call.outs]

    def _lower(
        self,
        platform: str,
        in_avals: Sequence[jax.core.ShapedArray],
        out_avals: Sequence[jax.core.ShapedArray],
        params: dict[str, Any],
    ) -> Callable[..., list[Array]]:
        """The function to compile for one bind: the chosen kernel, with its outputs checked."""
        call: Call = params[PARAM]
        seen = visible(params)
        entry = choose(
            self.name, self._entries, self._reference, platform=platform, backend=call.backend, in_avals=in_avals, params=seen
        )
        run = entry.build(in_avals, out_avals, **seen)

        def checked(*ins: Array) -> list[Array]:
            outs: list[Array] = jax.tree.leaves(run(*ins))
            if [_type(o) for o in outs] != [_type(o) for o in call.outs]:
                raise OutputMismatchError(
                    f"kernel {entry.backend!r} of {self.name}: got {describe_all(outs)}; declared {describe_all(call.outs)}"
                )
            return outs

        return checked

    def _flat(self, call: Call, values: Any, what: str) -> list[Any]:
        """The entries of a rule's result, one per output."""
        if jax.tree_util.treedef_is_leaf(call.tree):
            return [values]
        try:
            return call.tree.flatten_up_to(values)
        except ValueError as error:
            raise RuleOutputError(f"{what} of {self.name}: got {values!r}; expected the structure {call.tree}") from error


def _type(value: Any) -> tuple[tuple[int, ...], Any]:
    return value.shape, value.dtype


def _types(outs: Any) -> tuple[Any, list[Any]]:
    return jax.tree.structure(outs), [_type(leaf) for leaf in jax.tree.leaves(outs)]
