"""checkpoint and the loops that compute again: the same values and gradients, in less memory."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import spikax_transform as st
from tests.transform.counting import Counted, compiles

OUTER: dict[str, Any] = {"eager": lambda f: f, "jit": st.jit}


def residuals(f: Any, x: Any) -> int:
    """How many numbers the backward pass of a function remembers."""
    _, pullback = jax.vjp(f, x)
    return sum(leaf.size for leaf in jax.tree.leaves(pullback))


class Layer:
    """A weight, and a counter of calls."""

    def __init__(self) -> None:
        self.w, self.n = st.ParamState(jnp.float32(0.5)), st.State(jnp.int32(0))

    def call(self, x: Any) -> Any:
        self.n.value = self.n.value + 1
        return jnp.sin(jnp.sin(self.w.value * x))


@pytest.mark.parametrize("outer", OUTER)
def test_checkpoint_changes_neither_values_nor_gradients_nor_writes(outer: str) -> None:
    model = Layer()
    plain = OUTER[outer](st.grad(lambda x: model.call(model.call(x)).sum(), model.w, 0, return_value=True))
    again = OUTER[outer](
        st.grad(lambda x: st.checkpoint(model.call)(st.remat(model.call)(x)).sum(), model.w, 0, return_value=True)
    )
    x = jnp.array([0.3, -2.0])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), plain(x), again(x))
    assert model.n.value == 4


def test_checkpoint_remembers_its_inputs_only() -> None:
    model, x = Layer(), jnp.ones(100)

    def body(x: Any) -> Any:
        return jnp.sin(jnp.sin(jnp.sin(model.w.value * x)))

    assert residuals(st.checkpoint(body), x) <= 101 < residuals(body, x)
    everything = st.checkpoint(body, policy=jax.checkpoint_policies.everything_saveable)
    assert residuals(everything, x) > 101


def test_checkpoint_runs_the_python_on_each_call_and_compiles_once() -> None:
    model, factor = Layer(), 2.0
    body = Counted(lambda x: model.call(x) * factor)

    def gradient() -> Any:
        return st.grad(lambda x: st.checkpoint(lambda x: body(x))(x))(jnp.float32(1))

    first = gradient()
    with compiles() as count:
        second = gradient()
        compiled = count()
    assert (float(first), body.runs, compiled) == (float(second), 2, 0)
    factor = 4.0
    np.testing.assert_allclose(gradient(), 2 * first, rtol=1e-6)


def test_checkpoint_passes_static_and_keyword_arguments_and_decorates_methods() -> None:
    class Model:
        def __init__(self) -> None:
            self.w = st.State(jnp.float32(3))

        @st.checkpoint(static_argnums=(1, -1))
        def power(self, x: Any, n: int, name: str, *, shift: Any) -> Any:
            assert (n, name) == (2, "n")
            return (self.w.value * x) ** n + shift["a"]

        @st.checkpoint
        def plain(self, x: Any) -> Any:
            return self.w.value * x

    model = Model()
    assert model.power(jnp.float32(2), 2, "n", shift={"a": jnp.float32(1)}) == 37
    assert model.plain(2.0) == 6
    with pytest.raises(st.ArgumentNumberError, match=r"static_argnums=\(1, -1\), but the call has 1 positional"):
        model.power(jnp.float32(2))  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="checkpoint got an argument of type str"):
        st.checkpoint(lambda x: 1)("x")


def test_an_exception_in_a_checkpoint_restores_the_states() -> None:
    model = Layer()

    def fail(x: Any) -> Any:
        model.call(x)
        raise KeyError("user")

    with pytest.raises(KeyError, match="user"):
        st.checkpoint(fail)(1.0)
    assert model.n.value == 0


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [0, 1, 2, 3, 4, 8, 9, 11])
def test_checkpointed_loops_equal_the_plain_ones(length: int, reverse: bool) -> None:
    xs = jnp.arange(float(length)) / 10

    def run(loop: Any, **options: Any) -> Any:
        v, w = st.State(jnp.float32(0.3)), st.ParamState(jnp.float32(0.9))

        def body(c: Any, x: Any) -> Any:
            v.value = jnp.tanh(w.value * v.value + x)
            return c + v.value, v.value * c

        def loss(xs: Any) -> Any:
            c, ys = loop(body, jnp.float32(1), xs, length, reverse=reverse, **options)
            return c + ys.sum(), (ys, v.value)

        return st.grad(loss, [w, v], 0, has_aux=True, check_states=False)(xs)

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
        run(st.checkpointed_scan, base=2),
        run(st.scan),
    )


def test_a_checkpointed_loop_remembers_few_steps() -> None:
    def run(loop: Any, x: Any, **options: Any) -> Any:
        return loop(lambda c, _: (jnp.sin(c + x), None), jnp.zeros(10), length=256, **options)[0]

    # 4 levels of 4 carries; a plain loop remembers all 256
    assert residuals(lambda x: run(st.checkpointed_scan, x, base=4), 1.0) < 300
    assert residuals(lambda x: run(st.scan, x), 1.0) >= 2560


def test_repeated_eager_checkpointed_loops_compile_nothing() -> None:
    model = Layer()
    st.checkpointed_for_loop(lambda x: model.call(x), jnp.ones(5), base=2)
    with compiles() as count:
        st.checkpointed_for_loop(lambda x: model.call(x), jnp.ones(5), base=2)
        compiled = count()
    assert compiled == 0
    assert model.n.value == 10


def test_a_base_of_one_is_an_error() -> None:
    with pytest.raises(st.LoopLengthError, match="checkpointed_for_loop got base=1"):
        st.checkpointed_for_loop(lambda: None, length=3, base=1)
