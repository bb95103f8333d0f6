"""Factors: the named dimensions of a partition rule such as ``"i, i k -> k"``, and which mesh axes cut them."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from ._errors import ParameterError

Names: TypeAlias = tuple[str, ...]
Shape: TypeAlias = tuple[int, ...]
Axes: TypeAlias = tuple[str, ...]
"""The mesh axes that cut one dimension, the outermost first."""

WHOLE = "_"
"""The name of a dimension that is never cut; it may stand for several."""


@dataclasses.dataclass(frozen=True)
class Factors:
    """A rule for operands and results of given shapes.

    Attributes:
        ins: The factor of each dimension of each operand.
        outs: The same of each result.
        sizes: The length of each factor.
        reducible: Whether devices that have different pieces of what a result lacks can make one result of theirs.
    """

    ins: tuple[Names, ...]
    outs: tuple[Names, ...]
    sizes: Mapping[str, int]
    reducible: bool

    def renamed(self) -> tuple[str, Names, Names]:
        """The rule as Shardy takes it: its text, the factors that are reduced, and those that must not be cut."""
        new = {name: f"f{i}" for i, name in enumerate(self.sizes)}
        count = itertools.count()

        def text(names: Names) -> str:
            return " ".join(new.get(name) or f"w{next(count)}" for name in names)

        sides = [", ".join(map(text, side)) for side in (self.ins, self.outs)]
        whole = [f"w{i}" for i in range(next(count))] + [new[name] for name in sorted(self.whole) if name != WHOLE]
        return " -> ".join(sides), tuple(new[name] for name in sorted(self.summed - self.whole)), tuple(whole)

    @property
    def summed(self) -> frozenset[str]:
        """The factors that no result has."""
        return frozenset(self.sizes) - _all(self.outs)

    @property
    def whole(self) -> frozenset[str]:
        """The factors that cannot be cut: of no operand, or missing in a result where nothing is reduced."""
        everywhere = frozenset(self.sizes).intersection(*map(frozenset, self.outs))
        cut = _all(self.ins) if self.reducible else _all(self.ins) & everywhere
        return frozenset(self.sizes) - cut | {WHOLE}

    def lost(self, result: int, axes: Mapping[str, Axes]) -> Axes:
        """The mesh axes over which a result is to be reduced, as they cut what it lacks."""
        return tuple(axis for name, cut in axes.items() if name not in self.outs[result] for axis in cut)

    def assign(self, wanted: Iterable[tuple[Names, Sequence[Axes]]], mesh: Mapping[str, int]) -> dict[str, Axes]:
        """The mesh axes that cut each factor, where the first one to want some gets them.

        Args:
            wanted: Factors of an array and the axes it is sharded over, dimension by dimension; the first counts most.
            mesh: The sizes of the mesh axes.
        """
        assigned: dict[str, Axes] = {}
        for names, cuts in wanted:
            for name, cut in zip(names, cuts, strict=True):
                taken = {axis for axes in assigned.values() for axis in axes}
                if not cut or name in assigned or name in self.whole or taken.intersection(cut):
                    continue
                # A rest would have to be padded, and a kernel would compute on what is not there.
                if self.sizes[name] % math.prod(mesh[axis] for axis in cut) == 0:
                    assigned[name] = cut
        return assigned


def parse(operator: str, rule: str, ins: Sequence[Shape], outs: Sequence[Shape], *, reducible: bool) -> Factors:
    """The factors that a rule gives to operands and results of these shapes.

    Raises:
        ParameterError: The rule is not of this form, or does not fit the shapes.
    """
    where = f"partition rule {rule!r} of {operator}"
    sides = [[tuple(part.split()) for part in side.split(",")] for side in rule.split("->")]
    if len(sides) != 2:
        raise ParameterError(f"{where}: expected operands, '->' and results, such as 'i, i k -> k'")
    sizes: dict[str, int] = {}
    for kind, names, shapes in (("operand", sides[0], ins), ("result", sides[1], outs)):
        if len(names) != len(shapes) and not (names == [()] and not shapes):
            raise ParameterError(f"{where}: got {len(names)} {kind}s; expected {len(shapes)}")
        for i, (dimensions, shape) in enumerate(zip(names, shapes, strict=False)):
            _check(f"{where}, {kind} {i}", dimensions, shape, sizes)
    return Factors(tuple(sides[0]) if ins else (), tuple(sides[1]) if outs else (), sizes, reducible)


def _check(where: str, names: Names, shape: Shape, sizes: dict[str, int]) -> None:
    """Raise unless the names fit a shape and the sizes found before; add to these."""
    if len(names) != len(shape):
        raise ParameterError(f"{where}: got {len(names)} names, {' '.join(names)!r}; expected {len(shape)}, as {shape}")
    for name, size in zip(names, shape, strict=True):
        if name == WHOLE:
            continue
        if not name.isidentifier() or names.count(name) > 1:
            raise ParameterError(f"{where}: got {' '.join(names)!r}; expected different names, or {WHOLE!r}")
        if sizes.setdefault(name, size) != size:
            raise ParameterError(
                f"{where}: got {name!r} of length {size}; expected {sizes[name]}, as before; "
                f"a dimension of another length has another name, or {WHOLE!r}"
            )


def _all(arrays: Sequence[Names]) -> frozenset[str]:
    return frozenset(name for names in arrays for name in names) - {WHOLE}
