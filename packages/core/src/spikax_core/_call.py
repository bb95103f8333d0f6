"""The hidden static parameter that every bound operator carries: its result types and the backend asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import jax

from ._compat import TreeDef
from ._describe import describe_all

PARAM = "spikax_call"
"""The name under which a bound primitive's params hold the :class:`Call`."""


Defaults: TypeAlias = tuple[tuple[str, str], ...]
"""Pairs of a platform and the name of the default backend there."""


@dataclass(frozen=True)
class Backend:
    """A backend somebody asked for; ``strict`` if for this very call, so that a refusal is an error."""

    name: str
    strict: bool


@dataclass(frozen=True, repr=False)
class Call:
    """What one bind of an operator knows beside its inputs and its user's params.

    Attributes:
        outs: The types of the results, flat.
        tree: Their structure.
        explicit_outs: Whether they were declared by the call, as there is no shape rule.
        backend: The backend asked for.
        defaults: The operator's default backends when it was bound.
        local: Whether the operands are what one device holds, so that the call is not divided once more.
    """

    outs: tuple[jax.ShapeDtypeStruct, ...]
    tree: TreeDef
    explicit_outs: bool
    backend: Backend | None
    defaults: Defaults = ()
    local: bool = False
    # JAX hashes a param several times per bind: kept, because hashing the above costs microseconds.
    _hash: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        seen = (self.outs, self.tree, self.explicit_outs, self.backend, self.defaults, self.local)
        object.__setattr__(self, "_hash", hash(seen))

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        """What a printed jaxpr shows of it."""
        return describe_all(self.outs) + (f" on {self.backend.name}" if self.backend else "")

    def pack(self, flat: Sequence[Any]) -> Any:
        """The results in the structure in which ``outs`` was declared."""
        return self.tree.unflatten(flat)


def call_of(params: Mapping[str, Any]) -> Call | None:
    """The hidden parameter among bound params; ``None`` for a primitive that is not one of ours."""
    call: Call | None = params.get(PARAM)
    return call


def user_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """The params that the user passed."""
    return {name: value for name, value in params.items() if name != PARAM}


def rule_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """The params as a rule sees them: the user's, with ``outs`` where the operator has no shape rule."""
    call = call_of(params)
    seen = user_params(params)
    if call is not None and call.explicit_outs:
        seen["outs"] = call.pack(call.outs)
    return seen
