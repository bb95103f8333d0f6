"""cond, switch and ifelse: each branch is traced once, and may touch States of its own."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import spikax_transform as st
from tests.transform.counting import Counted, compiles

OUTER: dict[str, Callable[[Callable[..., Any]], Callable[..., Any]]] = {
    "eager": lambda f: f,
    "jit": st.jit,
    "for_loop": lambda f: lambda *args: jax.tree.map(lambda y: y[0], st.for_loop(lambda: f(*args), length=1)),
    "gradient": lambda f: lambda *args: st.vector_grad(lambda x: (x, f(*args)), has_aux=True)(1.0)[1],
}


class Pair:
    """Two States, each touched by one branch only."""

    def __init__(self) -> None:
        self.a, self.b = st.State(jnp.float32(1), name="a"), st.State(jnp.float32(10), name="b")

    def first(self, x: Any) -> Any:
        self.a.value = self.a.value + x
        return self.a.value

    def second(self, x: Any) -> Any:
        self.b.value = self.b.value * x + self.a.value
        return -self.b.value


@pytest.mark.parametrize("outer", OUTER)
@pytest.mark.parametrize("pred", [True, False])
def test_branches_may_touch_different_states(outer: str, pred: bool) -> None:
    # `a` is written in one branch and only read in the other: a naive merge gives the other branch the new value
    model = Pair()
    y = OUTER[outer](lambda p: st.cond(p, model.first, model.second, jnp.float32(2)))(jnp.bool_(pred))
    assert (y, model.a.value, model.b.value) == ((3, 3, 10) if pred else (-21, 1, 21))


@pytest.mark.parametrize("outer", OUTER)
def test_switch_takes_the_branch_of_the_index_and_clamps_it(outer: str) -> None:
    v = st.State(jnp.int32(0))

    def write(i: int) -> Callable[[Any], Any]:
        def branch(x: Any) -> Any:
            v.value = jnp.int32(i)
            return x * i

        return branch

    run = OUTER[outer](lambda i: st.switch(i, [write(i) for i in range(3)], jnp.int32(5)))
    for index, taken in [(0, 0), (2, 2), (7, 2), (-1, 0)]:
        assert run(jnp.int32(index)) == 5 * taken
        assert v.value == taken


@pytest.mark.parametrize(
    ("flags", "expected"), [((True, True), 0), ((False, True), 1), ((True, False), 0), ((False, False), 2)], ids=str
)
def test_ifelse_takes_the_first_that_is_true_or_else_the_last(flags: Any, expected: int) -> None:
    def run(p: Any, q: Any) -> Any:
        return st.ifelse([p, q], [lambda: 0, lambda: 1, lambda: 2])

    assert run(*flags) == expected
    assert st.jit(run)(*map(jnp.bool_, flags)) == expected
    assert st.ifelse(flags, [lambda: 0, lambda: 2], check_cond=False) == min(expected, 1) * 2


def test_ifelse_without_else_raises_if_nothing_is_true() -> None:
    with pytest.raises(st.PredicateError, match="no condition is true"):
        st.ifelse([False, False], [lambda: 0, lambda: 1])
    with pytest.raises(jax.errors.JaxRuntimeError, match="no condition is true"):
        jax.block_until_ready(st.jit(lambda p: st.ifelse([p, p], [lambda: 0, lambda: 1]))(jnp.bool_(False)))
    assert st.ifelse([False, True], [lambda: 0, lambda: 1]) == 1


def test_each_branch_runs_once_in_python_on_each_eager_call_and_nothing_compiles_again() -> None:
    model, other = Pair(), Pair()
    first, second = Counted(model.first), Counted(model.second)
    st.cond(True, lambda x: first(x), lambda x: second(x), jnp.float32(2))
    with compiles() as count:
        for p in (True, False):
            st.cond(p, lambda x: first(x), lambda x: second(x), jnp.float32(2))
            st.cond(jnp.bool_(p), other.first, other.second, jnp.float32(2))
        compiled = count()
    assert (first.runs, second.runs, compiled) == (3, 3, 0)


def test_an_eager_cond_sees_changed_closures() -> None:
    # raw lax.cond gives the first result again for the same function
    factor = 2.0

    def branch(x: float) -> float:
        return x * factor

    assert st.cond(True, branch, branch, 1.0) == 2
    factor = 3.0
    assert st.cond(True, branch, branch, 1.0) == 3


def test_nested_branches_are_traced_once() -> None:
    model = Pair()
    inner = Counted(model.first)
    for name in ("eager", "jit"):
        inner.runs = 0

        def level(depth: int, x: Any) -> Any:
            if depth == 0:
                return inner(x)
            return st.cond(x > 0, lambda x: level(depth - 1, x), lambda x: -x, x)

        OUTER[name](lambda x: level(4, x))(jnp.float32(1))
        assert inner.runs == 1


def test_the_gradient_flows_through_the_branch_that_is_taken() -> None:
    w, v = st.ParamState(jnp.float32(3)), st.State(jnp.float32(2))

    def loss(x: Any) -> Any:
        st.cond(x > 0, lambda: setattr(v, "value", v.value * w.value), lambda: None)
        return v.value * x

    def pure(w: Any, v: Any, x: Any) -> Any:
        return jax.lax.cond(x > 0, lambda: v * w, lambda: v) * x

    for outer in (lambda f: f, st.jit):
        for x in (1.5, -1.5):
            v.value = jnp.float32(2)
            (of_w, of_v), of_x = outer(st.grad(loss, [w, v], 0))(x)
            expected = jax.grad(pure, (0, 1, 2))(jnp.float32(3), jnp.float32(2), x)
            np.testing.assert_allclose((of_w, of_v, of_x), expected)


@pytest.mark.filterwarnings("error::spikax_transform.OverwrittenStateWarning")
def test_a_write_in_one_branch_only_does_not_count_as_overwriting() -> None:
    v = st.State(jnp.float32(2))

    def loss(x: Any) -> Any:
        st.cond(x > 0, lambda: setattr(v, "value", x), lambda: None)
        return v.value * x

    assert st.grad(loss, v)(jnp.float32(-3)) == -3
    assert st.grad(loss, v)(jnp.float32(3)) == 0


def test_under_vmap_each_lane_takes_its_branch() -> None:
    model = Pair()
    out = jax.vmap(lambda x: st.cond(x > 0, lambda x: x * model.a.value, lambda x: x * model.b.value, x))(
        jnp.array([2.0, -2.0])
    )
    np.testing.assert_array_equal(out, [2, -20])


def test_weakly_typed_results_and_states_take_the_type_of_the_others() -> None:
    v: st.State[Any] = st.State(0)
    out = st.cond(True, lambda: 1.0, lambda: jnp.float32(2))
    assert (out, out.weak_type) == (1, False)
    st.cond(False, lambda: setattr(v, "value", jnp.float32(2)), lambda: None)
    assert (v.value, v.value.dtype) == (0, jnp.float32)
    strong: st.State[Any] = st.State(jnp.float32(3))
    st.cond(True, lambda: setattr(strong, "value", 0.0), lambda: None)
    assert (strong.value, strong.value.weak_type) == (0, False)


def test_branches_that_disagree_are_told_apart_by_name_with_both_types() -> None:
    v: st.State[Any] = st.State(jnp.zeros(2), name="v")
    with pytest.raises(st.BranchTypeError, match=r"result\['a'\].*f32\[3\] after branches\[1\].*f32\[2\]"):
        st.switch(0, [lambda: {"a": jnp.zeros(2)}, lambda: {"a": jnp.zeros(3)}])
    with pytest.raises(st.BranchTypeError, match="false_fun returns another structure than true_fun"):
        st.cond(True, lambda: (1,), lambda: [1])
    with pytest.raises(st.BranchTypeError, match=r"State 'v'.*f32\[2\] after false_fun.*f32\[3\]"):
        st.cond(True, lambda: setattr(v, "value", jnp.zeros(3)), lambda: None)
    with pytest.raises(st.BranchTypeError, match=r"State 'v'.*another structure"):
        st.cond(True, lambda: setattr(v, "value", [v.value]), lambda: None)
    np.testing.assert_array_equal(v.value, np.zeros(2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: st.cond(jnp.zeros(2, bool), lambda: 0, lambda: 1), r"cond got a condition of type bool\[2\]"),
        (lambda: st.cond("yes", lambda: 0, lambda: 1), "cond got a str"),
        (lambda: st.switch(True, [lambda: 0]), r"switch got an index of type bool\[\]"),
        (lambda: st.switch(1.0, [lambda: 0]), r"expected a scalar integer"),
        (lambda: st.switch(0, []), "no branches"),
        (lambda: st.ifelse([True], [lambda: 0, lambda: 1, lambda: 2]), "1 conditions and 3 branches"),
        (lambda: st.cond(True, 1, lambda: 1), "got a int as true_fun"),  # type: ignore[arg-type]
    ],
    ids=["vector", "string", "bool index", "float index", "empty", "count", "not a function"],
)
def test_bad_conditions_and_branches_are_errors(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        call()


def test_a_state_as_operand_or_result_is_an_error() -> None:
    v = st.State(jnp.float32(0))
    with pytest.raises(st.StateArgumentError, match="passed to"):
        st.cond(True, lambda s: s.value, lambda s: s.value, v)
    with pytest.raises(st.StateArgumentError, match="returned from"):
        st.switch(0, [lambda: v])


def test_an_exception_in_a_branch_leaves_the_states() -> None:
    model = Pair()

    def fail(x: Any) -> Any:
        model.first(x)
        raise KeyError("user")

    with pytest.raises(KeyError, match="user"):
        st.cond(True, model.first, fail, jnp.float32(1))
    assert model.a.value == 1


def test_a_state_created_in_a_branch_and_read_afterwards_names_its_line() -> None:
    born: list[st.State[Any]] = []
    st.cond(True, lambda: born.append(st.State(jnp.float32(1))), lambda: None)
    with pytest.raises(st.StateUnavailableError, match=r"test_branches\.py:\d+ has no value"):
        _ = born[0].value


def test_branches_work_with_jit_disabled() -> None:
    model = Pair()
    with jax.disable_jit():
        assert st.cond(True, model.first, model.second, jnp.float32(2)) == 3
    assert model.a.value == 3
