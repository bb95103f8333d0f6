"""The States of any object, by path."""

from collections import namedtuple
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
import pytest

import spikax_transform as st


@dataclass
class Leaf:
    w: st.State[Any]
    size: int = 3


@dataclass(slots=True)
class Slotted:
    v: st.State[Any]
    leaf: Leaf


class Hidden:
    __slots__ = ("__secret",)

    def __init__(self) -> None:
        self.__secret = st.State(0.0)


Pair = namedtuple("Pair", ["left", "right"])


def test_paths_follow_attributes_slots_sequences_and_mappings() -> None:
    model = SimpleNamespace(
        a=Slotted(st.State(0.0), Leaf(st.State(1.0))),
        b=[st.State(2.0), {"k": st.State(3.0)}],
        c=Pair(st.State(4.0), 5),
        d=Hidden(),
    )
    assert list(st.states(model)) == ["a.v", "a.leaf.w", "b[0]", "b[1]['k']", "c.left", "d._Hidden__secret"]


def test_a_state_that_is_shared_has_its_first_path_only() -> None:
    v = st.State(0.0)
    assert st.states([v, {"again": v}]) == {"[0]": v}


def test_cycles_and_long_chains_end() -> None:
    first: Any = SimpleNamespace(v=st.State(0.0))
    link = first
    for _ in range(3000):
        link.next = SimpleNamespace()
        link = link.next
    link.next = first
    link.w = st.State(1.0)
    assert len(st.states(first)) == 2


def test_a_kind_may_be_asked_for() -> None:
    model = [st.ParamState(0.0), st.State(0.0)]
    assert list(st.states(model, st.ParamState)) == ["[0]"]


def test_values_go_to_a_plain_tree_and_back() -> None:
    model = {"w": st.ParamState(jnp.zeros(2)), "deep": [st.State({"x": jnp.float32(1)})]}
    saved = st.to_pytree(model)
    st.states(model)["['w']"].value = jnp.ones(2)
    st.update_from_pytree(model, saved)
    assert st.to_pytree(model).keys() == {"['w']", "['deep'][0]"}
    assert jnp.array_equal(st.states(model)["['w']"].value, jnp.zeros(2))


def test_a_tree_that_does_not_fit_changes_nothing_and_is_described() -> None:
    model = SimpleNamespace(v=st.State(1.0), w=st.State(2.0))
    with pytest.raises(st.StateTreeError, match=r"missing \['w'\], unexpected \['x'\]"):
        st.update_from_pytree(model, {"v": 5.0, "x": 0.0})
    assert model.v.value == 1.0
