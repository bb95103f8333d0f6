"""The keywords of `jit`, as `jax.jit` wants them for a function that takes the values of States, too."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Options:
    """The keywords of `jit`, with argument numbers as the user counts them."""

    static_argnums: int | Sequence[int] | None = None
    static_argnames: str | Iterable[str] | None = None
    donate_argnums: int | Sequence[int] | None = None
    donate_argnames: str | Iterable[str] | None = None
    donate_states: bool = False
    inline: bool = False
    keep_unused: bool = False
    in_shardings: Any = None
    out_shardings: Any = None

    @property
    def has_statics(self) -> bool:
        """Whether some arguments may be constants."""
        return self.static_argnums is not None or self.static_argnames is not None

    def for_probe(self, fun: Callable[..., Any]) -> dict[str, Any]:
        """The keywords of `jax.jit` for a function of the arguments alone: which of them are static."""
        options: dict[str, Any] = {"inline": self.inline, "keep_unused": self.keep_unused}
        if self.static_argnums is not None:
            options["static_argnums"] = _shifted(self.static_argnums, fun, 0)
        if self.static_argnames is not None:
            options["static_argnames"] = self.static_argnames
        return options

    def for_jax(self, fun: Callable[..., Any], positional: int, written: int, read: int) -> dict[str, Any]:
        """The keywords of `jax.jit` for ``pure(*written, *read, *args, **kwargs)``, given the numbers of States."""
        states = written + read
        options = self.for_probe(fun)
        if self.static_argnums is not None:
            options["static_argnums"] = _shifted(self.static_argnums, fun, states)
        donated = tuple(range(written)) if self.donate_states else ()
        if self.donate_argnums is not None:
            donated += _shifted(self.donate_argnums, fun, states)
        if donated:
            options["donate_argnums"] = donated
        if self.donate_argnames is not None:
            options["donate_argnames"] = self.donate_argnames
        if self.in_shardings is not None:
            statics = 0 if self.static_argnums is None else len(_shifted(self.static_argnums, fun, 0))
            each = self.in_shardings
            each = each if isinstance(each, tuple | list) else (each,) * (positional - statics)
            options["in_shardings"] = (*[None] * states, *each)
        if self.out_shardings is not None:
            options["out_shardings"] = (self.out_shardings, None)
        return options


def like(fun: Callable[..., Any], pure: Callable[..., Any], states: int) -> Callable[..., Any]:
    """Give `pure` the signature of `fun` after the values of States, from which JAX resolves names and numbers."""
    pure.__name__ = pure.__qualname__ = getattr(fun, "__name__", type(fun).__name__)
    try:
        signature = inspect.signature(fun)
    except (TypeError, ValueError):
        return pure
    own = [inspect.Parameter(f"_state{i}", inspect.Parameter.POSITIONAL_ONLY) for i in range(states)]
    pure.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*own, *signature.parameters.values()], return_annotation=inspect.Signature.empty
    )
    return pure


def _shifted(argnums: int | Sequence[int], fun: Callable[..., Any], by: int) -> tuple[int, ...]:
    numbers = (argnums,) if isinstance(argnums, int) or not isinstance(argnums, Iterable) else tuple(argnums)
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    try:
        count = sum(parameter.kind in kinds for parameter in inspect.signature(fun).parameters.values())
    except (TypeError, ValueError):
        count = 0
    return tuple(int(number) + by if number >= 0 else int(number) + count + by for number in numbers)
