"""What spikax_transform costs beside bare JAX, in one process: ``python -m tests.benchmarks.transform``.

Prints, asserts nothing. Ours and the others' are timed by turns, in microseconds that the calling thread computed;
a ratio is the median over the turns, because a busy machine may be half as fast from one second to the next.
brainstate, flax nnx and equinox are measured beside where they are installed (the dependency group `bench`).
"""

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

import spikax_transform as st
from tests.transform.counting import compiles

Call: TypeAlias = Callable[[], Any]
Seconds: TypeAlias = Callable[[], float]
Step: TypeAlias = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]

PEERS = {"brainstate": "brainstate", "nnx": "flax", "equinox": "equinox"}
COUNTS = (0, 1, 10, 100)
DEPTHS = (1, 10, 40)
OPERATIONS = 4  # of a step of depth one


def installed() -> list[str]:
    """The peers that can be measured; says of each other one that it is left out."""
    found = []
    for name, package in PEERS.items():
        if find_spec(package) is None:
            print(f"{name} is left out: {package} is not installed")
        else:
            found.append(name)
    return found


# --- time


def timed(call: Call, number: int) -> Seconds:
    """The time of one of `number` calls."""

    def seconds() -> float:
        call()  # what it needs is in the caches again after the others' turns
        start = time.thread_time()  # what this thread computed, whatever else the machine does
        for _ in range(number):
            call()
        return (time.thread_time() - start) / number

    return seconds


def inside(trace: Callable[[Callable[[], jax.Array]], Callable[[], Any]], call: Call, number: int) -> Seconds:
    """The same, within one trace by `trace`: what a part of a larger program costs to be traced."""

    def seconds() -> float:
        measured: list[float] = []

        def program() -> jax.Array:
            measured.append(timed(call, number)())
            return jnp.zeros(())

        trace(program)()
        return measured[0]

    return seconds


def by_turns(subjects: dict[str, Seconds], turns: int) -> dict[str, list[float]]:
    """Microseconds of each subject at each turn."""
    for seconds in subjects.values():
        seconds()
    gc.collect()
    times: dict[str, list[float]] = {name: [] for name in subjects}
    for turn in range(turns):
        order = list(subjects.items())
        for name, seconds in order if turn % 2 else reversed(order):  # none always comes after the slowest
            times[name].append(1e6 * seconds())
    return times


def row(what: str, subjects: dict[str, Seconds], turns: int, bound: str = "") -> None:
    """One line: ours and bare JAX's, and what the peers take in units of bare JAX's."""
    times = by_turns(subjects, turns)
    pairs = list(zip(times["ours"], times["bare"], strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    more = statistics.median(a - b for a, b in pairs)
    ours, bare = statistics.median(times["ours"]), statistics.median(times["bare"])
    others = [
        f"{statistics.median(a / b for a, b in zip(times[name], times['bare'], strict=True)):10.2f}"
        if name in times
        else f"{'-':>10s}"
        for name in PEERS
    ]
    print(f"{what:38s} {ours:9.1f} {bare:9.1f} {ratio:6.2f} {more:+8.1f} {bound:>14s} {''.join(others)}")


def heading(title: str) -> None:
    """The columns of the rows that follow."""
    peers = "".join(f"{name:>10s}" for name in PEERS)
    print(f"\n{title}\n{'':38s} {'ours us':>9s} {'bare us':>9s} {'ratio':>6s} {'more us':>8s} {'bound':>14s} {peers}")


# --- dispatch of `jit`


def our_dispatch(count: int, written: bool) -> Call:
    """A call of a jitted function of `count` States."""
    states = [st.State(jnp.ones(3)) for _ in range(count)]

    @st.jit
    def step(x: jax.Array) -> jax.Array:
        total = x
        for state in states:
            total = total + state.value
            if written:
                state.value = state.value * 1.01
        return total

    x = jnp.ones(3)
    return lambda: step(x)


def bare_dispatch(count: int, written: bool) -> Call:
    """The same leaves passed by hand."""

    @jax.jit
    def step(leaves: list[jax.Array], x: jax.Array) -> Any:
        total = x
        for leaf in leaves:
            total = total + leaf
        return (total, [leaf * 1.01 for leaf in leaves]) if written else total

    x, leaves = jnp.ones(3), [jnp.ones(3) for _ in range(count)]

    def call() -> None:
        nonlocal leaves
        out = step(leaves, x)
        if written:
            leaves = out[1]

    return call


def brainstate_dispatch(count: int, written: bool) -> Call:
    """States captured by closure, as ours."""
    brainstate: Any = import_module("brainstate")
    states = [brainstate.State(jnp.ones(3)) for _ in range(count)]

    def step(x: Any) -> Any:
        total = x
        for state in states:
            total = total + state.value
            if written:
                state.value = state.value * 1.01
        return total

    x, jitted = jnp.ones(3), brainstate.transform.jit(step)
    return lambda: jitted(x)


def nnx_dispatch(count: int, written: bool) -> Call:
    """A module as an argument, which `nnx.jit` takes apart at each call."""
    nnx: Any = import_module("flax.nnx")

    class Model(nnx.Module):  # type: ignore[misc] # no types where it is not installed
        def __init__(self) -> None:
            self.states = nnx.List([nnx.Variable(jnp.ones(3)) for _ in range(count)])

    def step(model: Any, x: Any) -> Any:
        total = x
        for state in model.states:
            total = total + state[...]
            if written:
                state[...] = state[...] * 1.01
        return total

    model, x, jitted = Model(), jnp.ones(3), nnx.jit(step)
    return lambda: jitted(model, x)


def equinox_dispatch(count: int, written: bool) -> Call:
    """A module as an argument, and a new one as a result where it changes."""
    equinox: Any = import_module("equinox")

    class Model(equinox.Module):  # type: ignore[misc] # no types where it is not installed
        states: list[Any]

    def step(model: Any, x: Any) -> Any:
        total = x
        for state in model.states:
            total = total + state
        return (total, Model([state * 1.01 for state in model.states])) if written else total

    model, x, jitted = Model([jnp.ones(3) for _ in range(count)]), jnp.ones(3), equinox.filter_jit(step)

    def call() -> None:
        nonlocal model
        out = jitted(model, x)
        if written:
            model = out[1]

    return call


DISPATCH: dict[str, Callable[[int, bool], Call]] = {
    "ours": our_dispatch,
    "bare": bare_dispatch,
    "brainstate": brainstate_dispatch,
    "nnx": nnx_dispatch,
    "equinox": equinox_dispatch,
}


def dispatch(peers: Sequence[str]) -> None:
    """What a call of a compiled function of States costs before XLA runs."""
    heading("a call of jit (bound: the ratio, or microseconds more)")
    for written in (False, True):
        for count in COUNTS[int(written) :]:
            number = 200 if count < 50 else 20
            makers = {name: DISPATCH[name] for name in ("ours", "bare", *peers)}
            # the peers are many times slower, and one turn should take them all about as long
            subjects = {
                name: timed(make(count, written), number // 10 if name in peers else number)
                for name, make in makers.items()
            }
            bound = "<= 1.30" if written else f"<= 1.30, +{3 + 0.1 * count:.1f}"
            row(f"{count} States {'written' if written else 'read'}", subjects, 200, bound)


# --- tracing of loops


def step_of(depth: int) -> Step:
    """A body with a few dozen operations, as a neuron model has."""

    def step(v: jax.Array, w: jax.Array, x: jax.Array) -> jax.Array:
        for _ in range(depth):
            v = jnp.where(v > 1.0, 0.0, v * 0.9 + jnp.tanh(w * x))
        return v

    return step


def our_loop(step: Step, xs: jax.Array, known: bool) -> Call:
    """A `for_loop`; unless `known`, its body and its States were never seen before."""

    def body_of(v: st.State[jax.Array], w: st.State[jax.Array]) -> Callable[[jax.Array], jax.Array]:
        def body(x: jax.Array) -> jax.Array:
            v.value = step(v.value, w.value, x)
            return v.value

        return body

    v, w = st.State(jnp.zeros(8)), st.State(jnp.ones(8))
    body, zeros, ones = body_of(v, w), v.value, w.value
    return lambda: st.for_loop(body if known else body_of(st.State(zeros), st.State(ones)), xs)


def bare_loop(step: Step, xs: jax.Array, known: bool) -> Call:
    """`lax.scan` of the same step as a pure function."""

    def body_of() -> Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
        def body(v: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
            v = step(v, ones, x)
            return v, v

        return body

    zeros, ones = jnp.zeros(8), jnp.ones(8)
    body = body_of()
    # A body that JAX knows by identity it would not run again, and so not see what changed in it: hence the lambda.
    return lambda: jax.lax.scan((lambda v, x: body(v, x)) if known else body_of(), zeros, xs)


def brainstate_loop(step: Step, xs: jax.Array, known: bool) -> Call:
    """Its `for_loop`."""
    brainstate: Any = import_module("brainstate")

    def body_of(v: Any, w: Any) -> Callable[[Any], Any]:
        def body(x: Any) -> Any:
            v.value = step(v.value, w.value, x)
            return v.value

        return body

    v, w = brainstate.State(jnp.zeros(8)), brainstate.State(jnp.ones(8))
    body, zeros, ones = body_of(v, w), v.value, w.value
    fresh: Call = lambda: body_of(brainstate.State(zeros), brainstate.State(ones))  # noqa: E731
    return lambda: brainstate.transform.for_loop(body if known else fresh(), xs)


def nnx_loop(step: Step, xs: jax.Array, known: bool) -> Call:
    """`nnx.scan` with the module as the carry."""
    nnx: Any = import_module("flax.nnx")

    class Model(nnx.Module):  # type: ignore[misc] # no types where it is not installed
        def __init__(self) -> None:
            self.v, self.w = nnx.Variable(zeros), nnx.Variable(ones)

    def body_of() -> Callable[[Any, Any], Any]:
        def body(model: Any, x: Any) -> Any:
            model.v[...] = step(model.v[...], model.w[...], x)
            return model, model.v[...]

        return body

    zeros, ones = jnp.zeros(8), jnp.ones(8)
    body, axes = body_of(), (nnx.Carry, 0)
    return lambda: nnx.scan(body if known else body_of(), in_axes=axes, out_axes=axes)(Model(), xs)


LOOPS: dict[str, Callable[[Step, jax.Array, bool], Call]] = {
    "ours": our_loop,
    "bare": bare_loop,
    "brainstate": brainstate_loop,
    "nnx": nnx_loop,  # equinox leaves loops to JAX
}


def tracer_of(name: str) -> Any:
    """What traces a program in which the loops of a library may be."""
    if name == "brainstate":
        return import_module("brainstate").transform.make_jaxpr
    return st.make_jaxpr if name == "ours" else jax.make_jaxpr


def tracing(peers: Sequence[str]) -> None:
    """What a loop costs to be traced as a part of a larger program, its body's Python included."""
    heading("tracing a loop within a program")
    xs = jnp.ones((100, 8))
    for known in (False, True):
        for depth in DEPTHS:
            makers = {name: LOOPS[name] for name in ("ours", "bare", *peers) if name in LOOPS}
            loops = {name: make(step_of(depth), xs, known) for name, make in makers.items()}
            subjects = {name: inside(tracer_of(name), loop, 3) for name, loop in loops.items()}
            seen, bound = ("body and States known", "<= 1.20") if known else ("at first sight", "<= 2.00")
            row(f"{OPERATIONS * depth} operations, {seen}", subjects, 25, bound)


def whole_programs() -> None:
    """The same with all that `jit` does around a loop before it is compiled, and a loop called eagerly again."""
    heading("a whole program of one loop")
    xs = jnp.ones((100, 8))
    for depth in DEPTHS[:2]:
        step = step_of(depth)
        ours, bare = our_loop(step, xs, False), bare_loop(step, xs, False)
        subjects = {
            "ours": timed(lambda: st.jit(lambda: ours()).trace(), 3),  # noqa: B023 - a fresh function
            "bare": timed(lambda: jax.jit(lambda: bare()).trace(), 3),  # noqa: B023
        }
        row(f"{OPERATIONS * depth} operations, traced by jit", subjects, 15)
    for depth in DEPTHS[:2]:
        step = step_of(depth)
        ours = our_loop(step, xs, True)
        zeros = jnp.zeros(8)
        subjects = {
            "ours": timed(ours, 5),
            "bare": timed(lambda: jax.make_jaxpr(lambda v, x: step(v, zeros, x))(zeros, zeros), 5),  # noqa: B023
        }
        row(f"{OPERATIONS * depth} operations, eager; bare: a trace", subjects, 15)


# --- compiles


class Model:
    """States and functions over them, for our transforms or for brainstate's, which have the same names."""

    def __init__(self, library: Any, state: Any) -> None:
        self.library = library
        self.v = state(jnp.zeros(3))

    def step(self, x: Any) -> Any:
        """One step of a loop."""
        self.v.value = 0.9 * self.v.value + x
        return self.v.value

    def rise(self) -> None:
        """One branch."""
        self.v.value = self.v.value + 1.0

    def fall(self) -> None:
        """The other."""
        self.v.value = self.v.value * 0.5

    def early(self, n: Any) -> Any:
        """Whether to go on."""
        return n < 3

    def count(self, n: Any) -> Any:
        """One step of a loop that has a condition."""
        self.rise()
        return n + 1

    def calls(self, xs: Any, flag: Any) -> dict[str, Call]:
        """Eager calls that a person would repeat."""
        do = self.library
        return {
            "for_loop, bound method": lambda: do.for_loop(self.step, xs),
            "for_loop, fresh lambda": lambda: do.for_loop(lambda x: self.step(x), xs),
            "cond, bound methods": lambda: do.cond(flag, self.rise, self.fall),
            "cond, fresh lambdas": lambda: do.cond(flag, lambda: self.rise(), lambda: self.fall()),
            "while_loop, bound methods": lambda: do.while_loop(self.early, self.count, 0),
            "while_loop, fresh lambdas": lambda: do.while_loop(lambda n: n < 3, lambda n: self.count(n), 0),
        }


class Pure:
    """The same for the functions of JAX, whose operands are passed by hand."""

    def step(self, v: Any, x: Any) -> Any:
        """One step of a loop."""
        v = 0.9 * v + x
        return v, v

    def rise(self, v: Any) -> Any:
        """One branch."""
        return v + 1.0

    def fall(self, v: Any) -> Any:
        """The other."""
        return v * 0.5

    def early(self, nv: Any) -> Any:
        """Whether to go on."""
        return nv[0] < 3

    def count(self, nv: Any) -> Any:
        """One step of a loop that has a condition."""
        return nv[0] + 1, nv[1] + 1.0

    def calls(self, xs: Any, flag: Any) -> dict[str, Call]:
        """Eager calls that a person would repeat."""
        lax, v = jax.lax, jnp.zeros(3)
        return {
            "for_loop, bound method": lambda: lax.scan(self.step, v, xs),
            "for_loop, fresh lambda": lambda: lax.scan(lambda v, x: self.step(v, x), v, xs),
            "cond, bound methods": lambda: lax.cond(flag, self.rise, self.fall, v),
            "cond, fresh lambdas": lambda: lax.cond(flag, lambda v: v + 1.0, lambda v: v * 0.5, v),
            "while_loop, bound methods": lambda: lax.while_loop(self.early, self.count, (0, v)),
            "while_loop, fresh lambdas": lambda: lax.while_loop(lambda n: n[0] < 3, lambda n: self.count(n), (0, v)),
        }


def repeated_calls(peers: Sequence[str]) -> None:
    """How many programs XLA compiles when an eager call is repeated five times."""
    print("\nprograms compiled by five more eager calls (bound: 0)")
    xs, flag = jnp.ones((4, 3)), jnp.bool_(True)
    subjects = {"ours": Model(st, st.State).calls(xs, flag), "bare": Pure().calls(xs, flag)}
    if "brainstate" in peers:
        brainstate: Any = import_module("brainstate")
        subjects["brainstate"] = Model(brainstate.transform, brainstate.State).calls(xs, flag)
    print(f"{'':38s} {''.join(f'{name:>12s}' for name in subjects)}")
    for what in subjects["ours"]:
        counts = []
        for calls in subjects.values():
            calls[what]()
            with compiles() as compiled:
                for _ in range(5):
                    calls[what]()
            counts.append(compiled())
        print(f"{what:38s} {''.join(f'{count:12d}' for count in counts)}")


# --- memory


def memory() -> None:
    """What XLA's analysis says of a step of a thousand neurons with plastic weights, whose States are donated."""
    print("\nbytes of a compiled step, States donated (bound: as bare JAX)")
    size = 1000
    w, v, x = jnp.ones((size, size)), jnp.zeros(size), jnp.ones(size)

    def pure(state: tuple[jax.Array, jax.Array], x: jax.Array) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        w, v = state
        v = 0.9 * v + w @ x
        return (w + 0.01 * jnp.outer(v, x), v), v.sum()

    weights, potential = st.ParamState(w), st.ShortTermState(v)

    def ours(x: jax.Array) -> jax.Array:
        (weights.value, potential.value), out = pure((weights.value, potential.value), x)
        return out

    columns = ("argument", "output", "alias", "temp")
    print(f"{'':38s} {''.join(f'{column:>12s}' for column in columns)}")
    for donated in (True, False):
        rows = {
            "ours": st.jit(ours, donate_states=donated).lower(x).compile().memory_analysis(),
            "bare": jax.jit(pure, donate_argnums=(0,) if donated else ()).lower((w, v), x).compile().memory_analysis(),
        }
        for name, analysis in rows.items():
            sizes = [getattr(analysis, f"{column}_size_in_bytes") for column in columns]
            what = f"{name}, {'donated' if donated else 'not donated'}"
            print(f"{what:38s} {''.join(f'{size:12,d}' for size in sizes)}")


def main() -> None:
    """Print the tables."""
    print(f"jax {jax.__version__}, {jax.devices()[0].platform}")
    peers = installed()
    dispatch(peers)
    tracing(peers)
    whole_programs()
    repeated_calls(peers)
    memory()


if __name__ == "__main__":
    main()
