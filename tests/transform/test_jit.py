"""jit: as fast and as exact as `jax.jit`, and never with yesterday's States."""

import gc
import weakref
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import spikax_transform as st
from tests.transform.counting import Counted, compiles


class Counter:
    """A model of one State."""

    def __init__(self) -> None:
        self.n = st.State(jnp.float32(0), name="n")
        self.runs = 0

    def step(self, x: Any) -> Any:
        self.runs += 1
        self.n.value = self.n.value + x
        return self.n.value * 2


def test_states_are_read_and_written_on_every_call_and_python_runs_once() -> None:
    model = Counter()
    step = st.jit(model.step)
    assert [float(step(jnp.float32(x))) for x in (1, 2, 3)] == [2.0, 6.0, 12.0]
    assert model.n.value == 6
    assert model.runs == 1


def test_the_body_runs_once_at_the_first_call_even_with_many_states() -> None:
    # a naive engine runs it once to discover the States and once to trace
    states = [st.State(jnp.float32(i)) for i in range(5)]

    def add() -> None:
        for s in states:
            s.value = s.value + 1

    body = Counted(add)
    f = st.jit(lambda: body())
    with compiles() as count:
        f()
    assert (body.runs, count()) == (1, 1)


def test_a_function_without_states_is_plain_jit() -> None:
    assert st.jit(lambda x: {"y": x + 1})(1.0) == {"y": 2.0}


def test_a_write_from_outside_is_seen() -> None:
    model = Counter()
    step = st.jit(model.step)
    step(1.0)
    model.n.value = jnp.float32(100)
    assert step(1.0) == 202


@pytest.mark.parametrize(
    ("first", "second"),
    [(1.0, np.float32(1)), (1, 1.0), (jnp.zeros(2), jnp.zeros(3)), (jnp.int32(0), jnp.float32(0))],
    ids=["weak type", "dtype", "shape", "integer"],
)
def test_it_traces_again_exactly_when_jax_does(first: Any, second: Any) -> None:
    v = st.State(jnp.float32(1))
    ours = Counted(lambda x: jnp.result_type(x, v.value) if False else x + 0 * v.value.astype(jnp.result_type(x)))
    plain = Counted(lambda x: x + 0)
    f, g = st.jit(lambda x: ours(x)), jax.jit(lambda x: plain(x))
    for x in (first, second, first, second):
        f(x)
        g(x)
    assert ours.runs == plain.runs == 2


def test_a_change_of_a_states_weak_type_is_noticed() -> None:
    v: st.State[Any] = st.State(1.0)
    f = st.jit(lambda x: x * v.value)
    half = jnp.bfloat16(2)
    assert f(half).dtype == jnp.bfloat16
    v.value = jnp.bfloat16(1.5)
    assert f(half) == 3
    v.value = 1.0
    assert f(half).dtype == jnp.bfloat16


def test_a_states_shape_and_structure_may_change_between_calls() -> None:
    v: st.State[Any] = st.State(jnp.zeros(2))
    total = st.jit(lambda: sum(jnp.sum(leaf) for leaf in jax.tree.leaves(v.value)))
    assert total() == 0
    v.value = {"a": jnp.ones(3), "b": jnp.ones(())}
    assert total() == 4


def test_a_write_inside_may_change_shape_and_structure() -> None:
    v: st.State[Any] = st.State(jnp.zeros(1))

    @st.jit
    def grow() -> None:
        v.value = jnp.concatenate([v.value, jnp.ones(1)])

    for _ in range(3):
        grow()
    np.testing.assert_array_equal(v.value, [0, 1, 1, 1])


def test_static_values_differ_by_type_and_value() -> None:
    v = st.State(jnp.float32(0))

    def run(kind: Any) -> None:
        names.append(type(kind).__name__)
        v.value = v.value + 1

    names: list[str] = []
    f = st.jit(run, static_argnums=0)
    for kind in (1, True, 1.0, 1, True, 1.0, "1"):
        f(kind)
    assert names == ["int", "bool", "float", "str"]
    assert v.value == 7


@pytest.mark.parametrize("how", [{"static_argnums": 1}, {"static_argnums": -1}, {"static_argnames": "n"}], ids=str)
def test_static_arguments_are_found_by_position_and_name(how: Any) -> None:
    v = st.State(jnp.float32(1))

    def f(x: Any, n: int) -> Any:
        return sum([x * v.value] * n)

    g = st.jit(f, **how)
    assert g(2.0, 3) == g(2.0, n=3) == 6


def test_static_values_may_touch_different_states() -> None:
    a, b = st.State(jnp.float32(0)), st.State(jnp.float32(10))
    runs: list[bool] = []

    def f(flag: bool) -> Any:
        runs.append(flag)
        chosen = a if flag else b
        chosen.value = chosen.value + 1
        return chosen.value

    g = st.jit(f, static_argnums=0)
    assert [float(g(flag)) for flag in (True, False, True, False, True)] == [1, 11, 2, 12, 3]
    with compiles() as count:
        g(True), g(False)
    assert count() == 0
    assert (a.value, b.value) == (4, 13)


def test_a_state_that_is_only_written_needs_no_value_of_the_same_shape() -> None:
    v: st.State[Any] = st.State(jnp.zeros(3))

    @st.jit
    def f(x: Any) -> None:
        v.value = x

    f(2.0)
    assert v.value == 2


def test_a_layer_that_was_replaced_is_not_ignored() -> None:
    # a naive plan goes on with the States that it discovered first
    model = Counter()
    step = st.jit(model.step)
    step(1.0)
    old = model.n
    model.n = st.State(jnp.float32(50))
    assert step(1.0) == 102
    assert old.value == 1
    assert model.n.value == 51


def test_a_layer_that_was_replaced_is_noticed_for_every_signature() -> None:
    a = st.State(jnp.float32(1))
    cell = [a, a]
    f = st.jit(lambda i: cell[i].value * 1, static_argnums=0)
    assert f(0) == f(1) == 1
    cell[1] = st.State(jnp.float32(7))
    assert f(0) == 1
    assert f(1) == 7


def test_an_unrelated_new_state_costs_one_run_of_python_and_no_compilation() -> None:
    model = Counter()
    step = st.jit(model.step)
    step(jnp.float32(1))
    other = st.State(0.0)
    with compiles() as count:
        step(jnp.float32(1))
        step(jnp.float32(1))
    assert (model.runs, count()) == (2, 0)
    del other


def test_states_that_died_are_discovered_again_and_not_kept_alive() -> None:
    holder = [st.State(jnp.float32(1)), st.State(jnp.float32(2))]
    f = st.jit(lambda: sum(s.value for s in holder))
    assert f() == 3
    reference = weakref.ref(holder.pop())
    gc.collect()
    assert reference() is None
    assert f() == 1


def test_a_state_created_inside_holds_its_value_afterwards() -> None:
    model: list[st.State[Any]] = []

    @st.jit
    def build(x: Any) -> Any:
        model.append(st.State(x * 2))
        model[-1].value = model[-1].value + 1
        return x

    build(jnp.float32(3))
    assert model[0].value == 7
    build(jnp.float32(4))
    assert (len(model), float(model[0].value)) == (1, 9.0)


def test_states_that_live_only_inside_cost_nothing() -> None:
    @st.jit
    def f(x: Any) -> Any:
        local = st.State(x)
        local.value = local.value * 3
        return local.value

    assert f(2.0) == 6
    with compiles() as count:
        assert f(3.0) == 9
    assert count() == 0
    assert len(f.trace(2.0).jaxpr.jaxpr.outvars) == 1


def test_methods_are_compiled_for_each_instance_by_identity() -> None:
    @dataclass(eq=True)
    class Model:  # equality by value makes it unhashable
        size: int

        def __post_init__(self) -> None:
            self.v = st.State(jnp.zeros(self.size))

        @st.jit
        def step(self, x: Any) -> Any:
            self.v.value = self.v.value + x
            return self.v.value.sum()

        @st.jit(static_argnums=0)
        def repeat(self, n: int) -> Any:
            return self.v.value * n

    a, b = Model(2), Model(2)
    assert a == b
    assert [float(m.step(x)) for m, x in ((a, 1.0), (a, 1.0), (b, 5.0))] == [2, 4, 10]
    np.testing.assert_array_equal(a.repeat(3), [6, 6])
    reference = weakref.ref(a)
    del a
    gc.collect()
    assert reference() is None


def test_methods_of_instances_that_cannot_be_weakly_referenced_work() -> None:
    class Model:
        __slots__ = ("v",)

        def __init__(self) -> None:
            self.v = st.State(jnp.float32(0))

        @st.jit
        def step(self) -> Any:
            self.v.value = self.v.value + 1
            return self.v.value

    models = [Model() for _ in range(20)]
    assert [float(m.step()) for m in models + models] == [1.0] * 20 + [2.0] * 20


def test_a_state_as_argument_or_result_is_an_error_that_says_to_close_over_it() -> None:
    v = st.State(jnp.float32(0), name="v")
    with pytest.raises(st.StateArgumentError, match=r"'v'.*passed to.*jit.*[Cc]lose over"):
        st.jit(lambda s: 1.0)(v)
    with pytest.raises(st.StateArgumentError, match=r"passed to"):
        st.jit(lambda s: 1.0)({"deep": [v]})
    with pytest.raises(st.StateArgumentError, match=r"passed to"):
        st.jit(lambda s: 1.0, static_argnums=0)(v)
    with pytest.raises(st.StateArgumentError, match=r"returned from"):
        st.jit(lambda: v)()


def test_donation_takes_the_memory_of_written_states_only() -> None:
    v, w = st.State(jnp.zeros(4)), st.State(jnp.ones(4))

    @st.jit(donate_states=True)
    def step() -> None:
        v.value = v.value + w.value

    old, read = v.value, w.value
    step()
    assert old.is_deleted()
    assert not read.is_deleted()
    np.testing.assert_array_equal(v.value, np.ones(4))


def test_a_state_lost_to_a_failed_call_says_so() -> None:
    v = st.State(jnp.zeros(4), name="v")

    def explode(x: Any) -> Any:
        raise RuntimeError("device")

    @st.jit(donate_states=True)
    def step(fail: Any) -> None:
        v.value = v.value + 1

    step(0)
    v.value.delete()
    with pytest.raises(RuntimeError):
        step(0)
    with pytest.raises(st.StateUnavailableError, match=r"'v'.*donated.*step.*failed"):
        _ = v.value
    v.value = jnp.ones(4)
    step(0)
    assert v.value[0] == 2


def test_a_compiled_object_reads_and_writes_states() -> None:
    model = Counter()
    lowered = st.jit(model.step).lower(jnp.float32(0))
    assert "stablehlo" in lowered.as_text()
    compiled = lowered.compile()
    assert [float(compiled(jnp.float32(x))) for x in (1, 2)] == [2.0, 6.0]
    assert model.n.value == 3
    assert model.runs == 1


def test_shapes_can_be_asked_for_without_running() -> None:
    model = Counter()
    assert st.jit(model.step).eval_shape(jnp.float32(1)).dtype == jnp.float32
    assert model.n.value == 0


def test_jit_nests_in_jit_and_in_loops() -> None:
    model = Counter()
    inner = st.jit(model.step)
    outer = st.jit(lambda x: st.for_loop(lambda i: inner(i), x).sum() + inner(1.0))
    expected, n = 0.0, 0.0
    for x in [1.0, 2.0, 3.0, 1.0]:
        n += x
        expected += 2 * n
    assert outer(jnp.array([1.0, 2.0, 3.0])) == expected
    assert model.n.value == n


def test_a_replaced_layer_is_noticed_by_a_jit_within_a_jit() -> None:
    model = Counter()
    inner = st.jit(model.step)
    outer = st.jit(lambda x: inner(x))
    outer(1.0)
    model.n = st.State(jnp.float32(10))
    assert outer(1.0) == 22


def test_nothing_leaks() -> None:
    model = Counter()
    with jax.checking_leaks():
        step = st.jit(lambda x: st.for_loop(model.step, x))
        step(jnp.ones(2))
        step(jnp.ones(3))
        st.grad(lambda x: step(x).sum(), model.n)(jnp.ones(2))
    assert not isinstance(model.n.value, jax.core.Tracer)


def test_a_failed_write_that_changes_the_structure_leaves_no_tracer() -> None:
    v: st.State[Any] = st.State(jnp.zeros(2))

    @st.jit
    def f() -> None:
        v.value = {"a": v.value}
        raise RuntimeError("after the write")

    with pytest.raises(RuntimeError, match="after the write"):
        f()
    np.testing.assert_array_equal(v.value, np.zeros(2))


def test_disable_jit_runs_the_python_itself() -> None:
    model = Counter()
    step = st.jit(model.step)
    with jax.disable_jit():
        step(1.0)
        step(1.0)
    assert model.runs == 2
    assert model.n.value == 2


def test_shardings_of_arguments_and_results_are_passed_on() -> None:
    mesh = jax.make_mesh((4,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
    split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("d"))
    v = st.State(jnp.zeros(8))

    def f(x: jax.Array, y: jax.Array) -> Any:
        v.value = v.value + x
        return x * y

    for given in (split, (split, split)):
        out = st.jit(f, in_shardings=given, out_shardings=split)(jnp.ones(8), jnp.ones(8))
        assert out.sharding == split


def test_the_function_keeps_its_name_and_documentation() -> None:
    def simulate() -> None:
        """Run it."""

    compiled: Any = st.jit(simulate)
    assert (compiled.__name__, compiled.__doc__) == ("simulate", "Run it.")


def test_arguments_that_are_not_used_are_kept_if_asked_for() -> None:
    v = st.State(jnp.zeros(2))

    def f(x: Any, y: Any) -> Any:
        return v.value * x

    texts = {keep: st.jit(f, keep_unused=keep).lower(1.0, 2.0).as_text() for keep in (True, False)}
    assert ("%arg2" in texts[True], "%arg2" in texts[False]) == (True, False)  # the State, x, and y
    assert st.jit(f, keep_unused=True)(1.0, 2.0).shape == (2,)


@pytest.mark.parametrize("inline", [True, False])
def test_inline_is_what_jax_makes_of_it(inline: bool) -> None:
    v = st.State(jnp.float32(1))
    ours = st.jit(lambda x: jnp.sin(v.value * x), inline=inline)
    plain = jax.jit(lambda v, x: jnp.sin(v * x), inline=inline)
    x = jnp.float32(1)
    programs = (st.make_jaxpr(lambda x: ours(x))(x), jax.make_jaxpr(lambda v, x: plain(v, x))(x, x))
    mine, theirs = ([(str(eqn.primitive), eqn.params.get("inline")) for eqn in p.jaxpr.eqns] for p in programs)
    assert mine == theirs


@pytest.mark.parametrize("how", [{"donate_argnums": 1}, {"donate_argnums": (-1,)}, {"donate_argnames": "y"}], ids=str)
def test_donated_arguments_are_counted_as_the_user_does(how: Any) -> None:
    v = st.State(jnp.zeros(3))

    def f(x: Any, y: Any) -> Any:
        v.value = v.value + x
        return y + 1

    x, y = jnp.ones(3), jnp.ones(3)
    st.jit(f, **how)(x, y)
    assert (x.is_deleted(), y.is_deleted()) == (False, True)


def test_a_state_donated_to_a_program_that_failed_is_lost_and_names_the_call() -> None:
    v, w = st.State(jnp.zeros(1000), name="v"), st.State(jnp.ones(1000))

    @st.jit(donate_states=True)
    def step(limit: Any) -> None:
        st.jit_error_if(v.value > limit, "diverged")
        v.value = v.value + w.value

    compiled = step.lower(1.0).compile()
    for call in (step, compiled):
        v.value = jnp.zeros(1000)
        call(1.0)
        v.value.delete()  # what a runtime that runs the program before it fails does to a donated buffer
        with pytest.raises((RuntimeError, ValueError)):
            call(-1.0)
        with pytest.raises(st.StateUnavailableError, match=r"'v'.*donated to a call of jit\(.*step\) that failed"):
            _ = v.value
        assert w.value[0] == 1


def test_stages_keep_the_static_arguments_and_update_the_states() -> None:
    model = Counter()

    def f(x: Any, n: int) -> Any:
        return model.step(x) * n

    traced = st.jit(f, static_argnums=1).trace(jnp.float32(1), 3)
    assert len(traced.jaxpr.jaxpr.invars) == 2
    compiled = traced.lower().compile()
    assert [float(compiled(jnp.float32(x))) for x in (1, 2)] == [6.0, 18.0]
    assert model.n.value == 3
