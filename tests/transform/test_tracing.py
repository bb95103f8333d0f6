"""What was traced is copied into the programs around it: no operation is asked for its type again, none is changed."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import Primitive  # noqa: TID251 - JAX has no other operation that can be counted

import spikax_transform as st


class CountedPrimitive(Primitive):
    """The identity, which counts how often JAX worked out its type: what tracing an operation costs."""

    def __init__(self) -> None:
        super().__init__("counted")
        self.bound = 0
        self.def_abstract_eval(lambda aval: aval)  # type: ignore[no-untyped-call]

    def bind(self, *args: Any, **params: Any) -> Any:
        self.bound += 1
        return super().bind(*args, **params)  # type: ignore[no-untyped-call]


def nested(depth: int, body: Any, loop: Any) -> Any:
    """A loop of loops of loops around the body."""
    for _ in range(depth):
        body = (lambda inner: lambda: loop(inner))(body)
    return body


@pytest.mark.parametrize(
    "loop",
    [
        lambda f: st.for_loop(f, length=2),
        lambda f: st.cond(True, f, lambda: None),
        lambda f: st.while_loop(lambda c: c < 2, lambda c: (f(), c + 1)[1], 0),
        lambda f: st.checkpoint(f)(),
        lambda f: st.jit(f)(),
    ],
    ids=["for_loop", "cond", "while_loop", "checkpoint", "jit"],
)
def test_an_operation_is_bound_once_however_deep_it_is(loop: Any) -> None:
    counted, v = CountedPrimitive(), st.State(jnp.zeros(3))

    def step() -> None:
        v.value = counted.bind(v.value) + 1.0

    st.jit(nested(3, step, loop)).trace()
    assert counted.bound == 1


def located(x: Any) -> Any:
    """One operation, in a named scope."""
    with jax.named_scope("membrane"):
        return jnp.tanh(x)


def test_operations_keep_their_names_and_the_users_lines() -> None:
    v = st.State(jnp.zeros(3))

    def step(x: Any) -> Any:
        v.value = located(v.value * x)
        return v.value

    text = jax.jit(lambda xs: st.for_loop(located, xs)).lower(jnp.ones((4, 3))).as_text(debug_info=True)
    assert "membrane" in text
    line = located.__code__.co_firstlineno + 3
    assert f'test_tracing.py":{line}:' in text
    compiled = st.jit(lambda xs: st.for_loop(step, xs)).lower(jnp.ones((4, 3))).compile().as_text()
    assert "membrane/tanh" in compiled


def test_what_was_traced_for_other_types_is_typed_anew() -> None:
    # `scan` of JAX makes the carry strong: what was written down for a plain number is then not what runs
    v, w = st.State(0.0), st.State(jnp.float32(2))

    def step(x: Any) -> Any:
        v.value = v.value + w.value * x
        return v.value

    out = st.jit(lambda xs: st.for_loop(step, xs))(jnp.ones(3))
    np.testing.assert_array_equal(out, [2.0, 4.0, 6.0])
    assert not out.weak_type
    assert not jnp.asarray(v.value).weak_type


def test_literals_and_arguments_that_are_results_come_through() -> None:
    v = st.State(jnp.float32(1))

    def step(x: Any) -> Any:
        v.value = x
        return x, 1.5, True, jnp.arange(2)

    passed, number, flag, array = st.jit(lambda xs: st.for_loop(step, xs))(jnp.arange(3.0))
    np.testing.assert_array_equal(passed, [0, 1, 2])
    np.testing.assert_array_equal(number, [1.5] * 3)
    np.testing.assert_array_equal(flag, [True] * 3)
    np.testing.assert_array_equal(array, [[0, 1]] * 3)
    assert float(v.value) == 2.0


def test_a_loop_updates_mutable_arrays_of_its_own_and_of_others() -> None:
    # an equation knows the variable of a mutable array, which is another one in another program: it is not copied
    total, v = jax.new_ref(jnp.zeros(3)), st.State(jnp.float32(0))

    def step(x: Any) -> Any:
        v.value = v.value + x
        total[...] = total[...] + v.value
        local = jax.new_ref(v.value)
        local[...] = local[...] * 2
        return local[...]

    def local_only(x: Any) -> Any:
        local = jax.new_ref(v.value)
        local[...] = local[...] * x
        return local[...]

    np.testing.assert_array_equal(st.jit(lambda xs: st.for_loop(step, xs))(jnp.ones(4)), [2, 4, 6, 8])
    np.testing.assert_array_equal(total[...], [10.0] * 3)
    np.testing.assert_array_equal(st.jit(lambda xs: st.for_loop(local_only, xs))(jnp.ones(2)), [4, 4])
