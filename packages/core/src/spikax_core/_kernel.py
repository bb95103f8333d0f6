"""``XLACustomKernel``: one operator, declared once, with a kernel for each platform and backend."""

from __future__ import annotations

import dataclasses
import functools
import weakref
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import jax
from jax.core import ShapedArray

from ._batching import general_batching_rule
from ._benchmark import BenchmarkConfig, run
from ._benchmark_result import BenchmarkResult
from ._call import PARAM, Backend, Call, Defaults, exactly, user_params
from ._compat import (
    PLATFORMS,
    Array,
    Primitive,
    TreeDef,
    align,
    aligned,
    bare,
    bind,
    need_devices,
    new_primitive,
    result_aval,
    set_batching,
    set_jvp,
    set_lowering,
    set_transpose,
    wide_types,
)
from ._context import ambient_backend
from ._describe import describe_all
from ._errors import OutputMismatchError, ParameterError, check_callable
from ._fold import BatchingRule, batch_by_folds, batch_by_rule
from ._implementations import Implementations
from ._jvp import JVPRule, check_rule_count, jvp_by_rule, set_jvp_rules
from ._linear import Linear, check_no_rules, check_transposes, transpose, transpose_by_rule
from ._lowering import lowered, type_of
from ._partition import REDUCTIONS, Partition, Reduce, divided_explicitly, over_explicit_axes

Types: TypeAlias = tuple[tuple[jax.ShapeDtypeStruct, ...], TreeDef]


# What `operators` lists: an operator tells nobody that it was made, so it has to be noted somewhere.
_operators: weakref.WeakSet[XLACustomKernel] = weakref.WeakSet()


def operators() -> list[XLACustomKernel]:
    """All operators of this process, by name."""
    return sorted(_operators, key=lambda operator: operator.name)


class XLACustomKernel(Implementations):
    """An operator: a JAX primitive with kernels per platform, and the rules to transform it.

    Declare it once, then call it like a function: it runs under ``jit``, ``vmap``, ``grad``, ``shard_map``.

    Args:
        name: The operator's name, as it appears in a jaxpr.
        reference: Its specification in plain JAX, see :meth:`def_reference`.

    Attributes:
        name: As above.
        primitive: The JAX primitive beneath; it always has a tuple of results.
        tags: What :meth:`def_tags` said.

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
        super().__init__(name)
        self.primitive: Primitive = new_primitive(name)
        self._shape_rule: Callable[..., Any] | None = None
        self._rules: tuple[JVPRule | None, ...] | None = None
        self._linear: Linear = {}
        self.tags: frozenset[str] = frozenset()
        self._benchmark_data: Callable[..., Iterable[BenchmarkConfig]] | None = None
        self._folds: dict[frozenset[int], Callable[..., Any]] = {}
        self._partition: Partition | None = None
        self._declare_cached = functools.lru_cache(maxsize=1024)(self._declare)
        self.primitive.def_abstract_eval(self._abstract_eval)
        for platform in (*PLATFORMS, None):
            set_lowering(self.primitive, platform, functools.partial(self._lower, platform or "this platform"))
        set_batching(self.primitive, self._batch)
        self.register_general_batching()
        if reference is not None:
            self.def_reference(reference)
        _operators.add(self)

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
            exact = tuple(map(exactly, params.values()))
            call, as_is = self._declare_cached(
                avals, types, backend, ambient_backend(), self._defaults, (wide_types(), exact), **params
            )
        except TypeError:
            self._check_hashable(params)
            raise
        bound = {PARAM: call}
        if not as_is and self._partition is not None and over_explicit_axes(avals):
            return call.pack(divided_explicitly(self._partition, ins, bound))
        return call.pack(bind(self.primitive, ins if as_is else align(ins), bound))

    def def_shape_rule(self, rule: Callable[..., Any]) -> None:
        """Declare the types of the results: ``rule(*in_avals, **params)`` gives a pytree of structs."""
        check_callable(f"def_shape_rule of {self.name}", rule)
        self._shape_rule = rule
        self._declare_cached.cache_clear()
        self._declared_anew()

    def def_jvp_rule(self, rule: Callable[..., Any]) -> None:
        """Define the derivative by one rule: ``rule(primals, tangents, **params) -> (outs, tangents_out)``.

        Tangents may be symbolic zeros. Replaces rules given before.
        """
        check_callable(f"def_jvp_rule of {self.name}", rule)
        self._rules = None
        set_jvp(self.primitive, functools.partial(jvp_by_rule, self.name, rule))
        self._declared_anew()

    def def_jvp_rule2(self, *rules: JVPRule | None) -> None:
        """Define the derivative by one rule per input, as :func:`defjvp` does. Replaces rules given before.

        The rule of an input that :meth:`def_linear` declares is ``None``.
        """
        check_no_rules(self.name, self._linear, rules)
        set_jvp_rules(self.primitive, rules, self._linear)
        self._rules = rules
        self._declared_anew()

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
        self._declared_anew()

    def def_transpose_rule(self, rule: Callable[..., Any]) -> None:
        """Define the transpose: ``rule(ct, *args, **params)`` gives one cotangent per argument.

        The linear argument is a ``jax.interpreters.ad.UndefinedPrimal``, every other one its value. ``ct`` is in the
        structure of the results and may hold symbolic zeros. The rule returns a sequence as long as ``args``, with
        ``None`` for arguments that are not linear.
        """
        check_callable(f"def_transpose_rule of {self.name}", rule)
        set_transpose(self.primitive, functools.partial(transpose_by_rule, self.name, rule))
        self._declared_anew()

    def def_batching_rule(self, rule: Callable[..., tuple[Any, Any]]) -> None:
        """Define ``vmap``: ``rule(axis_size, args, axes, **params) -> (outs, out_axes)``.

        ``axes`` holds the position of each argument's batch axis, or ``None``; ``outs`` and ``out_axes`` are in the
        structure of the results.
        """
        check_callable(f"def_batching_rule of {self.name}", rule)
        self._otherwise: BatchingRule = functools.partial(batch_by_rule, self.name, rule)
        self._declared_anew()

    def register_general_batching(self, *, chunk: int | None = None, independent: Sequence[int] = ()) -> None:
        """Batch by :func:`general_batching_rule`; operators do so from the start, unless told otherwise."""
        self._otherwise = functools.partial(general_batching_rule, self.primitive, chunk=chunk, independent=independent)
        self._declared_anew()

    def def_fold(self, argnums: int | Sequence[int], to: Callable[..., Any]) -> None:
        """Batch by one call: when exactly these arguments are batched, ``to`` gets the batch as their leading axis.

        Any other set of batched arguments is batched as without it: by another fold, else by the rule of
        :meth:`def_batching_rule`, else by :func:`general_batching_rule`. Folds of one set replace each other.

        Args:
            argnums: The positions of the arguments that are batched.
            to: An operator with a shape rule (this one or another), or any function: ``to(*args, **params)`` returns
                the results, each with the batch as its leading axis.

        Raises:
            ParameterError: ``argnums`` are no positions, or ``to`` cannot be called.
            RuleOutputError: ``to`` returned another structure, shape or dtype; raised when it is called.

        Example:
            >>> import jax, jax.numpy as jnp
            >>> from spikax_core import XLACustomKernel
            >>> rows = XLACustomKernel("rows", reference=lambda x, W: x @ W)
            >>> rows.def_shape_rule(lambda x, W: jax.ShapeDtypeStruct((*x.shape[:-1], W.shape[1]), W.dtype))
            >>> rows.def_fold(0, rows)
            >>> print(jax.make_jaxpr(jax.vmap(rows, (0, None)))(jnp.ones((5, 3)), jnp.ones((3, 2))))
            { lambda ; a:f32[5,3] b:f32[3,2]. let c:f32[5,2] = rows[spikax_call=(f32[5,2])] a b in (c,) }
        """
        positions = tuple(argnums) if isinstance(argnums, Iterable) else (argnums,)
        if not positions or any(isinstance(i, bool) or not isinstance(i, int) or i < 0 for i in positions):
            raise ParameterError(f"def_fold of {self.name}: got argnums {argnums!r}; expected positions of arguments")
        if not callable(to):
            raise ParameterError(
                f"def_fold of {self.name}: got {type(to).__name__}; expected an operator or a function"
            )
        self._folds[frozenset(positions)] = to
        self._declared_anew()

    def def_partition(
        self, rule: str | Callable[..., str], *, reduce: Reduce | None = None, compute: Callable[..., Any] | None = None
    ) -> None:
        """Declare how a call may be divided over devices, so that ``jit`` gathers no operand that is sharded.

        Under ``jit`` the shardings are those that JAX's partitioner finds; a dimension is cut as the largest operand
        that has it is sharded. On Explicit mesh axes they are those of the operands' types. It needs a shape rule.

        Args:
            rule: A name for each dimension of the operands and results, as ``"i, i k -> k"``: a dimension may be cut
                wherever its name occurs. ``_`` names a dimension that is never cut. Results that lack a name are
                reduced over the devices that have its pieces, or with no ``reduce`` it is never cut; neither is
                a name that only results have. A function ``(*in_avals, **params)`` gives the rule where it depends on
                these.
            reduce: ``"sum"``, ``"max"``, ``"min"``, or ``reduce(result, axis_names) -> result`` over mesh axes.
            compute: What a device computes on its pieces, ``compute(*ins, **params)``; the operator if left out.

        Raises:
            ParameterError: ``reduce`` is none of these; the rule does not fit the operands or results, or there is no
                shape rule (raised when a call is divided).
            RuleOutputError: ``compute`` returned another structure, shape or dtype than a device's piece of the
                results; raised when it is called.

        Example:
            >>> import jax, jax.numpy as jnp
            >>> from spikax_core import XLACustomKernel
            >>> rows = XLACustomKernel("rows", reference=lambda x, W: x @ W)
            >>> rows.def_shape_rule(lambda x, W: jax.ShapeDtypeStruct(W.shape[1:], W.dtype))
            >>> rows.def_partition("i, i k -> k", reduce="sum")
            >>> mesh = jax.make_mesh((jax.device_count(),), ("devices",))
            >>> W = jax.device_put(jnp.ones((4 * jax.device_count(), 2)), jax.NamedSharding(mesh, jax.P("devices")))
            >>> print(jax.jit(rows)(jnp.ones(len(W)), W) / len(W))
            [1. 1.]
        """
        if not callable(reduce) and reduce not in (None, *REDUCTIONS):
            raise ParameterError(
                f"def_partition of {self.name}: got reduce={reduce!r}; expected None, a function or {list(REDUCTIONS)}"
            )
        self._partition = Partition(self.name, rule, reduce, compute, self._call_locally)
        need_devices(self.primitive)
        self._declared_anew()

    def def_tags(self, *tags: str) -> None:
        """Say what the operator is, in words to find it by; see :attr:`tags`. Replaces the tags given before."""
        if not all(isinstance(tag, str) for tag in tags):
            raise ParameterError(f"def_tags of {self.name}: got {tags!r}; expected strings")
        self.tags = frozenset(tags)

    def def_benchmark_data(self, data: Callable[..., Iterable[BenchmarkConfig]]) -> None:
        """Declare on what :meth:`benchmark` runs: ``data(*, platform)`` gives some :class:`BenchmarkConfig`."""
        check_callable(f"def_benchmark_data of {self.name}", data)
        self._benchmark_data = data

    def benchmark(
        self,
        *,
        platform: str | None = None,
        backends: Sequence[str] | None = None,
        names: Sequence[str] | None = None,
        repeats: int = 20,
        warmup: int = 3,
    ) -> BenchmarkResult:
        """Time the backends on the data of :meth:`def_benchmark_data`, and compare what they compute.

        A figure is the time from one call of the compiled program until its results are there. It contains JAX's
        dispatch, some microseconds, but neither compilation nor the transfer of operands. A sample is the mean of as
        many calls as take 200 µs, one after the other. The backends take turns sample by sample, so that a machine
        whose speed drifts does not favour one of them. The results of each, before and after, must be the reference's,
        or without one the first backend's, by the tolerances of :func:`spikax_core.testing.check_kernel`.

        Args:
            platform: Where to run: ``"cpu"``, ``"gpu"`` ...; the default one if left out.
            backends: The backends to time; all that are available, and the reference, if left out.
            names: The configurations to time; all if left out.
            repeats: The number of samples of each.
            warmup: The number of calls of each that come first and do not count, beside the one that compiles.

        Returns:
            A record for each configuration and backend; one that refuses a configuration has a record with the reason.

        Raises:
            BenchmarkMismatchError: A backend's results are wrong.
            ParameterError: There is no data, no such backend or configuration; two configurations have one name; a
                number is not positive.

        Example:
            >>> import jax, jax.numpy as jnp
            >>> from spikax_core import BenchmarkConfig, XLACustomKernel
            >>> double = XLACustomKernel("double", reference=lambda x: 2 * x)
            >>> double.def_shape_rule(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype))
            >>> double.def_kernel("sum", "cpu", lambda i, o: lambda x: x + x)
            >>> double.def_benchmark_data(lambda *, platform: [BenchmarkConfig("three", (jnp.ones(3),))])
            >>> result = double.benchmark(platform="cpu")
            >>> [(record.config, record.backend, len(record.seconds)) for record in result.records]
            [('three', 'sum', 20), ('three', 'reference', 20)]
        """
        if self._benchmark_data is None:
            raise ParameterError(f"{self.name} has no benchmark data; declare it with def_benchmark_data")
        data = self._benchmark_data
        return run(self, data, platform=platform, backends=backends, names=names, repeats=repeats, warmup=warmup)

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
        defaults: Defaults,
        key: tuple[bool, tuple[Hashable, ...]],
        /,
        **params: Any,
    ) -> tuple[Call, bool]:
        """The hidden param of one bind, and whether its operands can be bound as they are."""
        del key  # only for the cache: a shape rule may give other dtypes where 64-bit types are enabled
        self._bound = True
        if not callable(self._linear):
            check_transposes(self.name, self._linear, len(in_avals))
        declared = outs
        if self._shape_rule is not None:
            declared = _types_by(self.name, self._shape_rule, in_avals, params)
            if outs is not None and outs != declared:
                raise OutputMismatchError(
                    f"{self.name}: outs= says {describe_all(outs[0])}, the shape rule {describe_all(declared[0])}; "
                    "leave outs= out"
                )
        if declared is None:
            raise ParameterError(f"{self.name} has no shape rule; pass outs=, a pytree of jax.ShapeDtypeStruct")
        asked = ambient if backend is None else backend
        request = None if asked is None else Backend(asked, strict=backend is not None)
        return Call(params, *declared, self._shape_rule is None, request, defaults), aligned(in_avals)

    def _abstract_eval(self, *avals: ShapedArray, **params: Any) -> list[ShapedArray]:
        call: Call = params[PARAM]
        return [result_aval(out, avals) for out in call.outs]

    def _lower(self, platform: str, *args: Any) -> Callable[..., list[Array]]:
        return lowered(self._kernels, self._partition, platform, *args)

    def _batch(self, args: Sequence[Array], axes: Sequence[int | None], **params: Any) -> tuple[Any, Any]:
        return batch_by_folds(self.name, self._folds, self._otherwise, args, axes, **params)

    def _call_locally(self, params: Mapping[str, Any], *ins: Array) -> Sequence[Array]:
        """The flat results on the pieces of operands that one device holds, whose types the shape rule gives."""
        if self._shape_rule is None:
            raise ParameterError(f"{self.name}: def_partition needs a shape rule, which gives the types of the pieces")
        call: Call = params[PARAM]
        outs, tree = _types_by(self.name, self._shape_rule, map(jax.typeof, ins), user_params(params))
        local = dataclasses.replace(call, outs=outs, tree=tree, local=True)
        results: Sequence[Array] = bind(self.primitive, align(ins), {PARAM: local})
        return results


def _types(operator: str, outs: Any) -> Types:
    """Declared results, flattened to what can be compared and hashed."""
    leaves, tree = jax.tree.flatten(outs)
    for leaf in leaves:
        if any(part is None for part in type_of(leaf)):  # `in` would compare, and NumPy takes float64 to equal None
            raise ParameterError(f"{operator}: declared result: got {leaf!r}; expected a jax.ShapeDtypeStruct")
    return tuple(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves), tree


def _types_by(
    operator: str, rule: Callable[..., Any], avals: Iterable[ShapedArray], params: Mapping[str, Any]
) -> Types:
    """The results that a shape rule declares for operands of these types."""
    outs = rule(*map(bare, avals), **params)
    if outs is None:  # for JAX an empty pytree, for a person a `return` that was forgotten
        raise ParameterError(f"shape rule of {operator}: got None; expected a pytree of jax.ShapeDtypeStruct")
    return _types(operator, outs)
