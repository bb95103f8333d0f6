"""State: a mutable cell with an identity, hooks, and values that survive copying."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import spikax_transform as st


class Tagged(st.ParamState[jax.Array]):
    """A kind of State that a person defines."""


def test_a_state_holds_what_was_written_last() -> None:
    v = st.State(jnp.zeros(2))
    v.value = jnp.ones(2)
    np.testing.assert_array_equal(v.value, np.ones(2))


def test_states_are_equal_and_hashed_by_identity() -> None:
    a, b = st.State(1.0), st.State(1.0)
    assert a != b
    assert len({a, b, a}) == 2


@pytest.mark.parametrize("kind", [st.ParamState, st.HiddenState, st.ShortTermState, st.LongTermState, st.BatchState])
def test_each_kind_is_a_state(kind: type[st.State[Any]]) -> None:
    assert isinstance(kind(0.0), st.State)


def test_the_representation_names_kind_shape_and_small_values() -> None:
    assert repr(st.ParamState(jnp.ones((3, 4)), name="w")) == "ParamState('w', f32[3,4])"
    assert repr(st.State(jnp.int32(2), tag="t")) == "State(i32[], value=2, tag='t')"
    assert repr(st.State({"a": jnp.ones(9), "b": (jnp.int32(1),)})) == "State({'a': f32[9], 'b': (i32[],)})"


def test_the_representation_inside_a_trace_shows_the_type() -> None:
    seen: list[str] = []
    v = st.State(jnp.float32(1))

    @st.jit
    def look() -> Any:
        out = v.value
        seen.append(repr(v))
        return out

    look()
    assert seen == ["State(f32[])"]


def test_a_pickled_state_comes_back_with_kind_value_and_description() -> None:
    w = Tagged(jnp.arange(3.0), name="w", tag="fast", frozen=True, unit="mV")
    back = pickle.loads(pickle.dumps(w))
    assert type(back) is Tagged
    assert (back.name, back.tag, back.frozen, back.metadata) == ("w", "fast", True, {"unit": "mV"})
    np.testing.assert_array_equal(back.value, w.value)


def test_a_pickled_random_state_goes_on_with_the_same_numbers() -> None:
    rng = st.RandomState(3)
    back = pickle.loads(pickle.dumps(rng))
    assert jax.random.uniform(back.split_key()) == jax.random.uniform(rng.split_key())


def test_a_deep_copy_is_independent_and_keeps_shared_states_shared() -> None:
    v = st.State({"x": jnp.zeros(2)}, name="v")
    first, second = copy.deepcopy([v, v])
    assert first is second
    assert first is not v
    first.value = {"x": jnp.ones(2)}
    np.testing.assert_array_equal(v.value["x"], np.zeros(2))


def test_copy_and_replace_make_new_states_of_the_same_kind() -> None:
    w = Tagged(jnp.zeros(2), name="w", unit="mV")
    twin, other = w.copy(), w.replace(jnp.ones(3), name="u")
    assert type(twin) is type(other) is Tagged
    assert (twin.name, twin.metadata) == ("w", {"unit": "mV"})
    assert (other.name, other.value.shape) == ("u", (3,))
    assert w.value.shape == (2,)


def test_a_state_within_a_state_is_refused() -> None:
    with pytest.raises(st.StateValueError, match="cannot hold another"):
        st.State([st.State(0.0)])


@pytest.mark.parametrize("value", [jnp.zeros(3), jnp.zeros(2, jnp.int32), {"a": jnp.zeros(2)}], ids=str)
def test_a_frozen_state_refuses_another_shape_dtype_or_structure_and_names_both(value: Any) -> None:
    v: st.State[Any] = st.State(jnp.zeros(2), frozen=True)
    with pytest.raises(st.FrozenStateError, match=r"got .*(f32\[3\]|i32\[2\]|'a').*expected f32\[2\]"):
        v.value = value
    v.value = jnp.ones(2)


def test_a_frozen_state_is_checked_while_tracing() -> None:
    v = st.State(jnp.zeros(2), frozen=True)

    @st.jit
    def grow() -> None:
        v.value = jnp.zeros(3)

    with pytest.raises(st.FrozenStateError):
        grow()
    assert v.value.shape == (2,)


def test_hooks_run_once_per_read_and_write_of_the_user() -> None:
    v = st.State(jnp.float32(0))
    events: list[str] = []
    v.on_read(lambda state, value: events.append("read"))
    remove = v.on_write(lambda state, value: events.append("write"))
    v.value = v.value + 1
    assert events == ["read", "write"]
    remove()
    v.value = jnp.float32(5)
    assert events == ["read", "write"]
    v.restore_value(jnp.float32(6))
    assert events == ["read", "write"]


def _eager(f: Callable[[], Any]) -> Callable[[], Any]:
    return f


@pytest.mark.parametrize(
    "transform",
    [
        _eager,
        st.jit,
        lambda f: lambda: st.for_loop(f, length=4),
        lambda f: lambda: st.vector_grad(lambda x: f() * x)(1.0),
    ],
    ids=["eager", "jit", "for_loop", "vector_grad"],
)
def test_hooks_run_once_per_trace_whatever_the_transform(transform: Callable[[Any], Callable[[], Any]]) -> None:
    # a naive engine that discovers first runs them twice under jit, and once more around each loop
    v = st.State(jnp.float32(0))
    events: list[str] = []
    v.on_read(lambda state, value: events.append("read"))
    v.on_write(lambda state, value: events.append("write"))

    def step() -> Any:
        v.value = v.value + 1
        return jnp.float32(1)

    transform(step)()
    assert events == ["read", "write"]


def test_what_a_write_hook_returns_is_written_and_part_of_the_program() -> None:
    v = st.State(jnp.float32(0))
    v.on_write(lambda state, value: jnp.minimum(value, 2.0))

    @st.jit
    def add() -> None:
        v.value = v.value + 1.5

    add()
    add()
    assert v.value == 2


def test_a_hook_may_refuse_a_write() -> None:
    v = st.State(jnp.float32(0))

    def refuse(state: st.State[Any], value: Any) -> None:
        raise ValueError("read-only")

    v.on_write(refuse)
    with pytest.raises(ValueError, match="read-only"):
        v.value = jnp.float32(1)
    assert v.value == 0


def test_new_states_are_caught_by_every_catcher_around() -> None:
    with st.catch_new_states() as outer:
        a = st.State(0.0)
        with st.catch_new_states() as inner:
            b = st.State(0.0)
        c = a.copy()
    assert outer == [a, b, c]
    assert inner == [b]


def test_the_message_about_a_state_says_where_it_was_created() -> None:
    assert __file__ in st.State(0.0, name="v").describe()


def test_a_state_that_holds_no_array_is_refused_only_inside_a_trace() -> None:
    v: st.State[Any] = st.State("text", name="label")
    assert v.value == "text"
    with pytest.raises(st.StateValueError, match=r"'label'.*'str'"):
        st.jit(lambda: v.value)()
