"""vjp, jvp and linearize over States, against the same of JAX on the pure function."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import spikax_transform as st
from tests.transform.counting import Counted

X, Y = jnp.array([0.5, -1.0]), jnp.float32(2)
W, B = jnp.array([1.5, 0.25]), {"a": jnp.array([1.0, -2.0])}
DX, DY, DW, DB = jnp.array([1.0, 2.0]), jnp.float32(-1), jnp.array([0.5, 3.0]), {"a": jnp.array([-1.0, 1.0])}
CT = {"r": jnp.array([1.0, -3.0]), "s": jnp.float32(0.5)}


def pure(s: Any, x: Any, y: Any) -> Any:
    r = jnp.sin(s["w"] * x) * s["b"][0]["a"] * y
    return {"r": r, "s": (r * s["w"]).sum()}


class Model:
    def __init__(self) -> None:
        self.w, self.b, self.calls = st.ParamState(W), st.State(B), st.State(jnp.int32(0))
        self.states = {"w": self.w, "b": [self.b]}

    def output(self, x: Any, y: Any) -> Any:
        self.calls.value = self.calls.value + 1
        out = pure({"w": self.w.value, "b": [self.b.value]}, x, y)
        self.w.value = self.w.value * 2
        return out

    def with_aux(self, x: Any, y: Any) -> Any:
        return self.output(x, y), ("text", x)


def check(actual: Any, wanted: Any) -> None:
    structures: list[Any] = [jax.tree.structure(actual), jax.tree.structure(wanted)]
    assert structures[0] == structures[1]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), actual, wanted)


VALUES, TANGENTS = {"w": W, "b": [B]}, {"w": DW, "b": [DB]}


def test_vjp_gives_the_cotangents_of_states_and_of_arguments() -> None:
    model = Model()
    out, pullback = st.vjp(model.output, X, Y, grad_states=model.states)
    wanted, plain = jax.vjp(pure, VALUES, X, Y)
    of_states, *of_args = plain(CT)
    check(out, wanted)
    check(pullback(CT), (of_states, tuple(of_args)))
    check(pullback(CT), (of_states, tuple(of_args)))
    assert model.calls.value == 1
    np.testing.assert_array_equal(model.w.value, 2 * W)


def test_vjp_of_arguments_only_is_that_of_jax() -> None:
    model = Model()
    check(st.vjp(model.output, X, Y)[1](CT), jax.vjp(lambda x, y: pure(VALUES, x, y), X, Y)[1](CT))


def test_vjp_of_states_only_keeps_the_pair() -> None:
    model = Model()
    out, pullback = st.vjp(lambda: model.output(X, Y), grad_states=model.w)
    of_w, of_args = pullback(out)
    assert of_args == ()
    check(of_w, jax.vjp(lambda w: pure({"w": w, "b": [B]}, X, Y), W)[1](out)[0])


def test_jvp_pushes_the_tangents_of_states_and_of_arguments() -> None:
    model = Model()
    actual = st.jvp(model.output, (X, Y), (DX, DY), grad_states=model.states, state_tangents=TANGENTS)
    check(actual, jax.jvp(pure, (VALUES, X, Y), (TANGENTS, DX, DY)))
    assert model.calls.value == 1
    np.testing.assert_array_equal(model.w.value, 2 * W)
    model = Model()
    check(st.jvp(model.output, [X, Y], [DX, DY]), jax.jvp(lambda x, y: pure(VALUES, x, y), (X, Y), (DX, DY)))


def test_linearize_pushes_many_tangents_and_runs_the_python_once() -> None:
    model = Model()
    fun = Counted(model.output)
    out, pushforward = st.linearize(fun, X, Y, grad_states=model.states)
    for scale in (1.0, 2.0):
        tangents: Any = jax.tree.map(lambda t, scale=scale: t * scale, (TANGENTS, DX, DY))
        check((out, pushforward(*tangents)), jax.jvp(pure, (VALUES, X, Y), tangents))
    assert (fun.runs, model.calls.value) == (1, 1)
    model = Model()
    check(st.linearize(model.output, X, Y)[1](DX, DY), jax.jvp(lambda x, y: pure(VALUES, x, y), (X, Y), (DX, DY))[1])


def test_aux_may_be_any_object() -> None:
    model = Model()
    for result in (
        st.vjp(model.with_aux, X, Y, grad_states=model.w, has_aux=True),
        st.jvp(model.with_aux, (X, Y), (DX, DY), has_aux=True),
        st.linearize(model.with_aux, X, Y, has_aux=True),
    ):
        assert len(result) == 3
        assert result[2][0] == "text"
        np.testing.assert_array_equal(result[2][1], X)
    with pytest.raises(st.AuxError, match=r"jvp with has_aux=True.*expected a pair"):
        st.jvp(lambda x: (x, 1, 2), (1.0,), (1.0,), has_aux=True)  # type: ignore[call-overload]


def test_they_work_under_jit_and_a_pullback_may_leave_it() -> None:
    model = Model()
    _, pullback = st.jit(lambda x: st.vjp(model.output, x, Y, grad_states=model.w))(X)
    plain = jax.vjp(lambda w, x, y: pure({"w": w, "b": [B]}, x, y), W, X, Y)[1](CT)
    check(pullback(CT), (plain[0], plain[1:]))
    assert model.calls.value == 1


def test_a_pullback_uses_the_values_at_the_call() -> None:
    w = st.ParamState(jnp.float32(3))
    _, pullback = st.vjp(lambda x: w.value**2 * x, jnp.float32(1), grad_states=w)
    w.value = jnp.float32(100)
    assert pullback(jnp.float32(1))[0] == 6


def test_in_a_loop_and_in_another_gradient() -> None:
    w = st.ParamState(jnp.float32(3))

    def tangent(x: Any) -> Any:
        return st.jvp(lambda x: w.value**2 * x, (x,), (jnp.zeros_like(x),), grad_states=w, state_tangents=1.0)[1]

    np.testing.assert_allclose(st.for_loop(tangent, jnp.arange(3.0)), [0, 6, 12])
    assert st.grad(tangent, w)(jnp.float32(5)) == 10


def test_integers_have_cotangents_of_float0_as_in_jax() -> None:
    n = st.State(jnp.array([1, 2]))
    _, pullback = st.vjp(lambda x: x * n.value.astype(jnp.float32), X, grad_states=n)
    assert pullback(X)[0].dtype == jax.dtypes.float0


@pytest.mark.parametrize(
    "call",
    [
        lambda f, w: st.vjp(f, grad_states=w),
        lambda f, w: st.jvp(f, (), (), grad_states=w, state_tangents=jnp.float32(1)),
        lambda f, w: st.linearize(f, grad_states=w),
    ],
    ids=["vjp", "jvp", "linearize"],
)
def test_a_state_that_is_never_read_or_overwritten_is_reported(call: Any) -> None:
    w, v = st.ParamState(jnp.float32(1), name="w"), st.State(jnp.float32(0))

    def unread() -> Any:
        v.value = jnp.float32(7)
        return v.value

    with pytest.raises(st.UnreadStateError, match="'w'"):
        call(unread, w)
    assert v.value == 0

    def overwritten() -> Any:
        w.value = jnp.float32(7)
        return w.value

    with pytest.warns(st.OverwrittenStateWarning, match="'w'") as caught:
        call(overwritten, w)
    assert caught[0].filename == __file__


def test_check_states_false_gives_zeros() -> None:
    w = st.ParamState(W)
    assert not st.vjp(lambda x: x, 1.0, grad_states=w, check_states=False)[1](1.0)[0].any()


def test_bad_input_is_refused_by_name() -> None:
    w = st.ParamState(W, name="w")
    f = lambda x: w.value * x  # noqa: E731
    with pytest.raises(TypeError, match="vjp got neither arguments nor grad_states"):
        st.vjp(lambda: w.value)
    with pytest.raises(TypeError, match="linearize got a float as its first argument"):
        st.linearize(3.0, 1.0)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="jvp got tangents of type float"):
        st.jvp(f, (1.0,), 1.0)  # type: ignore[call-overload]
    with pytest.raises(st.StateArgumentError, match="passed to"):
        st.vjp(f, w)
    with pytest.raises(st.GradStatesError, match="no grad_states"):
        st.jvp(f, (1.0,), (1.0,), state_tangents=DW)
    with pytest.raises(st.GradStatesError, match=r"state_tangents of the structure.*grad_states"):
        st.jvp(f, (1.0,), (1.0,), grad_states=[w], state_tangents=DW)
    with pytest.raises(st.GradStatesError, match=r"the tangent f32\[3\] for ParamState 'w'.*expected f32\[2\]"):
        st.jvp(f, (1.0,), (1.0,), grad_states=w, state_tangents=jnp.ones(3))
    with pytest.raises(st.GradStatesError, match="jvp got the tangent None"):
        st.jvp(f, (1.0,), (1.0,), grad_states=w)
