"""``XLACustomKernel``: one operator, declared once, with a kernel for each platform and backend."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax.core import ShapedArray

from ._backend import REFERENCE, Build, KernelEntry, Registry, Supports, ambient_backend, inherit_backend
from ._batching import general_batching_rule
from ._call import PARAM, Backend, Call, rule_params, user_params
from ._compat import (
    PLATFORMS,
    Array,
    Primitive,
    TreeDef,
    UndefinedPrimal,
    align,
    aligned,
    bare,
    bind,
    new_primitive,
    result_aval,
    set_batching,
    set_jvp,
    set_lowering,
    set_transpose,
    wide_types,
)
from ._describe import describe, describe_all
from ._errors import OutputMismatchError, ParameterError, RuleOutputError
from ._jvp import JVPRule, check_rule_count, set_jvp_rules
from ._linear import Linear, check_no_rules, check_transposes, transpose
from ._rules import batched, cotangent, entries, of_type, tangents

Types: TypeAlias = tuple[tuple[jax.ShapeDtypeStruct, ...], TreeDef]
Avals: TypeAlias = Sequence[ShapedArray]


class XLACustomKernel:
    """An operator: a JAX primitive with kernels per platform, and the rules to transform it.

    Declare it once, then call it like a function: it runs under ``jit``, ``vmap``, ``grad``, ``shard_map``.

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
        self.primitive: Primitive = new_primitive(name)
        self._kernels = Registry(name)
        self._shape_rule: Callable[..., Any] | None = None
        self._rules: tuple[JVPRule | None, ...] | None = None
        self._linear: Linear = {}
        # Typed, because a shape rule may tell 1 from 1.0 and from True.
        self._declare_cached = functools.lru_cache(maxsize=1024, typed=True)(self._declare)
        self.primitive.def_abstract_eval(self._abstract_eval)
        for platform in (*PLATFORMS, None):
            set_lowering(self.primitive, platform, functools.partial(self._lower, platform or "this platform"))
        self.register_general_batching()
        if reference is not None:
            self.def_reference(reference)

    def __repr__(self) -> str:
        kernels = ", ".join(f"{e.backend} on {e.platform}" for e in self._kernels.entries)
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
        if self._rules is not None:
            check_rule_count(self.name, len(self._rules), len(ins))
        types = None if outs is None else _types(self.name, outs)
        avals = tuple(map(jax.typeof, ins))
        try:
            call, as_is = self._declare_cached(avals, types, backend, ambient_backend(), wide_types(), **params)
        except TypeError:
            self._check_hashable(params)
            raise
        return call.pack(bind(self.primitive, ins if as_is else align(ins), {PARAM: call, **params}))

    def def_shape_rule(self, rule: Callable[..., Any]) -> None:
        """Declare the types of the results: ``rule(*in_avals, **params)`` gives a pytree of structs."""
        self._shape_rule = rule
        self._declare_cached.cache_clear()

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
        self._kernels.add(KernelEntry(backend, platform, build, supports, exportable))

    def def_ffi_kernel(
        self,
        target: str,
        platform: str,
        *,
        backend: str = "ffi",
        supports: Supports | None = None,
        exportable: bool = True,
    ) -> None:
        """Register an XLA FFI target with the operator's operands and results, its params as attributes.

        Args:
            target: The name under which ``jax.ffi.register_ffi_target`` knows it.
            platform: As for :meth:`def_kernel`.
            backend: The name it is chosen by.
            supports: As for :meth:`def_kernel`.
            exportable: As for :meth:`def_kernel`.
        """

        def build(_: Avals, out_avals: Avals, **params: Any) -> Callable[..., Any]:
            results = [jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in out_avals]
            return lambda *ins: jax.ffi.ffi_call(target, results)(*ins, **params)

        self.def_kernel(backend, platform, build, supports=supports, exportable=exportable)

    def def_reference(self, function: Callable[..., Any]) -> None:
        """Make ``function(*ins, **params)`` the specification: the fallback on every platform, and the tests' oracle.

        Without a shape rule it also gets the declared types, as ``outs=``.
        """

        def build(_: Avals, __: Avals, **params: Any) -> Callable[..., Any]:
            return functools.partial(function, **params)

        self._kernels.reference = KernelEntry(REFERENCE, "any", build, exportable=True)

    def def_jvp_rule(self, rule: Callable[..., Any]) -> None:
        """Define the derivative by one rule: ``rule(primals, tangents, **params) -> (outs, tangents_out)``.

        Tangents may be symbolic zeros. Replaces rules given before.
        """

        def jvp(primals: Sequence[Array], tangents_in: Sequence[Array], **params: Any) -> tuple[Any, Any]:
            call, where = params[PARAM], f"JVP rule of {self.name}"
            with inherit_backend(params):
                result = rule(tuple(primals), tuple(tangents_in), **rule_params(params))
            if not isinstance(result, (tuple, list)) or len(result) != 2:
                raise RuleOutputError(f"{where}: got {describe(result)}; expected a pair (outs, tangents_out)")
            outs, tangents_out = (entries(where, part, call.tree) for part in result)
            outs = [of_type(f"{where}, result {i}", o, t) for i, (o, t) in enumerate(zip(outs, call.outs, strict=True))]
            return outs, tangents(where, tangents_out, outs)

        self._rules = None
        set_jvp(self.primitive, jvp)

    def def_jvp_rule2(self, *rules: JVPRule | None) -> None:
        """Define the derivative by one rule per input, as :func:`defjvp` does. Replaces rules given before.

        The rule of an input that :meth:`def_linear` declares is ``None``.
        """
        check_no_rules(self.name, self._linear, rules)
        set_jvp_rules(self.primitive, rules, self._linear)
        self._rules = rules

    def def_linear(self, transposes: Linear) -> None:
        """Declare in which inputs the operator is linear, each with the others held fixed, by its transpose in each.

        Forward and reverse mode both follow: the tangent of a linear input is the operator itself with the tangent in
        its place, and the cotangent is what the transpose gives. Other inputs have their rules from
        :meth:`def_jvp_rule2`, before or after; without these it is an error to differentiate in them. Replaces what
        was declared before, and what :meth:`def_jvp_rule` and :meth:`def_transpose_rule` defined.

        Args:
            transposes: From the position of each linear input to ``transpose(ct, *args, **params)``, which returns the
                cotangent of that input. ``ct`` is in the structure of the results, all arrays (integer and bool results
                have ``float0`` zeros), and ``args`` holds ``None`` for the input itself. Where that depends on types or
                params: a function ``(*in_avals, **params)`` that returns such a dict. An input may then have a JVP rule
                too, for when it is not linear.

        Raises:
            ParameterError: A position is no integer or out of range (raised when the operator is first bound, where
                nothing else tells the number of inputs), a transpose cannot be called, or an input has a rule too.
            RuleOutputError: A transpose returned another shape or dtype; raised when it is called.
            NoRuleError: JAX asks for a derivative that is not declared, or to transpose in two inputs at once; raised
                when it does.

        Example:
            >>> import jax, jax.numpy as jnp
            >>> from spikax_core import XLACustomKernel
            >>> power = XLACustomKernel("power", reference=lambda w, x, *, n: w * x**n)
            >>> power.def_shape_rule(lambda w, x, *, n: jax.ShapeDtypeStruct(x.shape, x.dtype))
            >>> power.def_linear({0: lambda ct, w, x, *, n: power(ct, x, n=n)})
            >>> power.def_jvp_rule2(None, lambda t, w, x, *, n: t * n * power(w, x, n=n - 1))
            >>> [float(g) for g in jax.grad(power, argnums=(0, 1))(2.0, 5.0, n=2)]
            [25.0, 20.0]
        """
        if not callable(transposes):
            transposes = dict(check_transposes(self.name, transposes))
        check_no_rules(self.name, transposes, self._rules)
        set_jvp_rules(self.primitive, self._rules, transposes)
        set_transpose(self.primitive, functools.partial(transpose, self.name, transposes))
        self._linear = transposes
        self._declare_cached.cache_clear()

    def def_transpose_rule(self, rule: Callable[..., Any]) -> None:
        """Define the transpose: ``rule(ct, *args, **params)`` gives one cotangent per argument.

        The linear argument is a ``jax.interpreters.ad.UndefinedPrimal``, every other one its value. ``ct`` is in the
        structure of the results and may hold symbolic zeros. The rule returns a sequence as long as ``args``, with
        ``None`` for arguments that are not linear.
        """

        def raw(cotangents: Sequence[Array], *args: Array, **params: Any) -> Sequence[Any]:
            call, where = params[PARAM], f"transpose rule of {self.name}"
            with inherit_backend(params):
                result = rule(call.pack(cotangents), *args, **rule_params(params))
            flat = entries(where, result, jax.tree.structure((0,) * len(args)))
            return [
                cotangent(f"{where}, argument {i}", ct, arg.aval) if isinstance(arg, UndefinedPrimal) else None
                for i, (ct, arg) in enumerate(zip(flat, args, strict=True))
            ]

        set_transpose(self.primitive, raw)

    def def_batching_rule(self, rule: Callable[..., tuple[Any, Any]]) -> None:
        """Define ``vmap``: ``rule(axis_size, args, axes, **params) -> (outs, out_axes)``.

        ``axes`` holds the position of each argument's batch axis, or ``None``; ``outs`` and ``out_axes`` are in the
        structure of the results.
        """

        def batch(args: Sequence[Array], axes: Sequence[int | None], **params: Any) -> tuple[Any, Any]:
            call, where = params[PARAM], f"batching rule of {self.name}"
            size = next(arg.shape[axis] for arg, axis in zip(args, axes, strict=True) if axis is not None)
            with inherit_backend(params):
                result = rule(size, tuple(args), tuple(axes), **rule_params(params))
            if not isinstance(result, (tuple, list)) or len(result) != 2:
                raise RuleOutputError(f"{where}: got {describe(result)}; expected a pair (outs, out_axes)")
            outs, out_axes = (entries(where, part, call.tree) for part in result)
            lanes = enumerate(zip(outs, out_axes, call.outs, strict=True))
            checked = [batched(f"{where}, result {i}", out, axis, size, lane) for i, (out, axis, lane) in lanes]
            return [out for out, _ in checked], [axis for _, axis in checked]

        set_batching(self.primitive, batch)

    def register_general_batching(self, *, chunk: int | None = None, independent: Sequence[int] = ()) -> None:
        """Batch by :func:`general_batching_rule`; operators do so from the start, unless told otherwise."""

        def batch(args: Sequence[Array], axes: Sequence[int | None], **params: Any) -> tuple[Any, Any]:
            return general_batching_rule(self.primitive, args, axes, chunk=chunk, independent=independent, **params)

        set_batching(self.primitive, batch)

    def available_backends(self, platform: str) -> tuple[str, ...]:
        """The names of the backends with a kernel on ``platform``, in the order in which they are tried."""
        return self._kernels.available(platform)

    def _check_hashable(self, params: dict[str, Any]) -> None:
        """Raise if a param cannot be hashed."""
        for name, value in params.items():
            try:
                hash(value)
            except TypeError:
                raise ParameterError(
                    f"{self.name}: param {name!r} is a {type(value).__name__}, which cannot be hashed; "
                    "pass arrays as inputs and lists as tuples"
                ) from None

    def _declare(
        self,
        in_avals: tuple[ShapedArray, ...],
        outs: Types | None,
        backend: str | None,
        ambient: str | None,
        wide: bool,
        /,
        **params: Any,
    ) -> tuple[Call, bool]:
        """The hidden param of one bind, and whether its operands can be bound as they are."""
        del wide  # only a key of the cache: a shape rule may give other dtypes where 64-bit types are enabled
        if PARAM in params:
            raise ParameterError(f"{self.name}: the param name {PARAM!r} is reserved; choose another")
        if not callable(self._linear):
            check_transposes(self.name, self._linear, len(in_avals))
        declared = outs
        if self._shape_rule is not None:
            declared = _types(self.name, self._shape_rule(*map(bare, in_avals), **params))
            if outs is not None and outs != declared:
                raise OutputMismatchError(
                    f"{self.name}: outs= says {describe_all(outs[0])}, the shape rule {describe_all(declared[0])}; "
                    "leave outs= out"
                )
        if declared is None:
            raise ParameterError(f"{self.name} has no shape rule; pass outs=, a pytree of jax.ShapeDtypeStruct")
        asked = ambient if backend is None else backend
        request = None if asked is None else Backend(asked, strict=backend is not None)
        return Call(*declared, self._shape_rule is None, request), aligned(in_avals)

    def _abstract_eval(self, *avals: ShapedArray, **params: Any) -> list[ShapedArray]:
        call: Call = params[PARAM]
        return [result_aval(out, avals) for out in call.outs]

    def _lower(
        self,
        platform: str,
        in_avals: Avals,
        out_avals: Avals,
        params: dict[str, Any],
    ) -> Callable[..., list[Array]]:
        """The function to compile for one bind: the chosen kernel, with its outputs checked."""
        call: Call = params[PARAM]
        entry = self._kernels.choose(platform, call.backend, in_avals, user_params(params))
        seen = rule_params(params) if entry is self._kernels.reference else user_params(params)

        def checked(*ins: Array) -> list[Array]:
            with inherit_backend(params):
                outs = jax.tree.leaves(entry.build(in_avals, out_avals, **seen)(*ins))
            arrays = [jnp.asarray(o) if isinstance(o, (bool, int, float, complex)) else o for o in outs]
            if list(map(_type, arrays)) != list(map(_type, call.outs)):
                raise OutputMismatchError(
                    f"kernel {entry.backend!r} of {self.name}: got {describe_all(arrays)}; "
                    f"expected {describe_all(call.outs)}, as declared; mend the kernel or the shape rule"
                )
            return arrays

        return checked


def _type(value: Any) -> tuple[Any, Any]:
    return getattr(value, "shape", None), getattr(value, "dtype", None)


def _types(operator: str, outs: Any) -> Types:
    """Declared results, flattened to what can be compared and hashed."""
    leaves, tree = jax.tree.flatten(outs)
    for leaf in leaves:
        if any(part is None for part in _type(leaf)):  # `in` would compare, and NumPy takes float64 to equal None
            raise ParameterError(f"{operator}: declared result: got {leaf!r}; expected a jax.ShapeDtypeStruct")
    return tuple(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves), tree
