"""One mechanism for all gradient transforms: which values are differentiated, and in what structure they come back."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeAlias, TypeVar, overload

import jax
import jax.numpy as jnp

from . import _compat, _overlay
from ._binding import Bindings
from ._errors import (
    AuxError,
    GradStatesError,
    OverwrittenStateWarning,
    UnitsNotSupportedError,
    UnreadStateError,
)
from ._state import State
from ._targets import Targets, check_argnums, resolve_argnums, targets_of
from ._trace import refuse_states

PyTree: TypeAlias = Any
"""Any nesting of containers that JAX knows, with arrays at its leaves."""

P = ParamSpec("P")
Q = ParamSpec("Q")
R_co = TypeVar("R_co", covariant=True)


@dataclass(frozen=True)
class GradientOptions:
    """The parameters that all gradient transforms share."""

    grad_states: Any = None
    argnums: int | Sequence[int] | None = None
    has_aux: bool | None = None
    return_value: bool = False
    holomorphic: bool = False
    allow_int: bool = False
    unit_aware: bool = False
    check_states: bool = True

    def __post_init__(self) -> None:
        if self.unit_aware:
            raise UnitsNotSupportedError(
                "unit_aware=True is not supported yet: this version does not call the unit library's own "
                "differentiation. Strip the units before, or leave unit_aware=False."
            )
        if self.argnums is not None:
            check_argnums(self.argnums)


@dataclass(frozen=True)
class Kind:
    """A derivative of JAX.

    ``transform(pure, argnums, options)`` differentiates ``pure(*primals) -> (out, aux)``, and returns a function of
    the same arguments that returns ``(derivatives, aux)``. ``per_output`` says whether there is one block for each
    leaf of the output, as in a Jacobian, and not one for a scalar.
    """

    name: str
    transform: Callable[[Callable[..., Any], int | tuple[int, ...], GradientOptions], Callable[..., Any]]
    per_output: bool


class GradientTransform(Generic[P, R_co]):
    """A function that returns a derivative of another one; made by `grad`, `jacrev` and their like."""

    __name__: str
    __qualname__: str

    def __init__(self, kind: Kind, fun: Callable[..., Any], options: GradientOptions) -> None:
        functools.update_wrapper(self, fun)
        self._kind = kind
        self._fun = fun
        self._options = options
        self._targets = None if options.grad_states is None else targets_of(options.grad_states, kind.name)
        self._bindings: Bindings[GradientTransform[..., Any]] = Bindings(
            lambda method: GradientTransform(kind, method, options)
        )

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Differentiate at these arguments and at the present values of the States."""
        refuse_states(jax.tree.leaves((args, kwargs)), self._kind.name, "passed to")
        blocks, out, aux = _Call(self._kind, self._fun, self._options, self._targets, args, kwargs).run()
        parts = [blocks]
        if self._options.return_value:
            parts.append(out)
        if self._options.has_aux:
            parts.append(aux)
        return tuple(parts) if len(parts) > 1 else blocks  # type: ignore[return-value]

    @overload
    def __get__(self, instance: None, owner: type[Any] | None = None) -> Self: ...
    @overload
    def __get__(
        self: Callable[Concatenate[Any, Q], R_co], instance: object, owner: type[Any] | None = None
    ) -> GradientTransform[Q, R_co]: ...
    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Any:
        """As a method: ``self`` is not counted in ``argnums``."""
        return self if instance is None else self._bindings.get(self._fun, instance)

    def __repr__(self) -> str:
        return f"{self._kind.name}({self._fun!r})"


class _Call:
    """One evaluation of a derivative."""

    def __init__(
        self,
        kind: Kind,
        fun: Callable[..., Any],
        options: GradientOptions,
        targets: Targets | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self.kind, self.fun, self.options, self.targets = kind, fun, options, targets
        self.args, self.kwargs = args, kwargs
        self.numbers = resolve_argnums(options.argnums, targets, len(args), kind.name)
        self.many = isinstance(options.argnums, Sequence)
        self.out_tree: Any = None
        self.kept = _Kept()
        self.consulted: set[State[Any]] = set()
        self.overwritten: set[State[Any]] = set()

    def run(self) -> tuple[Any, Any, Any]:
        """``(blocks, out, aux)``; the States are then as the function left them."""
        primals: list[Any] = []
        if self.targets is not None:
            entry = [_overlay.read(state, False) for state in self.targets.leaves]
            self._check_dtypes(entry)
            primals.append(jax.tree.unflatten(self.targets.tree, entry))
        if self.numbers is not None:
            chosen = tuple(self.args[i] for i in self.numbers)
            primals.append(chosen if self.many else chosen[0])
        argnums = 0 if len(primals) == 1 else (0, 1)
        blocks, tracers = self.kind.transform(self._pure, argnums, self.options)(*primals)
        out, aux, writes = self.kept.restore(tracers)
        self._report_unread()  # before anything is written: a call that raises changes no State
        _overlay.note_reads(self.consulted - self.overwritten)
        for state, value in writes:
            _overlay.write(state, value)
        _overlay.note_reads(self.consulted)
        if len(primals) == 2 and self.kind.per_output:
            # JAX nests the pair (States, arguments) inside the output; ours is outside
            pairs = self.out_tree.flatten_up_to(blocks)
            blocks = tuple(jax.tree.unflatten(self.out_tree, [pair[i] for pair in pairs]) for i in range(2))
        return blocks, out, aux

    def _pure(self, *primals: Any) -> tuple[Any, Any]:
        given = list(primals)
        starts = {} if self.targets is None else self.targets.starts(given.pop(0))
        args = list(self.args)
        if self.numbers is not None:
            for number, value in zip(self.numbers, given[0] if self.many else given, strict=True):
                args[number] = value
        frame = _overlay.Frame(staged=False, starts=starts)
        with _overlay.entered(frame):
            out, aux = self._split(self.fun(*args, **self.kwargs))
            refuse_states(jax.tree.leaves((out, aux)), self.kind.name, "returned from")
            writes = [(state, frame.values[state]) for state in frame.writes if state not in frame.created]
            self.consulted, self.overwritten = set(frame.consulted), set(frame.overwritten)
        self.out_tree = jax.tree.structure(out)
        return out, self.kept.keep((out, aux, writes))

    def _split(self, result: Any) -> tuple[Any, Any]:
        if not self.options.has_aux:
            return result, None
        if not isinstance(result, tuple | list) or len(result) != 2:
            size = f" of {len(result)} items" if isinstance(result, tuple | list) else ""
            raise AuxError(
                f"{self.kind.name} with has_aux=True got a function that returned a {type(result).__name__}{size}; "
                f"expected a pair (output, aux). Return a pair, or leave has_aux=False."
            )
        return result[0], result[1]

    def _check_dtypes(self, entry: Sequence[Any]) -> None:
        assert self.targets is not None  # only called with targets
        for state, value in zip(self.targets.leaves, entry, strict=True):
            for aval in map(_compat.aval_of, jax.tree.leaves(value)):
                if not self.options.allow_int and not jnp.issubdtype(aval.dtype, jnp.inexact):
                    raise GradStatesError(
                        f"{self.kind.name} with respect to {state.describe()}: got {aval.str_short(True)}, expected "
                        f"floating-point numbers. Leave it out of grad_states, or pass allow_int=True."
                    )

    def _report_unread(self) -> None:
        states = () if self.targets is None else tuple(dict.fromkeys(self.targets.leaves))
        unread = [state for state in states if state not in self.consulted]
        if unread and self.options.check_states:
            raise UnreadStateError(
                f"{self.kind.name} got States in grad_states that the function never reads: "
                f"{'; '.join(state.describe() for state in unread)}. Remove them, or pass check_states=False for zeros."
            )
        for state in states:
            if state in self.overwritten and state not in unread:
                warnings.warn(
                    f"{self.kind.name}: {state.describe()} is overwritten before it is read, so its gradient is zero.",
                    OverwrittenStateWarning,
                    stacklevel=4,
                )


class _Kept:
    """Carries any Python objects past a JAX transform, of which only the tracers are shown to JAX."""

    def __init__(self) -> None:
        self._leaves: list[Any] = []
        self._tree: Any = None
        self._traced: list[int] = []

    def keep(self, value: Any) -> list[Any]:
        """Take the tracers out of `value` and return them."""
        leaves, self._tree = jax.tree.flatten(value)
        self._traced = [i for i, leaf in enumerate(leaves) if isinstance(leaf, _compat.Tracer)]
        tracers = [leaves[i] for i in self._traced]
        self._leaves = [None if isinstance(leaf, _compat.Tracer) else leaf for leaf in leaves]
        return tracers

    def restore(self, primals: Sequence[Any]) -> Any:
        """The value, with what became of the tracers in their places."""
        for place, primal in zip(self._traced, primals, strict=True):
            self._leaves[place] = primal
        return jax.tree.unflatten(self._tree, self._leaves)
