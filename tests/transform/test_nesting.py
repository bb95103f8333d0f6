"""Transforms within transforms, and whatever else a person may think of."""

import copy
import functools
import gc
import threading
import weakref
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import spikax_transform as st
from tests.transform.counting import compiles


def test_jit_in_scan_in_grad_in_jit_equals_jax_and_leaks_nothing() -> None:
    w, v = st.ParamState(jnp.float32(0.5)), st.State(jnp.float32(0))

    @st.jit
    def inner(x: Any) -> Any:
        v.value = v.value * w.value + x
        return v.value

    def loss(xs: Any) -> Any:
        return st.scan(lambda c, x: (c + inner(x), None), jnp.float32(0), xs)[0]

    def pure(w: Any, xs: Any) -> Any:
        def body(c: Any, x: Any) -> Any:
            v = c[0] * w + x
            return (v, c[1] + v), None

        return jax.lax.scan(body, (jnp.float32(0), jnp.float32(0)), xs)[0][1]

    xs = jnp.arange(4.0)
    with jax.checking_leaks():
        ours = st.jit(st.grad(loss, w, 0))(xs)
    for a, b in zip(ours, jax.grad(pure, (0, 1))(jnp.float32(0.5), xs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_a_model_learns_inside_a_loop() -> None:
    w = st.ParamState(jnp.float32(1))

    def learn(x: Any) -> Any:
        gradient, loss = st.grad(lambda: (w.value * x - 1.0) ** 2, w, return_value=True)()
        w.value = w.value - 0.1 * gradient
        return loss

    def pure(w: Any, x: Any) -> Any:
        loss, gradient = jax.value_and_grad(lambda w: (w * x - 1.0) ** 2)(w)
        return w - 0.1 * gradient, loss

    xs = jnp.full(20, 2.0)
    losses = st.jit(lambda xs: st.for_loop(learn, xs))(xs)
    np.testing.assert_allclose(losses, jax.lax.scan(pure, jnp.float32(1), xs)[1], rtol=1e-5)


def test_a_model_may_be_copied_inside_a_trace() -> None:
    model = {"v": st.State(jnp.float32(1))}

    @st.jit
    def f(x: Any) -> Any:
        twin = copy.deepcopy(model)
        twin["v"].value = twin["v"].value + x
        return twin["v"].value

    assert [float(f(1.0)), float(f(1.0)), float(model["v"].value)] == [2, 2, 1]


@pytest.mark.parametrize("kind", ["Explicit", "Auto"])
def test_the_sharding_of_a_state_survives_loops_and_jit(kind: str) -> None:
    mesh = jax.make_mesh((4,), ("d",), axis_types=(getattr(jax.sharding.AxisType, kind),))
    split = jax.NamedSharding(mesh, jax.P("d"))
    with jax.set_mesh(mesh):
        v = st.State(jax.device_put(jnp.arange(8.0), split))

        def step(x: Any) -> Any:
            v.value = v.value * 2.0 + x
            return v.value

        st.for_loop(step, jnp.ones(3))
        st.jit(step)(1.0)
        st.jit(lambda: st.for_loop(step, jnp.ones(2)))()
        assert v.value.sharding.is_equivalent_to(split, 1)
    np.testing.assert_allclose(v.value, 64 * np.arange(8.0) + 63)


def test_plain_numbers_and_numpy_arrays_are_values_too() -> None:
    a, b = st.State[Any](np.arange(3, dtype=np.float64)), st.State[Any]([2, None, True])

    @st.jit
    def f() -> None:
        a.value = a.value * b.value[0]
        b.value = [b.value[0] + 1, None, b.value[2]]

    f()
    f()
    np.testing.assert_array_equal(a.value, [0, 6, 12])
    assert b.value[0] == 4


def test_transforms_without_states_work_inside_raw_jax() -> None:
    with jax.checking_leaks():
        np.testing.assert_array_equal(jax.jit(lambda x: st.for_loop(lambda i: i * 2.0, x))(jnp.ones(3)), [2, 2, 2])
    assert jax.jit(st.grad(lambda x: x**2))(3.0) == 6
    assert jax.vmap(st.jit(lambda x: x + 1))(jnp.zeros(2)).shape == (2,)


def test_a_jitted_function_may_be_mapped_by_jax_if_it_writes_nothing_mapped() -> None:
    w = st.ParamState(jnp.float32(2))
    np.testing.assert_array_equal(jax.vmap(st.jit(lambda x: x * w.value))(jnp.arange(3.0)), [0, 2, 4])
    total = st.jit(lambda x: jax.lax.psum(x * w.value, "i"))
    np.testing.assert_array_equal(jax.vmap(total, axis_name="i")(jnp.arange(3.0)), [6, 6, 6])

    @st.jit
    def write(x: Any) -> Any:
        w.value = w.value + x
        return x

    with pytest.raises(st.RawTransformError):
        jax.vmap(write)(jnp.arange(3.0))
    assert w.value == 2


def test_every_kind_of_callable_can_be_transformed() -> None:
    v = st.State(jnp.float32(3))

    class Scale:
        def __call__(self, x: Any) -> Any:
            return x * v.value

        @staticmethod
        @st.jit
        def static(x: Any) -> Any:
            return x * v.value

    assert st.jit(Scale())(2.0) == 6
    assert st.grad(Scale())(2.0) == 3
    assert Scale.static(2.0) == 6
    assert st.jit(functools.partial(lambda a, b: a * b * v.value, 2.0))(2.0) == 12
    assert st.jit(jnp.sin)(0.0) == 0


def test_a_large_constant_of_an_inner_jit_does_not_compile_again() -> None:
    big = jnp.ones((100, 100))
    inner = jax.jit(lambda x: (big * x).sum())
    xs = jnp.ones(3)
    st.for_loop(lambda x: inner(x), xs)
    with compiles() as count:
        st.for_loop(lambda x: inner(x), xs)
    assert count() == 0


def test_double_precision_is_kept_where_it_is_enabled() -> None:
    with jax.enable_x64(True):
        v = st.State[Any](np.float64(1))

        @st.jit
        def double() -> None:
            v.value = v.value * 2

        double()
        double()
        assert (v.value, v.value.dtype) == (4, np.float64)
        assert st.for_loop(lambda x: x * v.value, jnp.arange(3.0)).dtype == np.float64


def test_a_state_created_in_a_jit_in_a_jit_holds_its_value() -> None:
    box: list[st.State[Any]] = []

    @st.jit
    def inner(x: Any) -> Any:
        box.append(st.State(x))
        return x

    @st.jit
    def outer(x: Any) -> Any:
        return inner(x * 2) + box[-1].value + st.for_loop(lambda i: box[-1].value * i, jnp.ones(2)).sum()

    assert outer(1.0) == 8
    assert box[-1].value == 2
    assert outer(2.0) == 16
    assert box[-1].value == 4


def test_states_may_swap_their_values() -> None:
    a, b = st.State(jnp.float32(1)), st.State(jnp.float32(2))

    def swap() -> None:
        a.value, b.value = b.value, a.value

    st.jit(swap)()
    assert (float(a.value), float(b.value)) == (2, 1)
    st.for_loop(swap, length=3)
    assert (float(a.value), float(b.value)) == (1, 2)


def test_a_call_after_one_that_raised_is_right() -> None:
    v, fail = st.State(jnp.float32(0)), [True]

    @st.jit
    def f(x: Any) -> Any:
        v.value = v.value + x
        if fail[0]:
            raise ValueError("once")
        return v.value

    with pytest.raises(ValueError, match="once"):
        f(1.0)
    fail[0] = False
    assert f(1.0) == 1


def test_many_threads_may_call_one_jitted_function() -> None:
    v = st.State(jnp.float32(2))
    f = st.jit(lambda x: v.value * x)
    results: list[float] = []
    threads = [threading.Thread(target=lambda i=i: results.append(float(f(float(i))))) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [2.0 * i for i in range(8)]


def test_no_cache_keeps_a_model_alive() -> None:
    class Model:
        def __init__(self) -> None:
            self.v = st.State(jnp.ones(3))

        @st.jit
        def step(self) -> Any:
            self.v.value = self.v.value + 1
            return self.v.value

    def use() -> Any:
        model = Model()
        model.step()
        st.for_loop(model.step, length=2)
        st.grad(lambda x: model.step().sum() * x)(1.0)
        return weakref.ref(model), weakref.ref(model.v)

    references = use()
    gc.collect()
    assert [reference() for reference in references] == [None, None]


def test_a_rule_that_reads_a_global_is_never_stale_in_a_loop() -> None:
    settings = {"alpha": 1.0}

    def gradient() -> Any:
        alpha = settings["alpha"]

        @jax.custom_jvp
        def spike(x: Any) -> Any:
            return x * 1.0

        @spike.defjvp
        def rule(primals: Any, tangents: Any) -> Any:
            return spike(*primals), alpha * tangents[0]

        return jax.grad(lambda x: st.for_loop(lambda i: spike(x * i), jnp.ones(2)).sum())(1.0)

    assert gradient() == 2
    settings["alpha"] = 5.0
    assert gradient() == 10
