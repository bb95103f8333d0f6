"""``Case``: one named call of a kernel, and what holds of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, get_args

from spikax_core._errors import ParameterError

Property: TypeAlias = Literal[
    "value",
    "jit",
    "shared operands",
    "retrace",
    "vmap",
    "nested vmap",
    "empty",
    "derivatives",
    "jvp and vjp",
    "finite differences",
    "jacobians",
    "symbolic zeros",
    "vmap of gradient",
    "shard_map",
    "gradient under shard_map",
    "partition",
    "export",
]
"""What is checked. ``"derivatives"`` stands for all that concern them."""

PROPERTIES: tuple[Property, ...] = get_args(Property)


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """A named call of a kernel. Keep it small: its Jacobian is computed, and each check compiles it.

    Attributes:
        name: What a failure calls it.
        args: The operands, arrays of NumPy or JAX; 64-bit types are enabled where one of them has such a dtype.
        params: The static parameters, by name.
        outs: The types of the results, for a kernel without a shape rule.
        others: Further operands of the types of ``args``, each a tuple like it, to be the other lanes of a batch and
            the values of a later call. Left out, they are made of ``args``: reals and bools are shifted along their
            last axis, reals also scaled, and integers, which may be a structure, stay as they are.
        surrogate: Arguments (by position) whose derivative is not that of the value, such as events with a surrogate or
            straight-through derivative, each with the reason. They are left out of the finite differences alone.
        skip: Properties that are not checked, each with the reason.
        tolerance: The largest error, relative to the largest magnitude of a result, in the place of that of its dtype.

    Raises:
        ParameterError: There is no such property or argument, or ``others`` has not as many operands as ``args``.

    Example:
        >>> import jax.numpy as jnp
        >>> from spikax_core.testing import Case
        >>> Case("three", (jnp.ones(3),), {"by": 2.0}, skip={"jacobians": "its derivative is sparse"}).name
        'three'
    """

    name: str
    args: Sequence[Any]
    params: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    outs: Any = None
    others: Sequence[Sequence[Any]] = ()
    surrogate: Mapping[int, str] = dataclasses.field(default_factory=dict)
    skip: Mapping[Property, str] = dataclasses.field(default_factory=dict)
    tolerance: float | None = None

    def __post_init__(self) -> None:
        for name in self.skip:
            if name not in PROPERTIES:
                raise ParameterError(f"case {self.name!r}, skip: got {name!r}; expected some of {list(PROPERTIES)}")
        for index in self.surrogate:
            if not 0 <= index < len(self.args):
                raise ParameterError(
                    f"case {self.name!r}, surrogate: got argument {index}; expected one of the {len(self.args)}"
                )
        for other in self.others:
            if len(other) != len(self.args):
                raise ParameterError(
                    f"case {self.name!r}, others: got {len(other)} operands; expected {len(self.args)}, as in args"
                )
