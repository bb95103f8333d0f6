"""The one static parameter of a bound operator: its user's params, its result types and the backend asked for."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import jax
import numpy as np

from ._compat import TreeDef
from ._describe import describe_all

PARAM = "spikax_call"
"""The name under which a bound primitive's params hold the :class:`Call`, and nothing else.

The user's params are in it, not beside it: JAX passes on what is beside it as keywords, among arguments of its own
whose names, such as ``primitive``, ``ctx`` and ``dims``, a param could not have then.
"""


Defaults: TypeAlias = tuple[tuple[str, str], ...]
"""Pairs of a platform and the name of the default backend there."""


@dataclass(frozen=True)
class Backend:
    """A backend somebody asked for; ``strict`` if for this very call, so that a refusal is an error."""

    name: str
    strict: bool


@dataclass(frozen=True, repr=False, eq=False)
class Call:
    """What one bind of an operator knows beside its inputs.

    Attributes:
        params: The params of the user.
        outs: The types of the results, flat.
        tree: Their structure.
        explicit_outs: Whether they were declared by the call, as there is no shape rule.
        backend: The backend asked for.
        defaults: The operator's default backends when it was bound.
        local: Whether the operands are what one device holds, so that the call is not divided once more.
    """

    params: Mapping[str, Any]
    outs: tuple[jax.ShapeDtypeStruct, ...]
    tree: TreeDef
    explicit_outs: bool
    backend: Backend | None
    defaults: Defaults = ()
    local: bool = False
    # JAX compares and hashes it several times per bind: kept, because hashing all of it costs microseconds.
    _key: Hashable = field(init=False)
    _hash: int = field(init=False)

    def __post_init__(self) -> None:
        params = tuple((name, exactly(value)) for name, value in sorted(self.params.items()))
        key = (params, self.outs, self.tree, self.explicit_outs, self.backend, self.defaults, self.local)
        object.__setattr__(self, "_key", key)
        object.__setattr__(self, "_hash", hash(key))

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Call) and self._key == other._key)

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        """What a printed jaxpr shows of it."""
        params = ", ".join(f"{name}={value!r}" for name, value in self.params.items())
        backend = f" on {self.backend.name}" if self.backend else ""
        return describe_all(self.outs) + (f" with {params}" if params else "") + backend

    def pack(self, flat: Sequence[Any]) -> Any:
        """The results in the structure in which ``outs`` was declared."""
        return self.tree.unflatten(flat)


def exactly(value: Any) -> Hashable:
    """What tells a param from others that Python takes to be equal: 1 from 1.0 and True, 0.0 from -0.0.

    A kernel and a shape rule can tell them apart, so what was compiled for one must not serve another.
    """
    if isinstance(value, (float, complex, np.generic)):
        return type(value), repr(value)
    if isinstance(value, (tuple, frozenset)):
        return type(value), (tuple if isinstance(value, tuple) else frozenset)(map(exactly, value))
    return type(value), value


def call_of(params: Mapping[str, Any]) -> Call | None:
    """The call among bound params; ``None`` for a primitive that is not one of ours."""
    call: Call | None = params.get(PARAM)
    return call


def user_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """The params that the user passed."""
    call = call_of(params)
    return dict(params if call is None else call.params)


def rule_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """The params as a rule sees them: the user's, with ``outs`` where the operator has no shape rule."""
    call = call_of(params)
    seen = user_params(params)
    if call is not None and call.explicit_outs:
        seen["outs"] = call.pack(call.outs)
    return seen
