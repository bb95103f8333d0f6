"""What spikax_transform costs beside bare JAX, in one process: ``python -m tests.benchmarks.transform``.

Prints, asserts nothing. Times are medians of microseconds that the calling thread computed.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import spikax_transform as st


def compare(name: str, ours: Callable[[], Any], bare: Callable[[], Any], number: int, repeats: int = 40) -> None:
    """One line of the table: the two by turns, so that a busy machine slows both."""
    ours()
    bare()
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for f, measured in zip((ours, bare), times, strict=True):
            start = time.thread_time()  # what this thread computed, whatever else the machine does
            for _ in range(number):
                f()
            measured.append(1e6 * (time.thread_time() - start) / number)
    a, b = map(statistics.median, times)
    print(f"{name:42s} {a:10.1f} {b:10.1f} {a / b:7.2f} {a - b:+9.1f}")


def dispatch(count: int, written: bool) -> None:
    """A call of a jitted function of `count` States, beside the same leaves passed by hand."""
    states = [st.State(jnp.ones(3)) for _ in range(count)]
    leaves = [state.value for state in states]

    @st.jit
    def ours(x: jax.Array) -> jax.Array:
        total = x
        for state in states:
            total = total + state.value
            if written:
                state.value = state.value * 1.01
        return total

    @jax.jit
    def bare(leaves: list[jax.Array], x: jax.Array) -> Any:
        total = x
        for leaf in leaves:
            total = total + leaf
        return (total, [leaf * 1.01 for leaf in leaves]) if written else total

    x = jnp.ones(3)

    def by_hand() -> None:
        nonlocal leaves
        out = bare(leaves, x)
        if written:
            leaves = out[1]

    what = "written" if written else "read"
    compare(f"jit, {count} States {what}", lambda: ours(x), by_hand, 200 if count < 50 else 40)


def step_of(depth: int) -> Callable[[jax.Array, jax.Array, jax.Array], jax.Array]:
    """A body with a few dozen operations, as a neuron model has."""

    def step(v: jax.Array, w: jax.Array, x: jax.Array) -> jax.Array:
        for _ in range(depth):
            v = jnp.where(v > 1.0, 0.0, v * 0.9 + jnp.tanh(w * x))
        return v

    return step


def tracing(depth: int) -> None:
    """The time to trace a loop under jit at first sight, without compiling."""
    step, xs = step_of(depth), jnp.ones((100, 8))

    def ours() -> None:
        v, w = st.State(jnp.zeros(8)), st.State(jnp.ones(8))

        def body(x: jax.Array) -> jax.Array:
            v.value = step(v.value, w.value, x)
            return v.value

        st.jit(lambda xs: st.for_loop(body, xs)).trace(xs)

    def bare() -> None:
        def run(v: jax.Array, w: jax.Array, xs: jax.Array) -> Any:
            def body(v: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
                v = step(v, w, x)
                return v, v

            return jax.lax.scan(body, v, xs)

        jax.jit(run).trace(jnp.zeros(8), jnp.ones(8), xs)

    compare(f"trace jit of for_loop, {4 * depth} operations", ours, bare, 5, 10)


def eager_loop(depth: int) -> None:
    """A repeated eager loop with a fresh lambda, beside tracing its body, and a jitted scan that is only called."""
    step, xs = step_of(depth), jnp.ones((100, 8))
    v, w = st.State(jnp.zeros(8)), st.State(jnp.ones(8))

    def body(x: jax.Array) -> jax.Array:
        v.value = step(v.value, w.value, x)
        return v.value

    run = jax.jit(lambda v, w, xs: jax.lax.scan(lambda v, x: (step(v, w, x),) * 2, v, xs))
    zeros, ones = jnp.zeros(8), jnp.ones(8)
    compare(
        f"eager for_loop again, {4 * depth} operations",
        lambda: st.for_loop(lambda x: body(x), xs),
        lambda: jax.make_jaxpr(lambda v, x: step(v, ones, x))(zeros, zeros),
        20,
        10,
    )
    compare("  beside a jitted scan", lambda: st.for_loop(lambda x: body(x), xs), lambda: run(zeros, ones, xs), 20, 10)


def main() -> None:
    """Print the table."""
    print(f"jax {jax.__version__}, {jax.devices()[0].platform}")
    print(f"{'':42s} {'ours':>10s} {'bare':>10s} {'ratio':>7s} {'more':>9s}")
    for written in (False, True):
        for count in (0, 1, 10, 100):
            dispatch(count, written)
    for depth in (1, 10):
        tracing(depth)
    for depth in (1, 10):
        eager_loop(depth)


if __name__ == "__main__":
    main()
