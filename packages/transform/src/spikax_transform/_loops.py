"""`scan` and `for_loop`: the body is traced once, the States that it writes become part of the carry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from . import _compat, _overlay
from ._carry import promote
from ._errors import LoopLengthError
from ._program import LoopSpec, run_loop
from ._progress import ProgressBar, meter_for
from ._state import State
from ._trace import Traced, refuse_states, trace_once

Carry = TypeVar("Carry")
X = TypeVar("X")
Y = TypeVar("Y")


def scan(
    f: Callable[[Carry, X], tuple[Carry, Y]],
    init: Carry,
    xs: X | None = None,
    length: int | None = None,
    reverse: bool = False,
    unroll: int | bool = 1,
    progress: ProgressBar | int | bool | None = None,
) -> tuple[Carry, Y]:
    """`jax.lax.scan` for a body that reads and writes States.

    The body's Python runs on each call, once, so that closures and flags which changed are seen; a body that
    amounts to the same program as an earlier one is not compiled again.

    Args:
        f: ``f(carry, x) -> (carry, y)``.
        init: the first carry, a pytree; its shapes and dtypes must not change.
        xs: a pytree of arrays ``[length, ...]``, or `None`.
        length: the number of steps; needed if there are no ``xs``.
        reverse: run from the last step to the first.
        unroll: steps per iteration of the compiled loop.
        progress: `True`, a number of steps between reports, or a `ProgressBar`.

    Returns:
        The last carry, and the ``y`` of all steps stacked along a new first axis.

    Raises:
        CarryTypeError: the body changes the structure, shape or dtype of the carry or of a State.
        LoopLengthError: the lengths disagree or are missing.

    >>> import jax.numpy as jnp
    >>> from spikax_transform import State, scan
    >>> seen = State(0)
    >>> def step(total, x):
    ...     seen.value += 1
    ...     return total + x, total
    >>> total, history = scan(step, jnp.float32(0), jnp.arange(3.0))
    >>> float(total), history, int(seen.value)
    (3.0, Array([0., 0., 1.], dtype=float32), 3)
    """
    return loop("scan", f, init, xs, length, reverse, unroll, progress)


def for_loop(
    f: Callable[..., Y],
    *xs: Any,
    length: int | None = None,
    reverse: bool = False,
    unroll: int | bool = 1,
    progress: ProgressBar | int | bool | None = None,
) -> Y:
    """Call ``f(*x)`` for each step, with States carried from one to the next.

    Args:
        f: the body; takes one slice of each of ``xs``.
        *xs: pytrees of arrays ``[length, ...]``.
        length: the number of steps; needed if there are no ``xs``.
        reverse: run from the last step to the first.
        unroll: steps per iteration of the compiled loop.
        progress: `True`, a number of steps between reports, or a `ProgressBar`.

    Returns:
        The results of all steps, stacked along a new first axis.

    Raises:
        CarryTypeError: the body changes the structure, shape or dtype of a State.
        LoopLengthError: the lengths disagree or are missing.

    >>> import jax.numpy as jnp
    >>> from spikax_transform import ShortTermState, for_loop
    >>> v = ShortTermState(jnp.float32(0))
    >>> def step(current):
    ...     v.value = 0.5 * v.value + current
    ...     return v.value
    >>> for_loop(step, jnp.ones(3))
    Array([1.  , 1.5 , 1.75], dtype=float32)
    """

    def body(carry: None, x: tuple[Any, ...]) -> tuple[None, Y]:
        return None, f(*x)

    ys: Y = loop("for_loop", body, None, xs, length, reverse, unroll, progress)[1]
    return ys


def loop(
    name: str,
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any,
    length: int | None,
    reverse: bool,
    unroll: int | bool = 1,
    progress: ProgressBar | int | bool | None = None,
    base: int | None = None,
) -> tuple[Any, Any]:
    """Trace the body, and run the loop; the States are then as the last step left them."""
    refuse_states(jax.tree.leaves((init, xs)), name, "passed to")
    carry, carry_tree = jax.tree.flatten(init)
    carry = [_as_array(leaf) for leaf in carry]
    x_leaves = [_as_array(leaf) for leaf in jax.tree.leaves(xs)]
    steps = _length(name, x_leaves, length)
    x_avals = [_compat.slice_aval(_compat.aval_of(leaf), steps) for leaf in x_leaves]
    starts: dict[State[Any], Any] = {}
    while True:
        in_tree = jax.tree.structure(((jax.tree.unflatten(carry_tree, carry), xs), {}))
        avals = [*map(_compat.aval_of, carry), *x_avals]
        traced = trace_once(f, in_tree, avals, name=name, starts=starts)
        if not promote(name, traced, carry, carry_tree, starts):
            break
    meter = meter_for(progress, steps)
    return _run(traced, carry, carry_tree, x_leaves, starts, steps, reverse, unroll, meter, base)


def _run(
    traced: Traced,
    carry: list[Any],
    carry_tree: Any,
    xs: list[Any],
    starts: Mapping[State[Any], Any],
    steps: int,
    reverse: bool,
    unroll: int | bool,
    meter: Any,
    base: int | None,
) -> tuple[Any, Any]:
    consts: list[Any] = []
    state_carry: list[Any] = []
    places: dict[State[Any], tuple[bool, int]] = {}
    for state in traced.writes:
        places[state] = (True, len(carry) + len(state_carry))
        state_carry += jax.tree.leaves(_start(state, traced, starts))
    sources: list[tuple[bool, int]] = []
    for state, (_, avals) in traced.reads.items():
        if state not in places:
            places[state] = (False, len(consts))
            consts += jax.tree.leaves(_start(state, traced, starts))
        is_carry, first = places[state]
        sources += [(is_carry, first + i) for i in range(len(avals))]
    n_written = sum(tree.num_leaves for tree in traced.writes.values())
    n_ys = len(traced.jaxpr.outvars) - len(carry) - n_written
    spec = LoopSpec(
        len(traced.consts),
        steps,
        bool(reverse),
        max(steps, 1) if unroll is True else int(unroll),
        len(carry),
        len(xs),
        tuple(sources),
        n_ys,
        meter,
        base,
    )
    last, ys = run_loop(traced.jaxpr, spec, traced.consts, consts, [*carry, *state_carry], xs)
    y_tree = traced.out_tree.children()[1]
    _store(traced, last[len(carry) :])
    return jax.tree.unflatten(carry_tree, last[: len(carry)]), jax.tree.unflatten(y_tree, ys)


def _start(state: State[Any], traced: Traced, starts: Mapping[State[Any], Any]) -> Any:
    consult = state in traced.reads and state in traced.consulted
    value = _overlay.read(state, consult)
    return starts.get(state, value)


def _store(traced: Traced, leaves: list[Any]) -> None:
    values = []
    for state, tree in traced.writes.items():
        value, leaves = leaves[: tree.num_leaves], leaves[tree.num_leaves :]
        values.append((state, jax.tree.unflatten(tree, value)))
    _overlay.write_all(values)
    _overlay.note_reads(traced.consulted)


def _length(name: str, xs: list[Any], length: int | None) -> int:
    lengths = []
    for leaf in xs:
        shape = _compat.aval_of(leaf).shape
        if not shape:
            raise LoopLengthError(f"{name} got a scalar among its inputs; expected arrays with a leading time axis.")
        lengths.append(shape[0])
    if length is not None:
        lengths.append(int(length))
    if not lengths:
        raise LoopLengthError(f"{name} got neither inputs nor a length; pass length=, the number of steps.")
    if len(set(lengths)) > 1:
        given = f", and length={length}" if length is not None else ""
        sizes = [_compat.aval_of(leaf).str_short(True) for leaf in xs]
        raise LoopLengthError(
            f"{name} got inputs of different lengths: {', '.join(sizes)}{given}; expected one length."
        )
    if lengths[0] < 0:
        raise LoopLengthError(f"{name} got length={lengths[0]}; expected zero or more steps.")
    return int(lengths[0])


def _as_array(leaf: Any) -> Any:
    return leaf if isinstance(leaf, jax.Array) else jnp.asarray(leaf)
