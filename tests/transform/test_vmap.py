"""vmap: States are shared unless declared to be mapped, and the function of a lane runs once."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import spikax_transform as st
from tests.transform.counting import Counted, compiles

XS = jnp.array([1.0, 2.0, 3.0])


class Neuron:
    """A shared weight, and a membrane potential for each lane."""

    def __init__(self, axis: int = 0) -> None:
        self.w = st.ParamState(jnp.float32(2), name="w")
        self.v = st.ShortTermState(jnp.zeros((3, 2) if axis == 0 else (2, 3)), name="v")

    def step(self, x: Any) -> Any:
        self.v.value = 0.5 * self.v.value + self.w.value * x
        return self.v.value.sum()


@pytest.mark.parametrize("outer", [lambda f: f, st.jit], ids=["eager", "jit"])
@pytest.mark.parametrize("axis", [0, 1, -1, -2])
def test_a_mapped_state_is_sliced_along_its_axis_and_comes_out_as_it_went_in(axis: int, outer: Any) -> None:
    model = Neuron(axis % 2)
    step = outer(st.vmap(model.step, in_states={axis: [model.v]}))
    np.testing.assert_array_equal(step(XS), 4 * XS)
    np.testing.assert_array_equal(step(XS), 6 * XS)
    expected = np.broadcast_to(3 * XS, (2, 3))
    np.testing.assert_array_equal(model.v.value, expected if axis % 2 else expected.T)


@pytest.mark.parametrize(
    "form",
    [lambda v: v, lambda v: [v], lambda v: {"v": v}, lambda v: {0: {"a": [v]}}],
    ids=["bare", "list", "dict", "axis"],
)
def test_states_without_an_axis_are_mapped_along_the_first(form: Any) -> None:
    model = Neuron()
    st.vmap(model.step, in_states=form(model.v))(XS)
    np.testing.assert_array_equal(model.v.value[:, 0], 2 * XS)


def test_the_body_runs_once_and_a_repeated_eager_call_compiles_nothing() -> None:
    model = Neuron()
    body = Counted(lambda x: model.step(x))
    st.vmap(lambda x: body(x), in_states=model.v)(XS)
    with compiles() as count:
        st.vmap(lambda x: body(x), in_states=model.v)(XS)
        compiled = count()
    assert (body.runs, compiled) == (2, 0)


def test_an_undeclared_write_that_differs_between_lanes_names_the_states() -> None:
    # a naive engine takes the length of the first axis for a sign, or leaves a tracer in the State
    a, b = st.State(jnp.zeros(3), name="a"), st.State(jnp.zeros(3), name="b")

    def write(x: Any) -> None:
        a.value = a.value + x
        b.value = b.value * x

    with pytest.raises(st.StateAxesError, match=r"State 'a' created at .*test_vmap\.py:\d+; State 'b'.*out_states"):
        st.vmap(write)(XS)
    np.testing.assert_array_equal([a.value, b.value], np.zeros((2, 3)))


def test_a_write_that_is_the_same_in_all_lanes_needs_no_declaration() -> None:
    n = st.State(jnp.int32(0))
    st.vmap(lambda x: setattr(n, "value", n.value + 1))(XS)
    assert n.value == 1
    total = st.State(jnp.float32(0))
    st.vmap(lambda x: setattr(total, "value", jax.lax.psum(x, "i")), axis_name="i")(XS)
    assert total.value == 6


def test_out_states_put_the_lanes_together_along_another_axis() -> None:
    shared: st.State[Any] = st.State(jnp.array([1.0, 10.0]))
    st.vmap(lambda x: setattr(shared, "value", shared.value * x), out_states={1: shared})(XS)
    np.testing.assert_array_equal(shared.value, [[1, 2, 3], [10, 20, 30]])
    moved: st.State[Any] = st.State(jnp.ones((3, 2)))
    st.vmap(lambda: setattr(moved, "value", moved.value * 2), in_states=moved, out_states={1: moved})()
    assert moved.value.shape == (2, 3)
    constant: st.State[Any] = st.State(jnp.ones(2))
    st.vmap(lambda x: setattr(constant, "value", jnp.zeros(2)), out_states=constant)(XS)
    assert constant.value.shape == (3, 2)


def test_a_mapped_state_may_be_declared_to_come_out_shared() -> None:
    v: st.State[Any] = st.State(XS)
    st.vmap(lambda: setattr(v, "value", jax.lax.pmax(v.value, "i")), axis_name="i", in_states=v, out_states={None: v})()
    assert v.value == 3
    w = st.State(XS)
    with pytest.raises(st.StateAxesError, match="differ between lanes"):
        st.vmap(lambda: setattr(w, "value", w.value * 2), in_states=w, out_states={None: w})()


def test_a_pytree_state_is_mapped_leaf_by_leaf() -> None:
    v: st.State[Any] = st.State({"a": jnp.arange(3.0), "b": (np.ones((3, 2)), None)})

    def step(x: Any) -> Any:
        v.value = {"a": v.value["a"] + x, "b": (v.value["b"][0] * x, None)}
        return v.value["b"][0].sum()

    np.testing.assert_array_equal(st.vmap(step, in_states=v)(XS), 2 * XS)
    np.testing.assert_array_equal(v.value["a"], [1, 3, 5])


def test_the_first_read_may_be_inside_a_loop_a_branch_or_a_gradient() -> None:
    model = Neuron()
    loop = st.vmap(lambda x: st.for_loop(lambda i: model.step(i * x), jnp.ones(2)), in_states=model.v)
    np.testing.assert_allclose(loop(XS), np.stack([4 * XS, 6 * XS], 1))
    model = Neuron()
    branch = st.vmap(lambda x: st.cond(x > 2, model.step, lambda x: x, x), in_states=model.v)
    np.testing.assert_array_equal(branch(XS), [1, 2, 12])
    np.testing.assert_array_equal(model.v.value[:, 0], [0, 0, 6])
    slope = st.vmap(st.grad(lambda x: model.step(x), model.w), in_states=model.v)
    np.testing.assert_array_equal(slope(XS), 2 * XS)


def test_gradients_through_vmap_equal_the_pure_function() -> None:
    def pure(w: Any, v: Any, xs: Any) -> Any:
        return (jax.vmap(lambda v, x: 0.5 * v + w * x)(v, xs) ** 2).sum()

    expected = jax.grad(pure, (0, 1, 2))(jnp.float32(2), jnp.ones((3, 2)), XS[:, None])
    for outer in (lambda f: f, st.jit):
        model = Neuron()
        model.v.value = jnp.ones((3, 2))

        def loss(xs: Any, model: Neuron = model) -> Any:
            st.vmap(model.step, in_states=model.v)(xs)
            return (model.v.value**2).sum()

        (w, v), x = outer(st.grad(loss, [model.w, model.v], 0))(XS)
        np.testing.assert_allclose(w, expected[0])
        np.testing.assert_allclose(v, expected[1])
        np.testing.assert_allclose(x, expected[2][:, 0])


def test_vmap_nests_with_different_axes() -> None:
    v: st.State[Any] = st.State(jnp.zeros((2, 3)))
    inner = st.vmap(lambda x: setattr(v, "value", v.value + x), in_states=v)
    st.vmap(lambda xs: inner(xs), in_states=v)(jnp.arange(6.0).reshape(2, 3))
    np.testing.assert_array_equal(v.value, np.arange(6).reshape(2, 3))
    st.vmap(lambda xs: inner(xs), in_axes=1, in_states={1: v})(jnp.arange(6.0).reshape(2, 3))
    np.testing.assert_array_equal(v.value, 2 * np.arange(6).reshape(2, 3))


def test_a_state_may_say_itself_that_it_is_mapped_by_the_vmap_of_a_name() -> None:
    v: st.State[Any] = st.State(jnp.zeros((2, 3)), vmap_axes={"batch": 1})
    add = lambda x: setattr(v, "value", v.value + x)  # noqa: E731
    st.vmap(add, axis_name="batch")(XS)
    np.testing.assert_array_equal(v.value, [XS, XS])
    with pytest.raises(st.StateAxesError, match="differ between lanes"):
        st.vmap(add, axis_name="other")(XS)
    with pytest.raises(st.StateAxesError, match="differ between lanes"):
        st.vmap(add, axis_name="batch", in_states={None: v})(XS)
    st.vmap(lambda: st.vmap(add, axis_name="batch")(XS), axis_size=2)()
    np.testing.assert_array_equal(v.value[0], 2 * XS)


def test_a_random_state_gives_each_lane_a_key_and_advances_once() -> None:
    rng = st.RandomState(0)
    before = rng.value
    draw = lambda _: (jax.random.uniform(rng.split_key()), jax.random.uniform(rng.split_key()))  # noqa: E731
    first, second = st.vmap(draw)(XS)
    keys = jax.random.split(before, 4)
    assert (rng.value == keys[0]).all()
    assert rng.value.shape == ()
    assert len({*first.tolist(), *second.tolist()}) == 6
    for lane, key in enumerate(keys[1:]):
        twin = st.RandomState(key)
        assert (float(first[lane]), float(second[lane])) == tuple(map(float, draw_with(twin)))


def draw_with(rng: st.RandomState) -> tuple[Any, Any]:
    return jax.random.uniform(rng.split_key()), jax.random.uniform(rng.split_key())


def test_a_random_state_may_be_shared_or_mapped_instead() -> None:
    rng, many = st.RandomState(0), st.RandomState(jax.random.key(0))
    same = st.vmap(lambda _: jax.random.uniform(rng.split_key()), in_states={None: rng})(XS)
    assert len(set(same.tolist())) == 1
    many.value = jax.random.split(many.value, 3)
    st.vmap(lambda: many.split_key(), in_states=many)()
    assert many.value.shape == (3,)


def test_random_states_work_in_loops_within_lanes_and_lanes_within_loops() -> None:
    rng = st.RandomState(0)
    draw = lambda *_: jax.random.uniform(rng.split_key())  # noqa: E731
    inside = st.vmap(lambda _: st.for_loop(draw, length=4))(XS)
    outside = st.jit(lambda: st.for_loop(lambda: st.vmap(draw)(XS), length=4))()
    assert len({*inside.ravel().tolist(), *outside.ravel().tolist()}) == 24
    assert rng.value.shape == ()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda v: st.vmap(lambda x: v.value, in_states=v)(jnp.ones(4)), r"State 'v'.*got f32\[3\], expected 4 lanes"),
        (lambda v: st.vmap(lambda x: x, in_states={1: v})(XS), r"State 'v'.*along axis 1"),
        (lambda v: st.vmap(lambda: v.value)(), "number of lanes"),
        (lambda v: st.vmap(lambda: v.value, in_states={0: v, 1: [v]}), "under two axes"),
        (lambda v: st.vmap(lambda: v.value, in_states=[v, 3]), "in_states with a int"),
    ],
    ids=["size", "axis", "nothing", "twice", "not a State"],
)
def test_axes_that_make_no_sense_are_errors(call: Any, message: str) -> None:
    with pytest.raises(st.StateAxesError, match=message):
        call(st.State(jnp.zeros(3), name="v"))


def test_arguments_follow_jax_and_errors_name_the_users_own() -> None:
    w = st.State(jnp.float32(2))

    def f(a: Any, b: Any, *, c: Any) -> Any:
        return w.value * (a["x"] + b) * c

    got = st.vmap(f, ({"x": 1}, None), 1)({"x": jnp.ones((2, 3))}, 2.0, c=XS)
    np.testing.assert_array_equal(got, np.broadcast_to(6 * XS, (2, 3)))
    with pytest.raises(ValueError, match=r"argument b of type float32\[2\]"):
        st.vmap(f)({"x": XS}, jnp.ones(2), c=XS)


def test_vmap_is_a_decorator_of_functions_and_methods() -> None:
    class Model:
        def __init__(self) -> None:
            self.v = st.State(jnp.zeros(3), vmap_axes={"b": 0})

        @st.vmap(in_axes=(0, None), axis_name="b")
        def step(self, x: Any, y: Any) -> Any:
            self.v.value = self.v.value + x * y
            return self.v.value

        @st.jit
        @st.vmap
        def scale(self, x: Any) -> Any:
            return 2 * x

    model = Model()
    np.testing.assert_array_equal(model.step(XS, 2.0), 2 * XS)
    np.testing.assert_array_equal(model.v.value, 2 * XS)
    np.testing.assert_array_equal(model.scale(XS), 2 * XS)

    @st.vmap
    def double(x: Any) -> Any:
        """Twice."""
        return 2 * x

    assert (double.__name__, double.__doc__) == ("double", "Twice.")
    np.testing.assert_array_equal(double(XS), 2 * XS)


def test_an_exception_in_a_lane_restores_every_state_also_random_ones() -> None:
    model, rng = Neuron(), st.RandomState(0)
    key = rng.value

    def fail(x: Any) -> None:
        model.step(x)
        rng.split_key()
        raise KeyError("user")

    with pytest.raises(KeyError, match="user"):
        st.vmap(fail, in_states=model.v)(XS)
    assert not model.v.value.any()
    assert rng.value is key


def test_a_state_as_argument_or_result_is_an_error() -> None:
    v = st.State(XS)
    with pytest.raises(st.StateArgumentError, match="passed to"):
        st.vmap(lambda s: s.value)(v)
    with pytest.raises(st.StateArgumentError, match="returned from"):
        st.vmap(lambda x: v)(XS)


def test_nothing_leaks() -> None:
    model = Neuron()
    with jax.checking_leaks():
        st.jit(st.vmap(model.step, in_states=model.v))(XS)
        st.vmap(lambda x: st.for_loop(lambda: model.step(x), length=2), in_states=model.v)(XS)
    assert not isinstance(model.v.value, jax.core.Tracer)


def test_new_states_hold_the_values_of_all_lanes() -> None:
    rng, model = st.RandomState(0), {}

    @st.vmap_new_states(axis_size=3, tag="new")
    def init() -> None:
        model["v"] = st.State(jax.random.normal(rng.split_key(), (2,)), name="v")
        model["n"] = st.State(jnp.int32(1))
        model["n"].value = model["n"].value + 1

    for outer in (lambda f: f, st.jit):
        outer(init)()
        assert model["v"].value.shape == (3, 2)
        assert len(set(model["v"].value.ravel().tolist())) == 6
        np.testing.assert_array_equal(model["n"].value, [2, 2, 2])
        assert {state.tag for state in model.values()} == {"new"}


def test_new_states_made_under_a_name_are_mapped_by_the_vmap_of_that_name() -> None:
    model: dict[str, st.State[Any]] = {}
    make = st.vmap_new_states(lambda x: model.update(v=st.State(x)), axis_size=3, axis_name="batch")
    make(XS)
    st.vmap(lambda x: setattr(model["v"], "value", model["v"].value * x), axis_name="batch")(XS)
    np.testing.assert_array_equal(model["v"].value, XS**2)


def test_a_state_created_in_a_lane_and_read_afterwards_names_its_line() -> None:
    born: list[st.State[Any]] = []
    st.vmap(lambda x: born.append(st.State(x)))(XS)
    with pytest.raises(st.StateUnavailableError, match=r"test_vmap\.py:\d+ has no value"):
        _ = born[0].value


@pytest.mark.parametrize("batch_size", [None, 1, 2, 5, 9])
def test_map_gives_the_same_with_any_batch_size(batch_size: int | None) -> None:
    w, xs = st.State(jnp.float32(2)), (jnp.arange(5.0), {"a": jnp.ones((5, 2))})
    got = st.map(lambda x, y: {"s": w.value * x, "t": x + y["a"]}, *xs, batch_size=batch_size)
    np.testing.assert_array_equal(got["s"], 2 * np.arange(5))
    np.testing.assert_array_equal(got["t"], np.arange(5)[:, None] + np.ones((5, 2)))


def test_map_in_order_may_write_and_in_batches_may_not() -> None:
    total = st.State(jnp.float32(0))
    add = lambda x: setattr(total, "value", total.value + x)  # noqa: E731
    st.map(add, XS)
    assert total.value == 6
    with pytest.raises(st.StateAxesError, match="differ between lanes"):
        st.map(add, XS, batch_size=2)
    with pytest.raises(st.LoopLengthError, match="batch_size=0"):
        st.map(add, XS, batch_size=0)
    with pytest.raises(st.LoopLengthError, match="different lengths"):
        st.map(lambda x, y: None, XS, jnp.ones(2), batch_size=2)
    assert st.map(lambda x: x * total.value, jnp.zeros(0), batch_size=2).shape == (0,)
