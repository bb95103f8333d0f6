"""A body is compiled as it was traced, and that is the loop which `lax.scan` makes of it when it traces it again."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import spikax_transform as st
from spikax_transform import _compat

Loop = Callable[[jax.Array], Any]


class Net:
    """States that a body only reads, reads and writes, and only writes."""

    def __init__(self) -> None:
        self.w, self.v, self.last = st.State(jnp.arange(3.0)), st.State(jnp.ones(3)), st.State(jnp.zeros(3))

    def step(self, x: Any) -> Any:
        self.v.value = jnp.tanh(0.9 * self.v.value + self.w.value * x)
        self.last.value = x * jnp.ones(3)
        return self.v.value, x + 1.0


def states(xs: jax.Array) -> Any:
    net = Net()
    return st.for_loop(net.step, xs), net.v.value, net.last.value


def backwards(xs: jax.Array) -> Any:
    net = Net()
    return st.for_loop(net.step, xs, reverse=True, unroll=2), net.v.value


def without_inputs(xs: jax.Array) -> Any:
    net = Net()
    return st.for_loop(lambda: net.step(xs[0])[0], length=3), net.v.value


def carry_and_constants(xs: jax.Array) -> Any:
    scale = jnp.sin(xs[0]) + np.float32(2)
    table = np.arange(5, dtype=np.float32)
    return st.scan(
        lambda c, x: ({"a": c["a"] * scale + x, "b": c["b"] + table[2]}, c["a"]), {"a": xs[1], "b": xs[0]}, xs
    )


def nested(xs: jax.Array) -> Any:
    net = Net()
    return st.for_loop(lambda x: st.for_loop(lambda y: net.step(x * y)[0].sum(), xs), xs), net.v.value


def constant_results(xs: jax.Array) -> Any:
    return st.scan(lambda c, x: (c + 1.0, 2.0), jnp.float32(0), xs)


def weak_carry(xs: jax.Array) -> Any:
    return st.scan(lambda c, x: (c + x, None), 0.0, xs)


def shift_register(xs: jax.Array) -> Any:
    return st.scan(lambda c, x: ((x, c[0], jnp.sin(c[1])), c[2]), (xs[0], xs[1], xs[2]), xs)


TAKEN = [states, backwards, without_inputs, carry_and_constants, nested, constant_results, weak_carry, shift_register]
each = pytest.mark.parametrize("loop", TAKEN, ids=lambda loop: loop.__name__)


def answers(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each loop was taken as it was traced, from now on."""
    given: list[bool] = []
    real = _compat.scan_jaxpr

    def scan_jaxpr(*args: Any, **options: Any) -> Any:
        out = real(*args, **options)
        given.append(out is not None)
        return out

    monkeypatch.setattr(_compat, "scan_jaxpr", scan_jaxpr)
    return given


def trace_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_compat, "scan_jaxpr", lambda *args, **options: None)


def run(loop: Loop) -> Any:
    def total(xs: jax.Array) -> Any:
        return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(loop(xs)))

    xs = jnp.linspace(-1.0, 1.0, 4)
    batched = jnp.stack([xs, 2 * xs])
    return (
        st.jit(lambda: loop(xs))(),
        st.jit(lambda: st.grad(total)(xs))(),
        st.jit(lambda: st.jacfwd(total)(xs))(),
        st.jit(lambda: st.vmap(loop)(batched))(),
    )


@each
def test_values_and_derivatives_are_those_of_a_loop_that_is_traced_again(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = answers(monkeypatch)
    got = run(loop)
    assert taken
    assert all(taken)
    trace_again(monkeypatch)
    expected = run(loop)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), got, expected)


@each
def test_the_program_is_the_same(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    def scans() -> list[Any]:
        program = st.make_jaxpr(lambda: loop(jnp.ones(4)))()
        return [eqn for eqn in program.eqns if eqn.primitive.name == "scan"]

    got = scans()
    trace_again(monkeypatch)
    expected = scans()
    assert len(got) == len(expected) == 1
    for a, b in zip(got, expected, strict=True):
        assert [var.aval for var in a.outvars] == [var.aval for var in b.outvars]
        assert len(a.invars) == len(b.invars)
        assert a.params.keys() == b.params.keys()
        assert all(a.params[name] == b.params[name] for name in a.params if name != "jaxpr")
        assert len(a.params["jaxpr"].eqns) == len(b.params["jaxpr"].eqns)


@pytest.mark.parametrize(
    "loop",
    [
        lambda xs: st.scan(lambda c, x: (c, c * x), xs[0], xs),  # a carry that stays as it is
        lambda xs: st.for_loop(lambda x: x, xs),  # an input that is stacked again
        lambda xs: st.for_loop(lambda x: jax.debug.print("{}", x, ordered=True) or x + 1.0, xs),
    ],
    ids=["carry", "input", "effect"],
)
def test_jax_traces_what_it_makes_more_of(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = answers(monkeypatch)
    xs = jnp.arange(1.0, 4.0)
    got = st.jit(lambda: loop(xs))()
    trace_again(monkeypatch)
    jax.tree.map(np.testing.assert_array_equal, got, st.jit(lambda: loop(xs))())
    assert taken
    assert not any(taken)


def test_steps_that_are_divided_among_devices_are_refused_as_by_jax() -> None:
    mesh = jax.make_mesh((4,), ("steps",), axis_types=(jax.sharding.AxisType.Explicit,))
    xs = jax.device_put(jnp.arange(4.0), jax.NamedSharding(mesh, jax.P("steps")))
    with jax.set_mesh(mesh), pytest.raises(ValueError, match="0th dimension of all xs should be replicated"):
        st.jit(lambda: st.for_loop(lambda x: x + 1.0, xs))()


def test_a_kind_of_loop_that_is_not_known_is_traced_by_jax(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = st.jit(lambda: states(jnp.ones(4)))()
    monkeypatch.setattr(_compat, "_scan_equation", lambda *numbers: None)
    jax.tree.map(np.testing.assert_array_equal, st.jit(lambda: states(jnp.ones(4)))(), expected)
