"""scan and for_loop: one run of Python per trace, one program per body."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs

import spikax_transform as st
from tests.transform.counting import Counted, compiles


class Leaky:
    """Two States, one of them written."""

    def __init__(self, v: float = 0.0, w: float = 0.5) -> None:
        self.v, self.w = st.State(jnp.float32(v)), st.State(jnp.float32(w))
        self.runs = 0

    def step(self, x: Any) -> Any:
        self.runs += 1
        self.v.value = self.w.value * self.v.value + x
        return self.v.value


def leaky(v: Any, w: Any, xs: Any, reverse: bool = False) -> Any:
    """The same as a pure function of JAX."""

    def step(v: Any, x: Any) -> Any:
        v = w * v + x
        return v, v

    return jax.lax.scan(step, v, xs, reverse=reverse)


@settings(max_examples=25)
@given(
    hs.lists(hs.floats(-2, 2, width=32), max_size=9),
    hs.booleans(),
    hs.sampled_from([1, 2, True]),
    hs.floats(-1, 1, width=32),
)
def test_a_loop_equals_the_scan_of_the_pure_function(xs: list[float], reverse: bool, unroll: Any, v: float) -> None:
    model, inputs = Leaky(v), jnp.array(xs, jnp.float32)
    ys = st.for_loop(model.step, inputs, reverse=reverse, unroll=unroll)
    last, expected = leaky(jnp.float32(v), jnp.float32(0.5), inputs, reverse)
    np.testing.assert_allclose(ys, expected, rtol=1e-6)
    np.testing.assert_allclose(model.v.value, last, rtol=1e-6)


def test_scan_carries_pytrees_beside_states() -> None:
    model = Leaky()

    def body(carry: Any, x: Any) -> Any:
        return {"n": carry["n"] + 1, "s": carry["s"] + model.step(x["a"])}, (x["b"], carry["n"])

    xs = {"a": jnp.arange(3.0), "b": jnp.ones((3, 2))}
    last, (b, n) = st.scan(body, {"n": jnp.int32(0), "s": jnp.float32(0)}, xs)
    assert last["n"] == 3
    assert last["s"] == leaky(jnp.float32(0), jnp.float32(0.5), xs["a"])[1].sum()
    np.testing.assert_array_equal(n, [0, 1, 2])
    np.testing.assert_array_equal(b, xs["b"])


def test_a_loop_may_have_a_length_and_no_inputs() -> None:
    n = st.State(jnp.int32(0))

    def count() -> Any:
        n.value = n.value + 1
        return n.value

    np.testing.assert_array_equal(st.for_loop(count, length=3), [1, 2, 3])


@pytest.mark.parametrize("transform", [lambda f: f, st.jit], ids=["eager", "jit"])
def test_a_loop_of_no_steps_leaves_the_states_and_returns_empty_arrays(transform: Any) -> None:
    model = Leaky(4.0)
    assert transform(lambda: st.for_loop(model.step, jnp.zeros(0)))().shape == (0,)
    assert model.v.value == 4
    overwritten = st.State(jnp.float32(3))
    transform(lambda: st.for_loop(lambda: setattr(overwritten, "value", jnp.float32(0)), length=0))()
    assert overwritten.value == 3


def test_several_inputs_are_cut_together() -> None:
    out = st.for_loop(lambda a, b: a * b["x"], jnp.arange(3.0), {"x": jnp.ones((3, 2))})
    np.testing.assert_array_equal(out, [[0, 0], [1, 1], [2, 2]])


@pytest.mark.parametrize(
    ("xs", "length", "message"),
    [
        ((np.zeros(2), np.zeros(3)), None, r"f32\[2\], f32\[3\]"),
        ((np.zeros(2),), 4, r"f32\[2\], and length=4"),
        ((), None, "neither inputs nor a length"),
        ((np.float32(0),), None, "scalar"),
        ((), -1, "length=-1"),
    ],
    ids=["inputs", "length", "none", "scalar", "negative"],
)
def test_lengths_that_disagree_are_an_error(xs: Any, length: Any, message: str) -> None:
    with pytest.raises(st.LoopLengthError, match=message):
        st.for_loop(lambda *x: None, *xs, length=length)


def test_the_innermost_of_three_nested_loops_runs_once_in_python() -> None:
    # a naive engine doubles the runs at each level: eight
    model = Leaky()
    one, two = Counted(lambda i: st.for_loop(model.step, jnp.ones(2))), None
    middle = Counted(lambda i: st.for_loop(lambda j: one(j), jnp.ones(2)))
    del two
    ys = st.for_loop(lambda i: middle(i), jnp.ones(2))
    np.testing.assert_allclose(ys.ravel(), leaky(jnp.float32(0), jnp.float32(0.5), jnp.ones(8))[1])
    assert (model.runs, one.runs, middle.runs) == (1, 1, 1)


def test_repeated_eager_loops_compile_nothing_not_even_with_fresh_lambdas() -> None:
    model, other = Leaky(), Leaky()
    xs = jnp.ones(3)
    st.for_loop(model.step, xs)
    with compiles() as count:
        for _ in range(3):
            st.for_loop(model.step, xs)
            st.for_loop(lambda x: model.step(x), xs)
            st.for_loop(other.step, xs)
    assert count() == 0


def test_repeated_eager_gradients_of_loops_compile_nothing() -> None:
    model, xs = Leaky(), jnp.ones(3)

    def loss(x: Any) -> Any:
        return st.for_loop(lambda i: model.step(i * x), xs).sum()

    st.grad(lambda x: loss(x), [model.w], 0)(1.0)
    with compiles() as count:
        st.grad(lambda x: loss(x), [model.w], 0)(1.0)
    assert count() == 0


def test_an_eager_loop_sees_changed_closures_and_flags() -> None:
    # raw lax.scan gives the first result again for the same function
    v = st.State(jnp.float32(1))
    factor, flag = 2.0, [True]

    def body() -> Any:
        return v.value * factor if flag[0] else -v.value

    assert st.for_loop(body, length=1) == 2
    factor = 3.0
    assert st.for_loop(body, length=1) == 3
    flag[0] = False
    assert st.for_loop(body, length=1) == -1


def test_closed_over_arrays_are_values_and_not_part_of_the_program() -> None:
    def scaled(a: jax.Array) -> Any:
        return st.for_loop(lambda x: x * a, jnp.ones(2))

    first = scaled(jnp.full(3, 2.0))
    three = jnp.full(3, 3.0)
    with compiles() as count:
        second = scaled(three)
        compiled = count()
    assert compiled == 0
    assert (float(first[0, 0]), float(second[0, 0])) == (2.0, 3.0)


def test_a_state_that_changes_its_type_in_the_body_is_named_with_both_types() -> None:
    v: st.State[Any] = st.State(jnp.zeros(2), name="v")
    with pytest.raises(st.CarryTypeError, match=r"State 'v'.*got f32\[3\], expected f32\[2\]"):
        st.for_loop(lambda: setattr(v, "value", jnp.zeros(3)), length=2)
    with pytest.raises(st.CarryTypeError, match=r"got i32\[2\], expected f32\[2\]"):
        st.for_loop(lambda: setattr(v, "value", jnp.zeros(2, jnp.int32)), length=2)
    with pytest.raises(st.CarryTypeError, match=r"structure of State 'v'"):
        st.for_loop(lambda: setattr(v, "value", [v.value]), length=2)
    np.testing.assert_array_equal(v.value, np.zeros(2))


def test_a_carry_that_changes_is_named_by_its_place() -> None:
    with pytest.raises(st.CarryTypeError, match=r"carry\['a'\].*got f32\[2\], expected f32\[\]"):
        st.scan(lambda c, x: ({"a": c["a"] + jnp.ones(2)}, None), {"a": jnp.float32(0)}, jnp.ones(2))
    with pytest.raises(st.CarryTypeError, match="another structure"):
        st.scan(lambda c, x: ((c, c), None), jnp.float32(0), jnp.ones(2))
    with pytest.raises(st.CarryTypeError, match="must return a pair"):
        st.scan(lambda c, x: c, jnp.float32(0), jnp.ones(2))


def test_weakly_typed_carries_and_states_take_the_type_of_the_body() -> None:
    v: st.State[Any] = st.State(0)

    def body(c: Any, x: Any) -> Any:
        v.value = v.value + x
        return c + x, c

    arguments: tuple[Any, ...] = (body, 0, jnp.ones(3))
    last, ys = st.scan(*arguments)
    plain: tuple[Any, ...] = (lambda c, x: (c + x, c), 0, jnp.ones(3))
    expected, expected_ys = jax.lax.scan(*plain)
    assert (last, last.dtype, ys.dtype) == (expected, expected.dtype, expected_ys.dtype)
    assert (v.value, v.value.dtype) == (3, jnp.float32)


def test_a_weakly_typed_write_into_a_strong_state_keeps_it_strong() -> None:
    v: st.State[Any] = st.State(jnp.float32(3))
    st.for_loop(lambda: setattr(v, "value", 0.0), length=2)
    assert (v.value, v.value.weak_type) == (0, False)


def test_a_loop_under_jit_grad_and_vmap_equals_the_pure_function() -> None:
    xs = jnp.array([0.3, -0.2, 0.7])
    pure_grad = jax.grad(lambda v, w, xs: leaky(v, w, xs)[1].sum(), (0, 1, 2))(jnp.float32(1), jnp.float32(0.5), xs)
    for outer in (lambda f: f, st.jit):
        model = Leaky(1.0)
        run = lambda xs, model=model: st.for_loop(model.step, xs).sum()  # noqa: E731
        states, args = outer(st.grad(run, (model.v, model.w), 0))(xs)
        for ours, expected in zip((*states, args), pure_grad, strict=True):
            np.testing.assert_allclose(ours, expected, rtol=1e-5)
    model = Leaky(1.0)
    many = jax.vmap(lambda x: st.for_loop(lambda i: model.w.value * i + x, xs))(jnp.arange(2.0))
    np.testing.assert_allclose(many, 0.5 * xs + jnp.arange(2.0)[:, None], rtol=1e-6)


def test_two_surrogate_gradients_of_the_same_spike_function_are_never_confused() -> None:
    # the jaxprs are equal but for a callable, which a careless structural key would leave out
    def spike(alpha: float) -> Any:
        @jax.custom_jvp
        def heaviside(x: Any) -> Any:
            return (x > 0).astype(jnp.float32)

        @heaviside.defjvp
        def rule(primals: Any, tangents: Any) -> Any:
            return heaviside(*primals), alpha * tangents[0]

        return heaviside

    def slope(alpha: float) -> Any:
        f = spike(alpha)
        return jax.grad(lambda x: st.for_loop(lambda i: f(x + i), jnp.ones(3)).sum())(1.0)

    slope(1.0)
    with compiles() as count:
        again = slope(1.0)
    assert count() == 0  # a comparison would compile, too, if no test before did it
    assert again == 3
    assert slope(2.0) == 6
    assert slope(1.0) == 3


def test_a_states_value_in_a_loop_is_never_baked() -> None:
    model, xs = Leaky(), jnp.ones(2)
    first = st.for_loop(model.step, xs)
    model.v.value, model.w.value = jnp.float32(0), jnp.float32(2)
    np.testing.assert_array_equal(st.for_loop(model.step, xs), [1, 3])
    np.testing.assert_array_equal(first, [1, 1.5])


def test_a_state_of_a_pytree_is_carried_whole() -> None:
    v: st.State[Any] = st.State({"a": jnp.zeros(2), "b": (jnp.int32(0), None)})

    def step(x: Any) -> Any:
        v.value = {"a": v.value["a"] + x, "b": (v.value["b"][0] + 1, None)}
        return v.value["b"][0]

    np.testing.assert_array_equal(st.for_loop(step, jnp.ones(3)), [1, 2, 3])
    np.testing.assert_array_equal(v.value["a"], [3, 3])


def test_a_state_as_input_or_result_of_a_loop_is_an_error() -> None:
    v = st.State(jnp.float32(0))
    with pytest.raises(st.StateArgumentError):
        st.scan(lambda c, x: (c, x), v, jnp.ones(2))
    with pytest.raises(st.StateArgumentError):
        st.for_loop(lambda x: v, jnp.ones(2))


def test_an_exception_midway_in_a_nested_loop_leaves_everything_as_it_was() -> None:
    model = Leaky(1.0)

    def outer(i: Any) -> Any:
        model.step(i)
        return st.for_loop(inner, jnp.ones(2))

    def inner(j: Any) -> Any:
        model.step(j)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        st.jit(lambda: st.for_loop(outer, jnp.ones(2)))()
    assert model.v.value == 1
    np.testing.assert_array_equal(st.for_loop(model.step, jnp.ones(1)), [1.5])


def test_a_loop_works_with_jit_disabled() -> None:
    model = Leaky()
    with jax.disable_jit():
        np.testing.assert_array_equal(st.for_loop(model.step, jnp.ones(2)), [1, 1.5])


def test_an_infinite_stream_of_different_programs_keeps_a_bounded_number() -> None:
    from spikax_transform._intern import Interned

    kept: Interned[int] = Interned(capacity=3)
    for i in range(10):
        kept.get(i, lambda i=i: i)  # type: ignore[misc]
    assert len(kept) == 3
    assert kept.get(9, lambda: -1) == 9
