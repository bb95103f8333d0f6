"""`named_scope`: a name for the operations inside, which profilers and jaxprs show."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from types import TracebackType
from typing import ParamSpec, TypeVar, overload

import jax

P = ParamSpec("P")
R = TypeVar("R")


class NamedScope:
    """A name to be put on operations: a context manager, and a decorator of functions and methods."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._open: list[contextlib.AbstractContextManager[None]] = []

    def __enter__(self) -> None:
        scope = jax.named_scope(self.name)
        scope.__enter__()
        self._open.append(scope)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open.pop().__exit__(kind, error, traceback)

    def __call__(self, f: Callable[P, R]) -> Callable[P, R]:
        """Name the operations of a function."""

        @functools.wraps(f)
        def named(*args: P.args, **kwargs: P.kwargs) -> R:
            with jax.named_scope(self.name):
                return f(*args, **kwargs)

        return named


@overload
def named_scope(name: str) -> NamedScope: ...
@overload
def named_scope(name: Callable[P, R]) -> Callable[P, R]: ...
def named_scope(name: str | Callable[P, R]) -> NamedScope | Callable[P, R]:
    """Name the operations of a block or of a function.

    Use it as ``with named_scope("layer"):``, ``@named_scope("layer")``, or ``@named_scope`` for the function's own
    name. States need nothing special here; the names stay on the operations under all transforms.

    Args:
        name: the name, or the function.

    >>> import jax.numpy as jnp
    >>> from spikax_transform import State, make_jaxpr, named_scope
    >>> v = State(jnp.float32(2))
    >>> @named_scope("decay")
    ... def step(x):
    ...     return v.value * x
    >>> make_jaxpr(step)(1.0).jaxpr.eqns[-1].source_info.name_stack
    NameStack(stack=(Scope(name='decay'),))
    """
    if isinstance(name, str):
        return NamedScope(name)
    return NamedScope(getattr(name, "__name__", type(name).__name__))(name)
