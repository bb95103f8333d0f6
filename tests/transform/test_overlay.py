"""Values during a trace: seen by the trace alone, and gone when it ends."""

import threading
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import spikax_transform as st

RAW: dict[str, Callable[[Callable[[Any], Any]], Any]] = {
    "jit": lambda f: jax.jit(f)(1.0),
    "scan": lambda f: jax.lax.scan(lambda c, x: (c, f(x)), 0.0, jnp.ones(2)),
    "cond": lambda f: jax.lax.cond(jnp.bool_(True), f, f, 1.0),
    "checkpoint": lambda f: jax.checkpoint(f)(1.0),
    "fori_loop": lambda f: jax.lax.fori_loop(0, 2, lambda i, c: f(c), 0.0),
}


def inside(transform: str, f: Callable[[], Any]) -> Any:
    """Call `f` in the Python of one of our transforms."""
    match transform:
        case "nothing":
            return f()
        case "jit":
            return st.jit(f)()
        case "for_loop":
            return st.for_loop(f, length=2)
        case _:
            return st.vector_grad(lambda x: x * f())(1.0)


@pytest.mark.parametrize("outer", ["nothing", "jit", "for_loop", "gradient"])
@pytest.mark.parametrize("raw", RAW)
def test_a_read_inside_a_raw_caching_transform_is_an_error(raw: str, outer: str) -> None:
    # a naive engine bakes the value of the first call into JAX's cache, and gives it for ever
    v = st.State(jnp.float32(1), name="v")
    with pytest.raises(st.RawTransformError, match=r"State 'v'.*read inside a raw JAX transform"):
        inside(outer, lambda: RAW[raw](lambda x: v.value * x))
    assert v.value == 1


@pytest.mark.parametrize("outer", ["nothing", "jit", "for_loop", "gradient"])
@pytest.mark.parametrize("raw", RAW)
def test_a_write_inside_a_raw_caching_transform_is_an_error(raw: str, outer: str) -> None:
    v = st.State(jnp.float32(1), name="v")

    def write(x: Any) -> Any:
        v.value = x
        return x

    with pytest.raises(st.RawTransformError, match=r"State 'v'.*written inside a raw JAX transform"):
        inside(outer, lambda: RAW[raw](write))
    assert v.value == 1


@pytest.mark.parametrize("outer", ["nothing", "jit", "for_loop", "gradient"])
@pytest.mark.parametrize("raw", [jax.vmap, jax.grad])
def test_a_read_inside_a_raw_transform_that_does_not_cache_is_right(raw: Any, outer: str) -> None:
    v = st.State(jnp.float32(3))
    x = jnp.ones(2) if raw is jax.vmap else jnp.float32(1)

    def total() -> Any:
        return jnp.sum(raw(lambda y: y * v.value)(x))

    expected = 6.0 if raw is jax.vmap else 3.0
    assert jnp.all(inside(outer, total) == expected)


@pytest.mark.parametrize("outer", ["nothing", "jit", "for_loop", "gradient"])
@pytest.mark.parametrize("raw", [jax.vmap, jax.grad])
def test_a_tracer_of_a_raw_transform_cannot_be_written(raw: Any, outer: str) -> None:
    v = st.State(jnp.float32(1))
    x = jnp.ones(2) if raw is jax.vmap else jnp.float32(1)

    def write(y: Any) -> Any:
        v.value = y
        return y

    with pytest.raises(st.RawTransformError, match="outlive"):
        inside(outer, lambda: jnp.sum(raw(write)(x)))
    assert v.value == 1


def test_a_plain_value_may_be_counted_inside_a_raw_vmap() -> None:
    v = st.State(jnp.int32(0))

    def count(x: jax.Array) -> Any:
        v.value = v.value + 1
        return x

    jax.vmap(count)(jnp.ones(4))
    assert v.value == 1


def test_a_raw_jit_around_a_state_transform_leaves_no_tracer() -> None:
    v = st.State(jnp.float32(0), name="v")

    def step() -> Any:
        v.value = v.value + 1
        return v.value

    with pytest.raises(st.RawTransformError):
        jax.jit(lambda: st.for_loop(step, length=3))()
    assert v.value == 0
    assert not isinstance(v.value, jax.core.Tracer)


@pytest.mark.parametrize("outer", ["jit", "for_loop", "gradient"])
def test_an_exception_restores_every_state(outer: str) -> None:
    v, w = st.State(jnp.float32(1)), st.State({"x": jnp.zeros(2)})
    before = (v.value, w.value)

    def fail() -> Any:
        v.value = v.value + 1
        w.value = {"x": jnp.ones(3), "y": jnp.ones(1)}
        raise KeyError("user")

    with pytest.raises(KeyError, match="user"):
        inside(outer, fail)
    assert v.value is before[0]
    assert w.value is before[1]


def test_another_thread_reads_the_value_and_not_the_tracer_of_a_trace() -> None:
    v = st.State(jnp.float32(1))
    seen: list[Any] = []

    def step() -> Any:
        v.value = v.value * 2
        reader = threading.Thread(target=lambda: seen.append(v.value))
        reader.start()
        reader.join()
        return v.value

    st.jit(step)()
    assert seen == [1.0]
    assert not isinstance(seen[0], jax.core.Tracer)
    assert v.value == 2


def test_two_threads_trace_at_once_without_seeing_each_other() -> None:
    v = st.State(jnp.float32(1))
    barrier = threading.Barrier(2)
    results: list[float] = []

    def run(factor: float) -> None:
        def step() -> Any:
            barrier.wait()
            return v.value * factor

        results.append(float(st.jit(step)()))

    threads = [threading.Thread(target=run, args=(factor,)) for factor in (2.0, 3.0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [2.0, 3.0]


@pytest.mark.parametrize("leak", [float, bool, int, np.asarray], ids=lambda f: f.__name__)
def test_a_value_cannot_be_taken_out_of_a_trace(leak: Callable[[Any], Any]) -> None:
    v = st.State(jnp.float32(1))
    with pytest.raises((jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError)):
        st.jit(lambda: leak(v.value))()


@pytest.mark.parametrize("outer", ["for_loop", "gradient"])
def test_a_state_created_inside_and_read_afterwards_names_the_line_that_created_it(outer: str) -> None:
    kept: list[st.State[Any]] = []

    def make() -> Any:
        kept.append(st.State(jnp.float32(2)))
        return kept[-1].value

    inside(outer, make)
    with pytest.raises(st.StateUnavailableError, match=r"test_overlay\.py:\d+ has no value.*has ended"):
        _ = kept[0].value


def test_a_state_cannot_be_created_from_a_tracer_of_a_raw_transform() -> None:
    with pytest.raises(st.RawTransformError):
        jax.vmap(lambda x: st.State(x).value)(jnp.ones(2))


def test_a_state_read_in_a_custom_derivative_rule_is_an_error() -> None:
    v = st.State(jnp.float32(2), name="v")

    @jax.custom_jvp
    def f(x: jax.Array) -> Any:
        return x

    @f.defjvp
    def rule(primals: Any, tangents: Any) -> Any:
        return primals[0], tangents[0] * v.value

    with pytest.raises(st.RawTransformError):
        st.grad(lambda x: f(x) * v.value, v, argnums=0)(1.0)


def test_a_write_that_is_refused_keeps_the_others_from_being_made() -> None:
    # written one after the other, the first would stay
    a, b = st.State(jnp.float32(1)), st.State(jnp.float32(2))

    def both(x: Any) -> Any:
        a.value, b.value = jnp.float32(3), x
        return x

    for transform in (st.vector_grad, lambda f: lambda x: st.vmap(f, None, None, axis_size=2)(x)):
        with pytest.raises(st.RawTransformError, match="outlive"):
            jax.grad(lambda x, t=transform: t(both)(x).sum())(1.0)
        assert (a.value, b.value) == (1, 2)
