"""Errors at run time: checkify and check, jit_error_if, and unvmap, on which the latter rests."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import spikax_transform as st
from tests.transform.counting import compiles
from tests.transform.transforms import CASES, Model


def positive(x: Any) -> Any:
    st.check(x > 0, "got {x}", x=x)
    return x


@pytest.mark.parametrize("outer", [lambda f: f, st.jit], ids=["eager", "jit"])
def test_checkify_hands_out_the_error_and_writes_the_states(outer: Any) -> None:
    v = st.State(jnp.float32(1))

    def step(x: Any) -> Any:
        v.value = v.value + x
        return positive(v.value)

    checked = outer(st.checkify(step))
    error, y = checked(1.0)
    assert (error.get(), y, v.value) == (None, 2, 2)
    error, _ = checked(-3.0)
    assert "got -1" in error.get()
    assert v.value == -1


@pytest.mark.parametrize(
    "inner",
    [
        lambda f: st.jit(f),
        lambda f: lambda x: st.for_loop(lambda: f(x), length=2),
        lambda f: lambda x: st.vmap(f)(jnp.stack([x, x])),
        lambda f: lambda x: st.cond(x < 100, f, lambda x: x, x),
        lambda f: st.checkpoint(f),
        lambda f: st.vector_grad(lambda x: f(x) ** 2),
        lambda f: lambda x: st.while_loop(lambda c: c[1] < 2, lambda c: (f(c[0]), c[1] + 1), (x, 0)),
    ],
    ids=["jit", "for_loop", "vmap", "cond", "checkpoint", "vector_grad", "while_loop"],
)
def test_a_check_is_found_inside_of_any_transform(inner: Any) -> None:
    v = st.State(jnp.float32(1))
    checked = st.jit(st.checkify(inner(lambda x: positive(x * v.value))))
    assert checked(jnp.float32(2))[0].get() is None
    assert "got -2" in checked(jnp.float32(-2))[0].get()


def test_checkify_is_a_decorator_and_takes_other_categories() -> None:
    from jax.experimental import checkify

    class Model:
        @st.checkify
        def call(self, x: Any) -> Any:
            return positive(x)

        @st.checkify(errors=checkify.float_checks)
        def divide(self, x: Any) -> Any:
            return x / 0.0

    error, _ = Model().call(-1.0)
    with pytest.raises(ValueError, match="got -1"):
        error.throw()
    assert "by zero" in str(Model().divide(1.0)[0].get())


def test_a_check_without_checkify_is_an_error_unless_it_is_for_debugging() -> None:
    with pytest.raises(ValueError, match="checkify"):
        jax.jit(positive)(1.0)

    def f(x: Any) -> Any:
        st.check(x > 0, "no", debug=True)
        return x

    assert jax.jit(f)(-1.0) == -1


class RateError(Exception):
    """An exception that cannot be made again from its message."""

    def __init__(self, rate: int, limit: int) -> None:
        super().__init__(f"{rate} is over {limit}")


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        ("too fast", RuntimeError, "too fast"),
        (ValueError("too fast", 3), ValueError, "too fast"),
        (KeyError, KeyError, "^$"),
        (RateError(3, 2), RateError, "3 is over 2"),
    ],
    ids=["message", "exception", "class", "custom"],
)
def test_an_error_is_raised_at_once_or_when_the_program_runs(error: Any, kind: Any, message: str) -> None:
    def f(x: Any) -> Any:
        st.jit_error_if(x > 0, error)
        return x

    assert f(0.0) == 0
    with pytest.raises(kind, match=message):
        f(1.0)
    with pytest.raises(kind, match=message):
        f(jnp.array([0.0, 1.0]))
    run = st.jit(f)
    assert run(-1.0) == -1
    with pytest.raises(jax.errors.JaxRuntimeError, match=kind.__name__ if error is KeyError else message):
        jax.block_until_ready(run(1.0))


def test_an_error_in_one_lane_of_a_loop_is_raised() -> None:
    def f(x: Any) -> Any:
        st.jit_error_if(x > 2, "too fast")
        return x * 2

    run = st.jit(st.vmap(lambda x: st.for_loop(lambda i: f(x * i), jnp.ones(2)).sum()))
    np.testing.assert_array_equal(run(jnp.array([1.0, 2.0])), [4, 8])
    with pytest.raises(jax.errors.JaxRuntimeError, match="too fast"):
        jax.block_until_ready(run(jnp.array([1.0, 3.0])))
    assert st.grad(f)(1.0) == 2


def test_a_loop_with_a_check_compiles_once() -> None:
    def loop() -> Any:
        return st.for_loop(lambda x: st.jit_error_if(x < 0, ValueError("negative")), jnp.ones(2))

    loop()
    with compiles() as count:
        loop()
        compiled = count()
    assert compiled == 0


@pytest.mark.parametrize("name", CASES)
def test_an_error_may_be_asked_for_inside_of_any_transform(name: str) -> None:
    model = Model()

    def body(x: Any) -> Any:
        st.jit_error_if(x > 100, "too large")
        return model.step(x)

    run = st.jit(CASES[name].ours(model, body))
    jax.block_until_ready(run(jnp.float32(0.4)))
    with pytest.raises(jax.errors.JaxRuntimeError, match="too large"):
        jax.block_until_ready((run(jnp.float32(101)), model.v.value))


def test_what_is_no_error_is_refused() -> None:
    with pytest.raises(TypeError, match="jit_error_if got a int"):
        st.jit_error_if(True, 3)  # type: ignore[arg-type]


@pytest.mark.parametrize(("op", "expected"), [("any", True), ("all", False), ("max", 3), ("min", 0)])
def test_unvmap_reduces_over_elements_and_all_lanes(op: Any, expected: Any) -> None:
    x = jnp.array([[[0, 1], [2, 3]]])
    x = x > 0 if op in ("any", "all") else x

    def f(x: Any) -> Any:
        return st.unvmap(x, op)

    assert f(x) == expected
    for mapped in (jax.vmap, st.vmap, lambda f: st.jit(st.vmap(f)), lambda f: st.vmap(st.vmap(f, 1))):
        assert (mapped(f)(x) == expected).all()
    jax.vmap(f, out_axes=None)(x)  # raises if the result were mapped


def test_a_cond_on_unvmap_stays_a_choice_of_programs() -> None:
    def f(x: Any) -> Any:
        return st.cond(st.unvmap(x > 0, "any"), jnp.sin, jnp.cos, x)

    assert "cond[" in str(jax.make_jaxpr(jax.vmap(f))(jnp.ones(3)))
    assert "cond[" not in str(jax.make_jaxpr(jax.vmap(lambda x: st.cond(x > 0, jnp.sin, jnp.cos, x)))(jnp.ones(3)))


def test_unvmap_has_no_derivative_and_four_reductions() -> None:
    assert jax.grad(lambda x: x * st.unvmap(x, "max"))(3.0) == 3
    with pytest.raises(ValueError, match="op='sum'"):
        st.unvmap(1.0, "sum")  # type: ignore[arg-type]
