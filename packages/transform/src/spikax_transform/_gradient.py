"""One mechanism for all gradient transforms: which values are differentiated, and in what structure they come back."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeAlias, TypeVar, overload

import jax

from ._binding import Bindings
from ._blocks import IsLeaf, pair_outside, square_outside
from ._pure_call import PureCall
from ._targets import check_argnums, resolve_argnums, targets_of
from ._trace import refuse_states
from ._units import is_quantity, unit_autograd

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
        if self.argnums is not None:
            check_argnums(self.argnums)
        if self.unit_aware:
            unit_autograd()  # raises where it is not installed, before anything is computed

    @property
    def autodiff(self) -> Any:
        """The library that differentiates pure functions: JAX, or the one that knows units."""
        return unit_autograd() if self.unit_aware else jax

    @property
    def is_leaf(self) -> IsLeaf:
        """What the blocks of a derivative take the place of: leaves of JAX, or numbers with units."""
        return is_quantity if self.unit_aware else None


@dataclass(frozen=True)
class Kind:
    """A derivative of JAX.

    ``transform(pure, argnums, options)`` differentiates ``pure(*primals) -> (out, aux)``, and returns a function of
    the same arguments that returns ``(derivatives, aux)``. ``order`` is how often the shape of an input follows that
    of the output in a block: 1 in a Jacobian, 2 in a Hessian, 0 where the output is a scalar and has no shape.
    """

    name: str
    transform: Callable[[Callable[..., Any], int | tuple[int, ...], GradientOptions], Callable[..., Any]]
    order: int
    value_first: bool = False


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
        blocks, out, aux = self._differentiate(args, kwargs)
        has_aux, return_value = bool(self._options.has_aux), self._options.return_value
        if self._kind.value_first and not return_value:
            return ((out, aux) if has_aux else out), blocks  # type: ignore[return-value]
        parts = (blocks, *((out,) if return_value else ()), *((aux,) if has_aux else ()))
        return parts if len(parts) > 1 else blocks  # type: ignore[return-value]

    def _differentiate(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any, Any]:
        """``(blocks, out, aux)``; the States are then as the function left them."""
        kind, options = self._kind, self._options
        call = PureCall(
            kind.name,
            self._fun,
            args,
            kwargs,
            self._targets,
            resolve_argnums(options.argnums, self._targets, len(args), kind.name),
            isinstance(options.argnums, Sequence),
            bool(options.has_aux),
            options.check_states,
        )
        primals = call.primals()
        if self._targets is not None and not options.allow_int:
            call.require_inexact(primals[0])
        argnums = 0 if len(primals) == 1 else (0, 1)
        blocks, tracers = kind.transform(call.pure, argnums, options)(*primals)
        out, aux = call.finish(tracers)
        if len(primals) == 2 and kind.order:
            blocks = (
                pair_outside(blocks, out, options.is_leaf)
                if kind.order == 1
                else square_outside(blocks, out, primals, options.is_leaf)
            )
        return blocks, out, aux

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
