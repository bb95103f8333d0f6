"""The hidden static parameter that every bound operator carries: its result types and the backend asked for."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import jax

PARAM = "spikax_call"
"""The name under which a bound primitive's params hold the :class:`Call`."""

T = TypeVar("T")

_inherited: contextvars.ContextVar[Backend | None] = contextvars.ContextVar("spikax_backend", default=None)


@dataclass(frozen=True)
class Backend:
    """A backend somebody asked for; ``strict`` if for this very call, so that a refusal is an error."""

    name: str
    strict: bool


@dataclass(frozen=True)
class Call:
    """What one bind of an operator knows beside its inputs and its user's params."""

    outs: tuple[jax.ShapeDtypeStruct, ...]
    tree: jax.tree_util.PyTreeDef
    explicit_outs: bool
    backend: Backend | None

    def pack(self, flat: Sequence[T]) -> Any:
        """The results in the structure in which ``outs`` was declared."""
        return self.tree.unflatten(flat)


def call_of(params: Mapping[str, Any]) -> Call | None:
    """The hidden parameter among bound params; ``None`` for a primitive that is not one of ours."""
    call: Call | None = params.get(PARAM)
    return call


def visible(params: Mapping[str, Any]) -> dict[str, Any]:
    """The params as a rule sees them: the user's, with ``outs`` where the operator has no shape rule."""
    seen = {name: value for name, value in params.items() if name != PARAM}
    call = call_of(params)
    if call is not None and call.explicit_outs:
        seen["outs"] = call.pack(call.outs)
    return seen


@contextlib.contextmanager
def inherit_backend(params: Mapping[str, Any]) -> Iterator[None]:
    """Let the operators that a rule binds ask for the backend that the differentiated or batched one asked for."""
    call = call_of(params)
    if call is None or call.backend is None:
        yield
        return
    # Not strict: the rule may bind another operator, which need not have this backend.
    token = _inherited.set(Backend(call.backend.name, strict=False))
    try:
        yield
    finally:
        _inherited.reset(token)


def inherited_backend() -> Backend | None:
    """The backend handed down by the rule that is running, if any."""
    return _inherited.get()
