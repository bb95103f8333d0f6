"""Partition rules: how they are read, and which mesh axes cut which dimension."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.experimental.custom_partitioning import custom_partitioning

from spikax_core import ParameterError
from spikax_core._factors import WHOLE, Axes, Factors, Names, Shape, parse

SIZES = {"i": 8, "j": 6, "k": 0, "long_name": 1, "n2": 4}
MESH = {"a": 2, "b": 2, "c": 3}

arrays = st.lists(st.lists(st.sampled_from([*SIZES, WHOLE]), max_size=3), max_size=3)


def text(sides: Sequence[Sequence[Sequence[str]]]) -> str:
    return " -> ".join(", ".join(" ".join(names) for names in side) for side in sides)


def shapes(side: Sequence[Sequence[str]]) -> list[Shape]:
    return [tuple(SIZES.get(name, 5) for name in names) for names in side]


def factors(rule: str, sizes: Mapping[str, int] = SIZES, *, reducible: bool = True) -> Factors:
    """The factors of a rule whose dimensions have the lengths that ``sizes`` gives their names, 5 if none."""
    sides = [[part.split() for part in side.split(",")] for side in rule.split("->")]
    ins, outs = ([tuple(sizes.get(name, 5) for name in names) for names in side] for side in sides)
    return parse("rows", rule, ins, outs, reducible=reducible)


@st.composite
def rules(draw: st.DrawFn) -> tuple[list[list[list[str]]], bool]:
    """Operands and results whose arrays name no dimension twice, and whether there is a reduction."""
    once = arrays.filter(lambda side: all(len(set(n) - {WHOLE}) == len(n) - n.count(WHOLE) for n in side))
    return [draw(once), draw(once)], draw(st.booleans())


# What a rule says.


def test_each_dimension_has_its_name_and_each_name_its_length() -> None:
    read = factors("i, i n2 -> n2, i")
    assert (read.ins, read.outs) == ((("i",), ("i", "n2")), (("n2",), ("i",)))
    assert read.sizes == {"i": 8, "n2": 4}


@pytest.mark.parametrize("rule", ["i,i n2->n2", " i ,  i   n2 ->n2 ", "i, i n2 -> n2"])
def test_spaces_do_not_matter(rule: str) -> None:
    assert factors(rule) == factors("i, i n2 -> n2")


@pytest.mark.parametrize(
    ("rule", "ins", "outs"),
    [(", i -> i", ((), ("i",)), (("i",),)), ("i -> ", (("i",),), ((),)), (", -> ,", ((), ()), ((), ()))],
)
def test_a_scalar_has_no_names(rule: str, ins: tuple[Names, ...], outs: tuple[Names, ...]) -> None:
    read = factors(rule)
    assert (read.ins, read.outs) == (ins, outs)


def test_an_operator_may_have_no_operands_or_no_results() -> None:
    assert parse("rows", "-> i", [], [(8,)], reducible=True).ins == ()
    assert parse("rows", "i ->", [(8,)], [], reducible=True).outs == ()


@given(rules())
def test_every_rule_that_fits_its_shapes_is_read(drawn: tuple[list[list[list[str]]], bool]) -> None:
    sides, reducible = drawn
    read = parse("rows", text(sides), *map(shapes, sides), reducible=reducible)
    assert [list(map(list, read.ins)), list(map(list, read.outs))] == sides


ILL_FORMED: dict[str, tuple[str, str]] = {
    "i, i j": ("", r"expected operands, '->' and results, such as 'i, i k -> k'"),
    "i, i j -> j -> j": ("", r"expected operands, '->' and results"),
    "i -> j": ("", "got 1 operands; expected 2"),
    "i, i j, i -> j": ("", "got 3 operands; expected 2"),
    "i, i j -> j, i": ("", "got 2 results; expected 1"),
    "i, i j -> j,": ("", "got 2 results; expected 1"),
    "i, i -> j": (", operand 1", r"got 1 names, 'i'; expected 2, as \(8, 6\)"),
    "i, i j j -> j": (", operand 1", r"got 3 names, 'i j j'; expected 2, as \(8, 6\)"),
    "i, i j -> ": (", result 0", r"got 0 names, ''; expected 1, as \(6,\)"),
    "i, j j -> j": (", operand 1", "got 'j j'; expected different names, or '_'"),
    "i, ... j -> j": (", operand 1", "got '... j'; expected different names, or '_'"),
    "i, 8 j -> j": (", operand 1", "got '8 j'; expected different names, or '_'"),
    "i, (i j) k -> k": (", operand 1", r"got 3 names, '\(i j\) k'; expected 2"),
    "i, j i -> j": (", operand 1", "got 'i' of length 6; expected 8, as before; .* has another name, or '_'"),
    "i, j k -> i": (", result 0", "got 'i' of length 6; expected 8, as before"),
}


@pytest.mark.parametrize("rule", ILL_FORMED)
def test_a_rule_that_does_not_fit_is_an_error_that_says_where_and_what_was_expected(rule: str) -> None:
    where, message = ILL_FORMED[rule]
    with pytest.raises(ParameterError, match=message) as caught:
        parse("rows", rule, [(8,), (8, 6)], [(6,)], reducible=True)
    assert str(caught.value).startswith(f"partition rule {rule!r} of rows{where}: ")


# Which factors may be cut.


@pytest.mark.parametrize(
    ("rule", "reducible", "whole"),
    [
        ("i, i j -> j", True, set()),
        ("i, i j -> j", False, {"i"}),
        ("i, i j -> i j, j", False, {"i"}),
        ("i, i j -> i j, j", True, set()),
        ("i j, i -> n2", True, {"n2"}),
        ("i j, i -> n2", False, {"i", "j", "n2"}),
        ("_ j -> _ j", True, set()),
        ("i ->", False, {"i"}),
    ],
)
def test_what_is_of_no_operand_or_would_have_to_be_reduced_is_never_cut(
    rule: str, reducible: bool, whole: set[str]
) -> None:
    assert factors(rule, reducible=reducible).whole == whole | {WHOLE}


@given(rules())
def test_a_factor_may_be_cut_as_the_definition_says(drawn: tuple[list[list[list[str]]], bool]) -> None:
    sides, reducible = drawn
    read = parse("rows", text(sides), *map(shapes, sides), reducible=reducible)
    for name in read.sizes:
        of_an_operand = any(name in names for names in read.ins)
        of_each_result = all(name in names for names in read.outs)
        assert (name not in read.whole) == (of_an_operand and (reducible or of_each_result))


def test_a_result_is_reduced_over_the_axes_that_cut_what_it_lacks() -> None:
    read = factors("i, i j -> j, i, i j, ")
    axes: dict[str, Axes] = {"i": ("a", "b"), "j": ("c",)}
    assert [read.lost(result, axes) for result in range(4)] == [("a", "b"), ("c",), (), ("a", "b", "c")]


# Which axes cut them.


@pytest.mark.parametrize(
    ("wanted", "assigned"),
    [
        ([], {}),
        ([("n2", [()]), ("i n2", [("a",), ()])], {"i": ("a",)}),
        ([("i n2", [("a",), ("b",)]), ("i", [("b",)])], {"i": ("a",), "n2": ("b",)}),
        ([("i", [("a", "b")]), ("i n2", [("a",), ("b",)])], {"i": ("a", "b")}),
        ([("i", [("b", "a")])], {"i": ("b", "a")}),
        ([("i", [("a",)]), ("n2", [("a",)]), ("n2", [("b",)])], {"i": ("a",), "n2": ("b",)}),
        ([("i", [("c",)]), ("i", [("a",)])], {"i": ("a",)}),
        ([("j", [("c", "a")]), ("n2", [("b",)])], {"j": ("c", "a"), "n2": ("b",)}),
        ([("j", [("a", "b")])], {}),
        ([("_ n2", [("a",), ("b",)])], {"n2": ("b",)}),
        ([("out", [("a",)])], {}),
        ([("k", [("a",)])], {"k": ("a",)}),
    ],
)
def test_the_first_array_to_want_axes_gets_them(
    wanted: list[tuple[str, list[Axes]]], assigned: Mapping[str, Axes]
) -> None:
    read = factors("i n2, j, k, _ -> n2, out", {**SIZES, "out": 4})
    assert read.assign([(tuple(names.split()), cuts) for names, cuts in wanted], MESH) == assigned


@st.composite
def wishes(draw: st.DrawFn) -> tuple[Factors, list[tuple[Names, list[Axes]]]]:
    """A rule, and how its arrays happen to be sharded: an axis cuts at most one dimension of an array."""
    sides, reducible = draw(rules())
    read = parse("rows", text(sides), *map(shapes, sides), reducible=reducible)
    wanted = []
    for names in (*read.ins, *read.outs):
        cuts: list[Axes] = [()] * len(names)
        for axis in draw(st.permutations(list(MESH))):
            place = draw(st.integers(-1, len(names) - 1))
            if place >= 0:
                cuts[place] += (axis,)
        wanted.append((names, cuts))
    return read, draw(st.permutations(wanted))


@given(wishes())
@settings(max_examples=300)
def test_no_assignment_breaks_what_a_partition_needs(drawn: tuple[Factors, list[tuple[Names, list[Axes]]]]) -> None:
    read, wanted = drawn
    assigned = read.assign(wanted, MESH)
    axes = [axis for cut in assigned.values() for axis in cut]
    assert len(set(axes)) == len(axes), "an axis cuts one factor"
    for name, cut in assigned.items():
        assert name not in read.whole
        assert cut
        assert read.sizes[name] % math.prod(MESH[axis] for axis in cut) == 0, "all pieces are of one length"
        assert any((name, cut) in zip(names, cuts, strict=True) for names, cuts in wanted), "somebody wanted it"


@given(wishes())
@settings(max_examples=300)
def test_the_array_that_counts_most_is_left_as_it_is_where_it_can_be(
    drawn: tuple[Factors, list[tuple[Names, list[Axes]]]],
) -> None:
    read, wanted = drawn
    if not wanted:
        return
    assigned = read.assign(wanted, MESH)
    names, cuts = wanted[0]
    for name, cut in zip(names, cuts, strict=True):
        if cut and name not in read.whole and read.sizes[name] % math.prod(MESH[axis] for axis in cut) == 0:
            assert assigned[name] == cut


# What JAX is told.


def test_names_are_renamed_so_that_any_identifier_will_do() -> None:
    assert factors("long_name _, i long_name -> i _").renamed() == ("f0 w0, f1 f0 -> f1 w1", ("f0",), ("w0", "w1"))


def test_what_must_stay_whole_is_said_to_need_replication_and_what_is_summed_to_be_a_reduction() -> None:
    assert factors("i j, i -> n2").renamed() == ("f0 f1, f0 -> f2", ("f0", "f1"), ("f2",))
    assert factors("i j, i -> j", reducible=False).renamed() == ("f0 f1, f0 -> f1", (), ("f0",))


@given(rules())
def test_jax_accepts_every_rule(drawn: tuple[list[list[list[str]]], bool]) -> None:
    sides, reducible = drawn
    read = parse("rows", text(sides), *map(shapes, sides), reducible=reducible)
    rule, reduced, kept = read.renamed()

    def plan(*_: Any) -> None:
        """Never called, as nothing is compiled."""

    custom_partitioning(plan).def_partition(
        plan, sharding_rule=rule, reduction_factors=reduced, need_replication_factors=kept
    )
    given_names = [name for side in sides for names in side for name in names]
    told = [name for side in rule.split("->") for name in side.replace(",", " ").split()]
    for (one, new_one), (other, new_other) in itertools.combinations(zip(given_names, told, strict=True), 2):
        assert (new_one == new_other) == (one == other != WHOLE)
    assert set(reduced).isdisjoint(kept)
    assert {new for name, new in zip(given_names, told, strict=True) if name in read.whole} == set(kept)
