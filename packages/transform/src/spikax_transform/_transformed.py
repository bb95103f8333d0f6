"""A transformed function as an object: called like the original, also as a method."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, overload

P = ParamSpec("P")
Q = ParamSpec("Q")
R_co = TypeVar("R_co", covariant=True)


class Transformed(Generic[P, R_co]):
    """A function under a transform that runs its Python on each call."""

    __name__: str
    __qualname__: str

    def __init__(self, name: str, fun: Callable[..., Any], call: Callable[[Callable[..., Any], Any, Any], Any]) -> None:
        if not callable(fun):
            raise TypeError(f"{name} got a {type(fun).__name__} as its first argument; expected a function.")
        functools.update_wrapper(self, fun, updated=())
        self._name = name
        self._fun = fun
        self._call = call

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Run the transformed function at the present values of its States."""
        return self._call(self._fun, args, kwargs)  # type: ignore[no-any-return]

    @overload
    def __get__(self, instance: None, owner: type[Any] | None = None) -> Self: ...
    @overload
    def __get__(
        self: Transformed[Concatenate[Any, Q], R_co], instance: object, owner: type[Any] | None = None
    ) -> Transformed[Q, R_co]: ...
    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Any:
        """As a method: ``self`` is not among the arguments that are transformed."""
        if instance is None:
            return self
        bind = getattr(self._fun, "__get__", None)
        bound = types.MethodType(self._fun, instance) if bind is None else bind(instance, owner)
        return Transformed(self._name, bound, self._call)

    def __repr__(self) -> str:
        return f"{self._name}({self._fun!r})"


def transformed(name: str, fun: Callable[..., Any] | None, call: Callable[[Callable[..., Any], Any, Any], Any]) -> Any:
    """The transformed function, or a decorator if `fun` is left out."""
    if fun is None:
        return lambda fun: Transformed(name, fun, call)
    return Transformed(name, fun, call)
