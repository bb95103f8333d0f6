"""State: a mutable cell that holds a pytree, with an identity, a name and hooks."""

from __future__ import annotations

import copy
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Self, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from . import _compat, _overlay
from ._errors import FrozenStateError, StateValueError

T = TypeVar("T")
Hook: TypeAlias = Callable[["State[Any]", Any], Any]

_HERE = str(Path(__file__).parent)


class Creations(threading.local):
    """How many States exist that were ever made, and who asked to be told of new ones."""

    # `count` is on the class on purpose, shared by all threads: `jit` discovers again when it moved, so that a model
    # whose layer was replaced is never run with the old one. A lost update between two threads still moves it.
    count = 0

    def __init__(self) -> None:
        self.catchers: list[list[State[Any]]] = []


_creations = Creations()


def creation_count() -> int:
    """The number of States constructed so far; it only matters whether it changed."""
    return Creations.count


@contextmanager
def catch_new_states() -> Iterator[list[State[Any]]]:
    """Collect the States that are created inside, by this thread, in order.

    >>> from spikax_transform import State, catch_new_states
    >>> with catch_new_states() as new:
    ...     v = State(0.0, name="v")
    >>> [state.name for state in new]
    ['v']
    """
    caught: list[State[Any]] = []
    _creations.catchers.append(caught)
    try:
        yield caught
    finally:
        # by identity: two empty lists are equal
        _creations.catchers[:] = [other for other in _creations.catchers if other is not caught]


class State(Generic[T]):
    """A mutable cell that holds a pytree and takes part in every transform of this package.

    Functions use a State by closing over it; a transform finds the States that its function reads and writes.
    States compare and hash by identity.

    Args:
        value: any pytree of arrays and numbers.
        name: for messages and for your own use.
        tag: a free label to select States by.
        frozen: refuse writes that change the structure, a shape or a dtype.
        **metadata: anything else to remember, found in ``metadata``.

    Raises:
        FrozenStateError: by a write to a frozen State that changes its structure, shapes or dtypes.

    >>> import jax.numpy as jnp
    >>> from spikax_transform import State
    >>> count = State(jnp.zeros(2), name="count", unit="spikes")
    >>> count.value = count.value + 1
    >>> count
    State('count', f32[2], value=[1. 1.])
    >>> count.metadata["unit"]
    'spikes'
    """

    __slots__ = ("__weakref__", "_hooks", "_value", "frozen", "metadata", "name", "origin", "tag")

    name: str | None
    tag: str | None
    frozen: bool
    metadata: dict[str, Any]
    origin: str
    _value: Any  # never a tracer; read and written by the engine only
    _hooks: tuple[tuple[bool, Hook], ...]

    def __init__(
        self, value: T, name: str | None = None, tag: str | None = None, *, frozen: bool = False, **metadata: Any
    ) -> None:
        self._start(value, name, tag, frozen, metadata)

    def _start(self, value: T, name: str | None, tag: str | None, frozen: bool, metadata: dict[str, Any]) -> None:
        if any(isinstance(leaf, State) for leaf in jax.tree.leaves(value)):
            raise StateValueError("A State cannot hold another State; keep both as attributes of an object.")
        self.name = name
        self.tag = tag
        self.frozen = frozen
        self.metadata = metadata
        self.origin = _caller()
        self._hooks = ()
        _overlay.create(self, value)
        Creations.count += 1
        for caught in _creations.catchers:
            caught.append(self)

    @property
    def value(self) -> T:
        """The value that the State holds where the caller is: inside a transform, the traced one."""
        value: T = _overlay.read(self)
        if self._hooks:
            for on_write, hook in self._hooks:
                if not on_write:
                    hook(self, value)
        return value

    @value.setter
    def value(self, value: T) -> None:
        if self._hooks:
            for on_write, hook in self._hooks:
                if on_write:
                    changed = hook(self, value)
                    value = value if changed is None else changed
        self.restore_value(value)

    def restore_value(self, value: T) -> None:
        """Set the value without running hooks, as a checkpoint does; a frozen State still checks it."""
        if self.frozen:
            _check_same(self, _overlay.peek(self, len(_overlay.frames())), value)
        _overlay.write(self, value)

    def on_read(self, hook: Hook) -> Callable[[], None]:
        """Call ``hook(state, value)`` at each read by the user's code; returns a function that removes the hook."""
        return self._hook(False, hook)

    def on_write(self, hook: Hook) -> Callable[[], None]:
        """Call ``hook(state, value)`` at each write by the user's code.

        The hook may return another value to be written instead (`None` keeps the value), or raise to refuse it.
        Under `jit` it runs once per trace, and what it returns is part of the program.
        Returns a function that removes the hook.
        """
        return self._hook(True, hook)

    def _hook(self, on_write: bool, hook: Hook) -> Callable[[], None]:
        entry = (on_write, hook)
        self._hooks += (entry,)

        def remove() -> None:
            self._hooks = tuple(other for other in self._hooks if other is not entry)

        return remove

    def copy(self) -> Self:
        """A new State of the same kind that holds the same value, without hooks."""
        return self.replace(self.value)

    def replace(self, value: T, **changes: Any) -> Self:
        """A new State of the same kind with another value; ``name``, ``tag``, ``frozen`` or metadata may change too."""
        twin: Self = _build(type(self), value, {**self._description(), **changes}, {})
        return twin

    def _description(self) -> dict[str, Any]:
        return {**self.metadata, "name": self.name, "tag": self.tag, "frozen": self.frozen}

    def __reduce__(self) -> tuple[Any, ...]:
        value = jax.tree.map(_PackedKey.pack, _overlay.read(self))
        return _unpickle, (type(self), value, self._description(), getattr(self, "__dict__", {}))

    def __copy__(self) -> Self:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # By hand and not by `__reduce__`, because a tracer may be copied but not pickled.
        fields = copy.deepcopy(self._description(), memo)
        value = jax.tree.map(lambda leaf: copy.deepcopy(leaf, memo), _overlay.read(self))
        twin: Self = _build(type(self), value, fields, {})
        memo[id(self)] = twin
        if hasattr(self, "__dict__"):
            twin.__dict__.update(copy.deepcopy(self.__dict__, memo))
        twin._hooks = self._hooks
        return twin

    def describe(self) -> str:
        """What this State is and where it was created, for messages."""
        return f"{self._title()} created at {self.origin}"

    def _title(self) -> str:
        return f"{type(self).__name__} {self.name!r}" if self.name else f"An unnamed {type(self).__name__}"

    def __repr__(self) -> str:
        fields = [repr(self.name)] if self.name else []
        try:
            value = _overlay.peek(self, len(_overlay.frames()))
        except RuntimeError:
            return f"{type(self).__name__}({', '.join([*fields, 'no value'])})"
        fields.append(format_avals(value))
        leaves = jax.tree.leaves(value)
        if sum(getattr(leaf, "size", 1) for leaf in leaves) <= 8 and not any(map(_compat.trace_of, leaves)):
            fields.append(f"value={value}")
        if self.tag:
            fields.append(f"tag={self.tag!r}")
        return f"{type(self).__name__}({', '.join(fields)})"


class ParamState(State[T]):
    """A State that is trained: a weight, a bias, a time constant."""

    __slots__ = ()


class HiddenState(State[T]):
    """A State that a model carries from step to step, and through which gradients flow in time."""

    __slots__ = ()


class ShortTermState(State[T]):
    """A State that is meaningful within one run only, such as a membrane potential."""

    __slots__ = ()


class LongTermState(State[T]):
    """A State that lasts from run to run, such as a running mean."""

    __slots__ = ()


class BatchState(State[T]):
    """A State that has one value for each sample of a batch."""

    __slots__ = ()


def format_avals(value: Any) -> str:
    """The leaves of a pytree as JAX abbreviates them: ``f32[3,4]``."""

    def short(leaf: Any) -> Any:
        try:
            return _Short(_compat.aval_of(leaf).str_short(True))
        except TypeError:
            return _Short(type(leaf).__name__)

    return repr(jax.tree.map(short, value))


class _Short(str):
    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _build(kind: Any, value: Any, description: dict[str, Any], attributes: dict[str, Any]) -> Any:
    state = kind.__new__(kind)
    given = dict(description)
    state._start(value, given.pop("name"), given.pop("tag"), given.pop("frozen"), given)
    if attributes:
        state.__dict__.update(attributes)
    return state


@dataclass(frozen=True)
class _PackedKey:
    """A typed random key in a pickle, which JAX itself cannot write before 0.10."""

    data: np.ndarray[Any, Any]
    impl: str

    @classmethod
    def pack(cls, leaf: Any) -> Any:
        """A key as its bits; any other leaf as it is."""
        if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return cls(np.asarray(jax.random.key_data(leaf)), str(jax.random.key_impl(leaf)))
        return leaf

    def unpack(self) -> Any:
        """The key again."""
        return jax.random.wrap_key_data(jnp.asarray(self.data), impl=self.impl)


def _unpickle(kind: Any, value: Any, description: dict[str, Any], attributes: dict[str, Any]) -> Any:
    value = jax.tree.map(lambda leaf: leaf.unpack() if isinstance(leaf, _PackedKey) else leaf, value)
    return _build(kind, value, description, attributes)


def _check_same(state: State[Any], old: Any, new: Any) -> None:
    def spec(value: Any) -> Any:
        leaves, treedef = jax.tree.flatten(value)
        avals = [_compat.aval_of(leaf) for leaf in leaves]
        return treedef, [(aval.shape, aval.dtype) for aval in avals]

    if spec(old) != spec(new):
        raise FrozenStateError(
            f"{state.describe()} is frozen: got {format_avals(new)}, expected {format_avals(old)}. Write a value of "
            f"the same structure, shape and dtype, or create the State without frozen=True."
        )


def _caller() -> str:
    """File and line of the innermost frame outside of this package."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_HERE):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
