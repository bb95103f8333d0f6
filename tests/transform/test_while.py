"""while_loop and bounded_while_loop: condition and body are traced once, and may read and write States."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import spikax_transform as st
from tests.transform.counting import Counted, compiles

LOOPS: dict[str, Callable[..., Any]] = {
    "while_loop": st.while_loop,
    "bounded": lambda cond, body, init: st.bounded_while_loop(cond, body, init, max_steps=40, base=3),
}
OUTER: dict[str, Callable[[Callable[..., Any]], Callable[..., Any]]] = {
    "eager": lambda f: f,
    "jit": st.jit,
    "cond": lambda f: lambda: st.cond(True, f, f),
}


class Growth:
    """A State that grows by the factor of another, and one that counts."""

    def __init__(self, factor: float = 2.0) -> None:
        self.n, self.factor = st.State(jnp.int32(0), name="n"), st.State(jnp.float32(factor))

    def step(self, x: Any) -> Any:
        self.n.value = self.n.value + 1
        return x * self.factor.value


@pytest.mark.parametrize("outer", OUTER)
@pytest.mark.parametrize("loop", LOOPS)
def test_body_and_condition_use_states(loop: str, outer: str) -> None:
    model, limit = Growth(), st.State(jnp.float32(100))
    run = OUTER[outer](lambda: LOOPS[loop](lambda x: x < limit.value, model.step, jnp.float32(3)))
    assert (run(), model.n.value) == (192, 6)
    limit.value = jnp.float32(1)
    assert (run(), model.n.value) == (3, 6)


@pytest.mark.parametrize("loop", LOOPS)
def test_what_the_condition_writes_counts_at_each_test(loop: str) -> None:
    tests, steps = st.State(jnp.int32(0)), st.State(jnp.int32(0))

    def cond(_: Any) -> Any:
        tests.value = tests.value + 1
        return steps.value < 3

    LOOPS[loop](cond, lambda _: setattr(steps, "value", steps.value + tests.value), None)
    # as in Python: tested (1), 0 + 1; tested (2), 1 + 2; tested (3), and over
    assert (tests.value, steps.value) == (3, 3)


@pytest.mark.parametrize("loop", LOOPS)
def test_repeated_eager_loops_run_the_python_and_compile_nothing(loop: str) -> None:
    model, other, factor = Growth(), Growth(), 2.0
    body = Counted(lambda x: model.step(x) * factor / 2)
    LOOPS[loop](lambda x: x < 50.0, lambda x: body(x), jnp.float32(1))
    with compiles() as count:
        LOOPS[loop](lambda x: x < 50.0, lambda x: body(x), jnp.float32(1))
        LOOPS[loop](lambda x: x < 50.0, lambda x: other.step(x) * factor / 2, jnp.float32(1))
        compiled = count()
    assert (body.runs, compiled) == (2, 0)
    factor = 8.0
    assert LOOPS[loop](lambda x: x < 50.0, lambda x: body(x), jnp.float32(1)) == 64


@pytest.mark.parametrize("loop", LOOPS)
def test_weakly_typed_carries_take_the_type_of_the_body(loop: str) -> None:
    total: st.State[Any] = st.State(0)

    def body(x: Any) -> Any:
        total.value = total.value + jnp.float32(1)
        return x + jnp.float32(1)

    out = LOOPS[loop](lambda x: x < 3, body, 0)
    assert (out, out.dtype, total.value, total.value.dtype) == (3, jnp.float32, 3, jnp.float32)


@pytest.mark.parametrize("loop", LOOPS)
def test_errors_name_the_state_or_the_place(loop: str) -> None:
    v: st.State[Any] = st.State(jnp.zeros(2), name="v")
    run = LOOPS[loop]
    with pytest.raises(st.CarryTypeError, match=r"State 'v'.*got f32\[3\], expected f32\[2\]"):
        run(lambda _: True, lambda _: setattr(v, "value", jnp.zeros(3)), None)
    with pytest.raises(st.CarryTypeError, match=r"carry\[1\].*got f32\[2\]"):
        run(lambda c: c[0] < 1, lambda c: (c[0], jnp.ones(2)), (0, jnp.float32(0)))
    with pytest.raises(st.PredicateError, match=r"returned f32\[\]; expected one boolean"):
        run(lambda x: x, lambda x: x, jnp.float32(0))
    with pytest.raises(st.PredicateError, match=r"returned bool\[2\]"):
        run(lambda x: x < 1, lambda x: x, jnp.zeros(2))
    with pytest.raises(st.StateArgumentError, match="passed to"):
        run(lambda s: True, lambda s: s, v)
    np.testing.assert_array_equal(v.value, np.zeros(2))


def test_an_exception_in_the_body_leaves_the_states() -> None:
    model = Growth()

    def fail(x: Any) -> Any:
        model.step(x)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        st.while_loop(lambda x: x < 1, fail, jnp.float32(0))
    assert model.n.value == 0


def test_forward_mode_goes_through_a_while_loop() -> None:
    model = Growth()
    run = lambda x: st.while_loop(lambda x: x < 100.0, model.step, x)  # noqa: E731
    assert jax.jit(
        lambda x: jax.jvp(lambda x: jax.lax.while_loop(lambda x: x < 100.0, lambda x: x * 2, x), (x,), (x,))
    )(3.0) == jax.jvp(run, (jnp.float32(3),), (jnp.float32(3),))


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 4, 9, 10, 27, 28, 31])
def test_a_bounded_loop_does_no_more_than_its_steps_and_has_the_gradient_of_the_unrolled_one(steps: int) -> None:
    # max_steps=1 makes no tree at all, and 10 = 9 + 1 and 28 = 27 + 1 have a rest of one step
    model = Growth(1.1)

    def run(x: Any) -> Any:
        return st.bounded_while_loop(lambda x: x < 10.0, model.step, x, max_steps=steps, base=3)

    def unrolled(factor: Any, x: Any) -> Any:
        for _ in range(min(steps, 25)):  # 1.1 ** 24 < 10 < 1.1 ** 25
            x = x * factor
        return x

    of_state, of_x = st.jit(st.grad(run, model.factor, 0, check_states=False))(jnp.float32(1))
    assert model.n.value == min(steps, 25)
    expected = jax.grad(unrolled, (0, 1))(jnp.float32(1.1), jnp.float32(1))
    np.testing.assert_allclose((of_state, of_x), expected, rtol=1e-4)


def test_lanes_that_end_at_different_times_keep_their_values_and_gradients() -> None:
    # a naive loop goes on in the lanes that have ended, and multiplies the zero cotangent of what it throws away by
    # the infinite slope of the square root there: the gradient is not a number
    def run(x: Any) -> Any:
        return st.bounded_while_loop(lambda x: x > 1, lambda x: jnp.sqrt(x - 1), x, max_steps=7, base=2)

    xs = jnp.array([1.5, 3.0, 30.0, 2.0])  # 30 -> 5.4 -> 2.1 -> 1.05 -> 0.2; 2 -> 1
    values, slopes = jax.vmap(jax.value_and_grad(run))(xs)
    for x, value, slope in zip(xs, values, slopes, strict=True):
        expected = jax.value_and_grad(_sqrt_until_one(float(x)))(x)
        np.testing.assert_allclose((value, slope), expected, rtol=1e-4)


def _sqrt_until_one(start: float) -> Callable[[Any], Any]:
    steps = 0
    while start > 1:
        start, steps = (start - 1) ** 0.5, steps + 1

    def unrolled(x: Any) -> Any:
        for _ in range(steps):
            x = jnp.sqrt(x - 1)
        return x

    return unrolled


def test_a_bounded_loop_of_keys_and_pytrees_works_under_vmap() -> None:
    rng = st.RandomState(0)

    def body(c: Any) -> Any:
        return {"n": c["n"] + 1, "x": c["x"] + jax.random.uniform(rng.split_key())}

    out = st.bounded_while_loop(lambda c: c["n"] < 3, body, {"n": jnp.int32(0), "x": jnp.float32(0)}, max_steps=5)
    twin, expected = st.RandomState(0), jnp.float32(0)
    for _ in range(3):
        expected = expected + jax.random.uniform(twin.split_key())
    np.testing.assert_allclose(out["x"], expected, rtol=1e-6)
    assert (rng.value == twin.value).all()


@pytest.mark.parametrize("bad", [{"max_steps": -1}, {"max_steps": 3, "base": 1}], ids=str)
def test_bounds_that_make_no_sense_are_errors(bad: Any) -> None:
    with pytest.raises(st.LoopLengthError, match="bounded_while_loop got"):
        st.bounded_while_loop(lambda x: x < 1, lambda x: x, 0, **bad)


def test_loops_work_with_jit_disabled() -> None:
    model = Growth()
    with jax.disable_jit():
        assert st.while_loop(lambda x: x < 10, model.step, jnp.float32(3)) == 12
    assert model.n.value == 2
