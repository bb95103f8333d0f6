"""Where the values of States live during a trace: a stack of frames per thread, over the States themselves.

A State's own value is never a tracer. While a function is traced, its reads and writes go to a frame; leaving
the frame, also by an exception, discards it. Other threads have their own stack and see nothing of it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import jax

from . import _compat
from ._errors import RawTransformError, StateUnavailableError, StateValueError

if TYPE_CHECKING:
    from ._state import State


class Lanes(Protocol):
    """What one lane of a `vmap` sees of the States around it."""

    def maps(self, state: State[Any]) -> bool:
        """Whether each lane sees a slice of the State, of another shape."""

    def enter(self, frame: Frame, state: State[Any], value: Any) -> Any:
        """What a lane sees of `value`, at the first read; remembered in the frame where it differs."""


class Frame:
    """The values of States as one trace sees them.

    A *staged* frame answers the first read of a State by a fresh input of its program. An *eager-type* frame
    (a gradient) asks the level below instead.
    """

    __slots__ = (
        "_inputs",
        "consulted",
        "created",
        "lanes",
        "overwritten",
        "reads",
        "staged",
        "starts",
        "trace",
        "values",
        "writes",
    )

    def __init__(self, staged: bool, starts: dict[State[Any], Any] | None = None) -> None:
        self.staged = staged
        self.trace: _compat.Trace = None
        self.values: dict[State[Any], Any] = {} if staged else dict(starts or {})
        self.reads: dict[State[Any], tuple[Any, list[_compat.Aval]]] = {}
        self.writes: dict[State[Any], None] = {}
        self.created: dict[State[Any], None] = {}
        self.starts = starts or {}  # values on entry that differ from those of the level below
        self.lanes: Lanes | None = None  # of a vmap: what one lane sees of a State
        self.consulted: set[State[Any]] = set()  # read by the user, at any time
        self.overwritten: set[State[Any]] = set()  # written before any read
        self._inputs = 0

    @property
    def input_count(self) -> int:
        """How many array leaves the program reads from States."""
        return self._inputs

    def bind_input(self, state: State[Any], value: Any) -> Any:
        """Make the value of `state` an input of this frame's program."""
        leaves, treedef = jax.tree.flatten(value)
        avals = [_leaf_aval(state, leaf) for leaf in leaves]
        start = self._inputs
        self._inputs += len(leaves)
        self.reads[state] = (treedef, avals)
        tracers = [_compat.bind_state_read(self.trace, aval, start + i) for i, aval in enumerate(avals)]
        return jax.tree.unflatten(treedef, tracers)

    def discard(self) -> None:
        """Let go of every tracer."""
        self.values.clear()
        self.starts = {}
        self.trace = None


class _Stack(threading.local):
    def __init__(self) -> None:
        self.frames: list[Frame] = []


stack = _Stack()


def frames() -> list[Frame]:
    """The frames of the calling thread, outermost first."""
    return stack.frames


def is_plain() -> bool:
    """Whether the calling thread is in no trace at all, so that States hold their values themselves."""
    return not stack.frames and _compat.current_trace() is _compat.EVAL_TRACE


@contextmanager
def entered(frame: Frame) -> Iterator[Frame]:
    """Put `frame` on top, bound to the trace that runs now; on the way out, whatever happens, discard it."""
    frame.trace = _compat.current_trace()
    stack.frames.append(frame)
    try:
        yield frame
    finally:
        stack.frames.pop()
        frame.discard()


def read(state: State[Any], consult: bool = True) -> Any:
    """The value of `state` where the calling thread is; `consult` tells a user's read from bookkeeping."""
    if is_plain():
        return _own_value(state)
    return _read_at(state, len(stack.frames) - 1, _compat.current_trace(), consult)


def _read_at(state: State[Any], level: int, trace: _compat.Trace, consult: bool) -> Any:
    if level < 0:
        _between(state, trace, _compat.EVAL_TRACE, "read")
        return _own_value(state)
    frame = stack.frames[level]
    _between(state, trace, frame.trace, "read")
    if consult:
        frame.consulted.add(state)
    if state in frame.values:
        return frame.values[state]
    if not frame.staged:
        value = _read_at(state, level - 1, frame.trace, consult)
        return value if frame.lanes is None else frame.lanes.enter(frame, state, value)
    value = frame.bind_input(state, peek(state, level))
    frame.values[state] = value
    return value


def peek(state: State[Any], level: int) -> Any:
    """The value with which the frame at `level` starts, for its shape and dtype only: records nothing."""
    active = stack.frames
    if level < len(active) and state in active[level].starts:
        return active[level].starts[state]
    for below in reversed(range(min(level, len(active)))):
        frame = active[below]
        if state in frame.values:
            return frame.values[state]
        if state in frame.starts:
            return frame.starts[state]
        if frame.lanes is not None and frame.lanes.maps(state):
            return _read_at(state, below, frame.trace, False)
    return _own_value(state)


def write(state: State[Any], value: Any) -> None:
    """Set the value of `state` where the calling thread is."""
    _check_write(state, value)
    active = stack.frames
    if active:
        frame = active[-1]
        if state not in frame.writes and state not in frame.consulted:
            frame.overwritten.add(state)
        frame.values[state] = value
        frame.writes[state] = None
    else:
        state._value = value


def write_all(values: Iterable[tuple[State[Any], Any]]) -> None:
    """Set the values of several States, or of none if one of the values does not belong here."""
    values = list(values)
    for state, value in values:
        _check_write(state, value)
    for state, value in values:
        write(state, value)


def _check_write(state: State[Any], value: Any) -> None:
    trace = _compat.current_trace()
    target = stack.frames[-1].trace if stack.frames else _compat.EVAL_TRACE
    crossed = () if trace is target else _between(state, trace, target, "written")
    _refuse_leaks(state, value, crossed, target)


def note_reads(states: Iterable[State[Any]]) -> None:
    """Tell the frame on top that the user's code read these States in a trace inside of it."""
    if stack.frames:
        stack.frames[-1].consulted.update(states)


def create(state: State[Any], value: Any) -> None:
    """Give a new State its first value."""
    active = stack.frames
    if active:
        state._value = Missing(
            "was created inside a transformed function that has ended",
            "create it outside, or return the value from the function",
        )
        write(state, value)
        del active[-1].writes[state]
        active[-1].created[state] = None
    else:
        _refuse_leaks(state, value, (), _compat.EVAL_TRACE)
        state._value = value


class Missing:
    """Stands in a State for a value that does not exist, and says why."""

    __slots__ = ("reason", "remedy")

    def __init__(self, reason: str, remedy: str) -> None:
        self.reason = reason
        self.remedy = remedy


def _own_value(state: State[Any]) -> Any:
    value = state._value
    if type(value) is Missing:
        raise StateUnavailableError(f"{state.describe()} has no value: it {value.reason}; {value.remedy}.")
    return value


def _between(state: State[Any], trace: _compat.Trace, target: _compat.Trace, verb: str) -> tuple[_compat.Trace, ...]:
    """The eager-type traces from `trace` out to `target`; a staged one between them is an error."""
    crossed = []
    while trace is not target:
        if _compat.is_staging(trace):
            raise RawTransformError(
                f"{state.describe()} is {verb} inside a raw JAX transform that keeps its trace (jax.jit, "
                f"jax.lax.scan, jax.lax.cond, jax.checkpoint, ...): JAX would bake the present value into a cached "
                f"program. Use the transform of the same purpose of spikax_transform (jit, for_loop, scan), "
                f"or read the value before and pass it as an argument."
            )
        parent = _compat.parent_of(trace)
        if parent is None:
            raise RawTransformError(
                f"{state.describe()} is {verb} outside of the trace it belongs to, for instance in a custom "
                f"derivative rule. Pass its value to the rule as an argument."
            )
        crossed.append(trace)
        trace = parent
    return tuple(crossed)


def _refuse_leaks(state: State[Any], value: Any, crossed: tuple[_compat.Trace, ...], target: _compat.Trace) -> None:
    """Raise if `value` holds a tracer that ends before the value's home does."""
    for leaf in jax.tree.leaves(value):
        home = _compat.trace_of(leaf)
        if home is None:
            continue
        if target is _compat.EVAL_TRACE or any(home is trace for trace in crossed):
            raise RawTransformError(
                f"{state.describe()} is written with a traced value ({leaf.aval.str_short(True)}) inside a raw JAX "
                f"transform (jax.jit, jax.vmap, jax.grad, ...), whose tracer would outlive its trace. Return the "
                f"value and write it outside, or use the transform of spikax_transform."
            )


def _leaf_aval(state: State[Any], leaf: Any) -> _compat.Aval:
    try:
        return _compat.aval_of(leaf)
    except TypeError:
        raise StateValueError(
            f"{state.describe()} is read inside a transformed function, but holds a leaf of type "
            f"{type(leaf).__name__!r}; expected arrays and numbers. Keep other objects in plain attributes or in the "
            f"State's metadata."
        ) from None
