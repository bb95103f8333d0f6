"""What gradient transforms over mutable state get wrong, each with how a naive engine fails.

A naive engine runs the function once to find its States (with `jax.make_jaxpr`, say), remembers them, and then gives
JAX a pure function that puts tracers into the States, runs the function, and takes them out again.
"""

import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import spikax_transform as st
from tests.transform.counting import Counted

TRANSFORMS = [st.grad, st.fwd_grad, st.vector_grad, st.value_and_grad, st.jacrev, st.jacfwd, st.hessian]
each_transform = pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda transform: transform.__name__)


def blocks(transform: Any, result: Any) -> Any:
    return result[1] if transform is st.value_and_grad else result


@each_transform
def test_a_layer_that_was_replaced_is_the_one_that_counts(transform: Any) -> None:
    """Naive: the States found at the first call are used for ever, and the new layer's value is a constant."""

    class Layer:
        def __init__(self, w: float) -> None:
            self.w = st.ParamState(jnp.float32(w))

    class Model:
        layer = Layer(2)

    model = Model()
    derivative = transform(lambda x: model.layer.w.value * x**2)
    first = blocks(transform, derivative(jnp.float32(3)))
    model.layer = Layer(5)
    second = blocks(transform, derivative(jnp.float32(3)))
    assert second == first * 5 / 2


@each_transform
def test_closures_and_flags_that_changed_between_eager_calls_are_seen(transform: Any) -> None:
    """Naive: the jaxpr of the first call is cached by the identity of the function, and run again."""
    w = st.ParamState(jnp.float32(2))
    settings = {"square": False}
    factor = 1.0

    def f() -> Any:
        return w.value**3 if settings["square"] else w.value**2 * factor

    derivative = transform(f, w)
    first = blocks(transform, derivative())
    factor = 4.0
    assert blocks(transform, derivative()) == 4 * first
    settings["square"] = True
    assert blocks(transform, derivative()) == 12


@each_transform
def test_a_raw_jit_inside_is_not_poisoned(transform: Any) -> None:
    """Naive: the discovery pass traces the inner `jax.jit` with the State's value as a constant, and JAX caches that.

    Here a State read in there is an error, and one passed as an argument has its derivative.
    """
    w = st.ParamState(jnp.float32(2))
    inner = jax.jit(lambda w: w**2)
    derivative = transform(lambda: inner(w.value), w)
    expected = 2 if transform is st.hessian else 4
    assert blocks(transform, derivative()) == expected
    w.value = jnp.float32(10)
    assert blocks(transform, derivative()) == (2 if transform is st.hessian else 20)
    with pytest.raises(st.RawTransformError):
        transform(lambda: jax.jit(lambda: w.value)(), w)()


@each_transform
@pytest.mark.parametrize("how", ["eager", "jit"])
def test_hooks_run_once_for_each_read_and_write(transform: Any, how: str) -> None:
    """Naive: twice, in the discovery and in the trace, and once more when the engine reads and writes the State."""
    w, v = st.ParamState(jnp.float32(2)), st.State(jnp.float32(0))
    events = []
    w.on_read(lambda state, value: events.append("read"))
    v.on_write(lambda state, value: events.append("write"))
    v.on_write(lambda state, value: value + 1)

    def f(x: Any) -> Any:
        v.value = w.value * x
        return v.value * w.value

    derivative = transform(f, w, 0)
    (st.jit(derivative) if how == "jit" else derivative)(jnp.float32(3))
    assert events == ["read", "write", "read"]
    assert v.value == 7


@each_transform
def test_python_runs_once(transform: Any) -> None:
    """Naive: once more to discover; twice more in a Hessian; and a counter in a State is then too far."""
    w, calls = st.ParamState(jnp.float32(2)), st.State(jnp.int32(0))

    @Counted
    def f() -> Any:
        calls.value = calls.value + 1
        return w.value**2

    transform(f, w)()
    assert (f.runs, calls.value) == (1, 1)


@each_transform
@pytest.mark.parametrize("where", ["function", "aux", "check"])
def test_no_tracer_stays_in_a_state_when_the_call_fails(transform: Any, where: str) -> None:
    """Naive: the values are put back at the end only, which an exception skips."""
    w, v, unread = st.ParamState(jnp.float32(2)), st.State(jnp.float32(1)), st.State(jnp.float32(0))

    def f(x: Any) -> Any:
        v.value = w.value * x
        w.value = v.value
        if where == "function":
            raise RuntimeError("in the middle")
        return (v.value, 1, 2) if where == "aux" else (v.value, 1)

    with pytest.raises((RuntimeError, st.AuxError, st.UnreadStateError)):
        transform(f, [w, unread] if where == "check" else w, 0, has_aux=True)(jnp.float32(3))
    assert (w.value, v.value) == (2, 1)
    assert not any(isinstance(state.value, jax.core.Tracer) for state in (w, v))
    assert transform(lambda x: w.value * x, w, 0)(jnp.float32(3)) is not None


@each_transform
def test_a_failed_write_of_another_structure_changes_nothing(transform: Any) -> None:
    """Naive: the State already holds tracers when the frozen State refuses, and keeps them."""
    v = st.State[Any](jnp.float32(2), frozen=True)

    def f() -> Any:
        v.value = {"a": v.value}

    with pytest.raises(st.FrozenStateError):
        transform(f, v)()
    assert v.value == 2


@each_transform
def test_another_thread_that_reads_sees_no_tracer(transform: Any) -> None:
    """Naive: while the function runs, the State itself holds a tracer."""
    w = st.ParamState(jnp.float32(2))
    seen: list[Any] = []

    def f() -> Any:
        w.value = w.value * 3.0
        thread = threading.Thread(target=lambda: seen.append(w.value))
        thread.start()
        thread.join()
        return w.value**2

    transform(f, w)()
    assert seen == [2]
    assert w.value == 6


@pytest.mark.parametrize("transform", [st.vector_grad, st.jacrev, st.jacfwd, st.hessian], ids=lambda t: t.__name__)
def test_pytree_outputs_with_states(transform: Any) -> None:
    """Naive: the engine unpacks the first two items of JAX's result as (of States, of arguments)."""
    w = st.ParamState(jnp.array([1.0, 2.0]))
    of_w, of_x = transform(lambda x: {"a": w.value * x, "b": [w.value.sum() * x, x**2, x]}, w, 0)(jnp.float32(3))
    match transform:
        case st.vector_grad:
            assert (of_w.shape, of_x.shape) == ((2,), ())
        case st.hessian:
            (ww, wx), (xw, xx) = of_w, of_x
            assert [tree["a"].shape for tree in (ww, wx, xw, xx)] == [(2, 2, 2), (2, 2), (2, 2), (2,)]
            np.testing.assert_array_equal(wx["b"][0], [1, 1])
        case _:
            assert (of_w["a"].shape, of_x["a"].shape) == ((2, 2), (2,))
            np.testing.assert_array_equal(of_w["b"][0], [3, 3])


def test_the_hessian_of_a_pytree_valued_state() -> None:
    """Naive: the engine maps over States, so the inner tree of the value is taken for one array."""
    v = st.State[Any]({"a": jnp.float32(2), "b": (jnp.array([1.0, 3.0]),)})

    def f(value: Any) -> Any:
        return value["a"] ** 2 * (value["b"][0] ** 2).sum()

    actual = st.hessian(lambda: f(v.value), v)()
    wanted = jax.hessian(f)(v.value)
    structures: list[Any] = [jax.tree.structure(actual), jax.tree.structure(wanted)]
    assert structures[0] == structures[1]
    jax.tree.map(np.testing.assert_allclose, actual, wanted)


@each_transform
def test_three_items_are_not_a_pair(transform: Any) -> None:
    """Naive: ``out, aux = result[0], result[1]``, and the third item is lost."""
    with pytest.raises(st.AuxError, match="a tuple of 3 items; expected a pair"):
        transform(lambda x: (x, x, x), has_aux=True)(1.0)


@each_transform
def test_no_literal_of_jax_gets_into_states_or_aux(transform: Any) -> None:
    """Naive: evaluating a jaxpr gives JAX's own subclasses of float and int for constants."""
    w, v, n = st.ParamState(jnp.float32(2)), st.State[Any](0.0), st.State[Any](0)

    def f(x: Any) -> Any:
        v.value, n.value = 2.5, 3
        return w.value * x, {"rate": 0.5, "count": 7, "on": True}

    for run in (transform(f, w, 0, has_aux=True), lambda x: transform(f, w, 0, has_aux=True, return_value=True)(x)):
        result = run(jnp.float32(3))
        aux = result[0][1] if transform is st.value_and_grad and len(result) == 2 else result[-1]
        assert [type(aux[key]) for key in ("rate", "count", "on")] == [float, int, bool]
        assert (type(v.value), type(n.value)) == (float, int)


@each_transform
def test_nothing_keeps_a_model_or_a_tracer_alive(transform: Any) -> None:
    """Naive: a cache of jaxprs per function holds the States, and the last call's tracers with them."""

    class Model:
        def __init__(self) -> None:
            self.w = st.ParamState(jnp.float32(2))
            self.derivative = transform(self.loss, self.w)

        def loss(self) -> Any:
            return self.w.value**2

    def use() -> list[Callable[[], Any]]:
        model = Model()
        model.derivative()
        st.jit(model.derivative)()
        return [weakref.ref(model), weakref.ref(model.w)]

    references = use()
    gc.collect()
    assert [reference() for reference in references] == [None, None]
    w = st.ParamState(jnp.float32(2))
    with jax.checking_leaks():
        st.jit(lambda x: transform(lambda: w.value * x, w)())(jnp.float32(1))


@each_transform
def test_a_state_created_inside_and_read_afterwards_names_its_line(transform: Any) -> None:
    """Naive: it holds a tracer, and the error is JAX's about a leak, without the State."""
    box: list[st.State[Any]] = []

    def f(x: Any) -> Any:
        box.append(st.State(x * 2, name="scratch"))
        return box[-1].value ** 2

    transform(f)(jnp.float32(1))
    with pytest.raises(st.StateUnavailableError, match=rf"'scratch'.*{__file__}:\d+.*inside a transformed function"):
        _ = box[-1].value


@each_transform
def test_weak_types_of_states_are_as_after_a_plain_call(transform: Any) -> None:
    """Naive: values come back as strong arrays, so the next jitted step is traced once more and promotes otherwise."""
    w, v = st.ParamState(jnp.float32(2)), st.State(jnp.asarray(1.0))

    def f() -> Any:
        v.value = v.value * 2.0
        return w.value * v.value

    assert v.value.weak_type
    transform(f, w)()
    assert v.value.weak_type


@each_transform
def test_a_state_written_by_a_loop_inside(transform: Any) -> None:
    """Naive: the loop's own discovery nests in the gradient's, and the innermost Python runs four times."""
    w, v = st.ParamState(jnp.float32(0.5)), st.State(jnp.float32(1))

    @Counted
    def step() -> Any:
        v.value = v.value * w.value
        return v.value

    def f() -> Any:
        return st.for_loop(step, length=3)[-1]

    expected = {st.hessian: 6 * 0.5}.get(transform, 3 * 0.5**2)
    assert blocks(transform, transform(f, w)()) == expected
    assert step.runs == 1
    assert v.value == 0.125
