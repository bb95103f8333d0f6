"""Find the States inside any object, with stable paths, and turn them into plain trees and back."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, overload

import jax
import numpy as np

from ._errors import StateTreeError
from ._state import State

S = TypeVar("S", bound=State[Any])

_VALUES = (str, bytes, int, float, complex, bool, type(None), np.ndarray, np.generic, jax.Array)
_CODE = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.CodeType)


@overload
def states(obj: object) -> dict[str, State[Any]]: ...
@overload
def states(obj: object, kind: type[S]) -> dict[str, S]: ...
def states(obj: object, kind: type[Any] = State) -> dict[str, Any]:
    """The States that an object holds, by path, in the order of definition.

    Attributes (also of slots), sequences and mappings are followed; functions, classes and arrays are not.
    A State that is reached twice appears once, under the first path.

    Args:
        obj: any object.
        kind: only States of this class.

    >>> from types import SimpleNamespace
    >>> from spikax_transform import ParamState, State, states
    >>> model = SimpleNamespace(w=ParamState(1.0), cells=[State(0.0), State(1.0)])
    >>> list(states(model))
    ['w', 'cells[0]', 'cells[1]']
    >>> list(states(model, ParamState))
    ['w']
    """
    found: dict[str, Any] = {}
    seen: set[int] = set()
    pending: list[tuple[str, object]] = [("", obj)]
    while pending:  # a stack and not recursion: a chain of a thousand objects is a legitimate model
        path, item = pending.pop()
        if isinstance(item, (*_VALUES, *_CODE)) or id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, State):
            if isinstance(item, kind):
                found[path] = item
            continue
        pending.extend(reversed(list(_children(path, item))))
    return found


def to_pytree(obj: object) -> dict[str, Any]:
    """The values of all States of an object, as a plain dictionary by path: what a checkpoint library saves.

    >>> from types import SimpleNamespace
    >>> from spikax_transform import State, to_pytree
    >>> to_pytree(SimpleNamespace(v=State(1.5)))
    {'v': 1.5}
    """
    return {path: state.value for path, state in states(obj).items()}


def update_from_pytree(obj: object, tree: Mapping[str, Any]) -> None:
    """Put the values of `to_pytree` back into the States of an object; hooks do not run.

    Raises:
        StateTreeError: if the paths are not the same; nothing is changed then.

    >>> from types import SimpleNamespace
    >>> from spikax_transform import State, update_from_pytree
    >>> model = SimpleNamespace(v=State(1.5))
    >>> update_from_pytree(model, {"v": 2.0})
    >>> model.v.value
    2.0
    """
    found = states(obj)
    if found.keys() != tree.keys():
        missing, extra = sorted(found.keys() - tree.keys()), sorted(tree.keys() - found.keys())
        raise StateTreeError(
            f"The tree does not fit the object: missing {missing}, unexpected {extra}. "
            f"Build the object as it was when the tree was made."
        )
    for path, state in found.items():
        state.restore_value(tree[path])


def _children(path: str, item: object) -> Iterator[tuple[str, object]]:
    if isinstance(item, Mapping):
        for key, child in item.items():
            yield f"{path}[{key!r}]", child
    elif isinstance(item, list | tuple):
        names = getattr(item, "_fields", None)
        for i, child in enumerate(item):
            yield (_join(path, names[i]) if names else f"{path}[{i}]"), child
    else:
        for name, child in _attributes(item):
            yield _join(path, name), child


def _attributes(item: object) -> Iterator[tuple[str, object]]:
    for base in reversed(type(item).__mro__):
        slots = base.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            mangled = f"_{base.__name__.lstrip('_')}{name}" if name.startswith("__") and name[-2:] != "__" else name
            if mangled not in ("__dict__", "__weakref__") and hasattr(item, mangled):
                yield mangled, getattr(item, mangled)
    yield from getattr(item, "__dict__", {}).items()


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
