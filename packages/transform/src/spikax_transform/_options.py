"""The keywords of `jit`, as `jax.jit` wants them for a function of two more arguments."""

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

    def for_jax(self, fun: Callable[..., Any], positional: int, alone: bool = False) -> dict[str, Any]:
        """The keywords of `jax.jit` for ``pure(written, read, *args, **kwargs)``; `alone`, of static arguments only."""
        options: dict[str, Any] = {"inline": self.inline, "keep_unused": self.keep_unused}
        if self.static_argnums is not None:
            options["static_argnums"] = _shifted(self.static_argnums, fun)
        if self.static_argnames is not None:
            options["static_argnames"] = self.static_argnames
        if alone:
            return options
        donated: tuple[int, ...] = (0,) if self.donate_states else ()
        if self.donate_argnums is not None:
            donated += _shifted(self.donate_argnums, fun)
        if donated:
            options["donate_argnums"] = donated
        if self.donate_argnames is not None:
            options["donate_argnames"] = self.donate_argnames
        if self.in_shardings is not None:
            statics = 0 if self.static_argnums is None else len(_shifted(self.static_argnums, fun))
            each = self.in_shardings
            each = each if isinstance(each, tuple | list) else (each,) * (positional - statics)
            options["in_shardings"] = (None, None, *each)
        if self.out_shardings is not None:
            options["out_shardings"] = (self.out_shardings, None)
        return options


def like(fun: Callable[..., Any], pure: Callable[..., Any]) -> Callable[..., Any]:
    """Give `pure` the signature of `fun` after its two own arguments, from which JAX resolves names and numbers."""
    pure.__name__ = pure.__qualname__ = getattr(fun, "__name__", type(fun).__name__)
    try:
        signature = inspect.signature(fun)
    except (TypeError, ValueError):
        return pure
    own = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY) for name in ("_written", "_read")]
    pure.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*own, *signature.parameters.values()], return_annotation=inspect.Signature.empty
    )
    return pure


def _shifted(argnums: int | Sequence[int], fun: Callable[..., Any]) -> tuple[int, ...]:
    numbers = (argnums,) if isinstance(argnums, int) or not isinstance(argnums, Iterable) else tuple(argnums)
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    try:
        count = sum(parameter.kind in kinds for parameter in inspect.signature(fun).parameters.values())
    except (TypeError, ValueError):
        count = 0
    return tuple(int(number) + 2 if number >= 0 else int(number) + count + 2 for number in numbers)
