"""Structural identity of jaxprs: two bodies that amount to the same program share one compiled program.

Correctness comes before sharing: whatever cannot be compared with certainty raises `UnkeyableError`, and the program is
then compiled anew. The values of constants are operands of a program and not part of its identity.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import threading
import types
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from . import _compat

V = TypeVar("V")

# A constant larger than this is not worth hashing at each call.
_MAX_LITERAL_BYTES = 1 << 12
_MAX_DEPTH = 60


class UnkeyableError(Exception):
    """Something in a program has no identity that can be trusted."""


class Interned(Generic[V]):
    """A bounded mapping from keys to values, the least recently used dropped first."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._entries: OrderedDict[Hashable, V] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Hashable, make: Callable[[], V]) -> V:
        """The value of `key`, made if there is none."""
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
                return self._entries[key]
            value = self._entries[key] = make()
            if len(self._entries) > self._capacity:
                self._entries.popitem(last=False)
            return value


def jaxpr_key(jaxpr: _compat.Jaxpr) -> Hashable:
    """A hashable key, equal for jaxprs that are the same program up to the values of their constants.

    Raises:
        UnkeyableError: if some part of the program cannot be compared.
    """
    key = _jaxpr_key(jaxpr, 0)
    try:
        hash(key)
    except TypeError:
        raise UnkeyableError from None
    return key


def _jaxpr_key(jaxpr: _compat.Jaxpr, depth: int) -> Hashable:
    numbers: dict[Any, int] = {}

    def binder(var: Any) -> Hashable:
        numbers[var] = len(numbers)
        return _aval_key(var.aval)

    def atom(var: Any) -> Hashable:
        if isinstance(var, _compat.Literal):
            return ("literal", _literal_key(var.val), _aval_key(var.aval))
        return numbers[var]

    inputs = tuple([binder(var) for var in (*jaxpr.constvars, *jaxpr.invars)])
    eqns = tuple(
        [
            (
                eqn.primitive,
                tuple([atom(var) for var in eqn.invars]),
                tuple([(name, _value_key(value, depth + 1)) for name, value in sorted(eqn.params.items())])
                if eqn.params
                else (),
                tuple([binder(var) for var in eqn.outvars]),
                eqn.ctx,
            )
            for eqn in jaxpr.eqns
        ]
    )
    return (len(jaxpr.constvars), inputs, eqns, tuple([atom(var) for var in jaxpr.outvars]))


def _aval_key(aval: _compat.Aval) -> Hashable:
    return aval  # type: ignore[no-any-return] # equal in shape, dtype, weak type and sharding


def _literal_key(value: Any) -> Hashable:
    array = np.asarray(value)
    return (array.dtype, array.shape, array.tobytes())


def _value_key(value: Any, depth: int) -> Hashable:
    """A key for a parameter of an equation, or for what a custom rule closes over."""
    if depth > _MAX_DEPTH:
        raise UnkeyableError(type(value).__name__)
    kind = type(value)
    if kind in _PLAIN:
        # the type too, because 1 == True == 1.0; the representation tells -0.0 from 0.0
        return (kind, repr(value)) if kind in (float, complex) else (kind, value)
    if kind in (tuple, list):
        return (kind, tuple([_value_key(item, depth + 1) for item in value]))
    if kind in (dict, types.MappingProxyType):
        return (kind, tuple([(_value_key(k, depth + 1), _value_key(v, depth + 1)) for k, v in value.items()]))
    if kind in (set, frozenset):
        return (kind, frozenset(_value_key(item, depth + 1) for item in value))
    if isinstance(value, _compat.Tracer):
        raise UnkeyableError(type(value).__name__)
    if _compat.is_closed_jaxpr(value):
        return _closed_key(value, depth)
    if _compat.is_open_jaxpr(value):
        return ("open", _jaxpr_key(value, depth + 1))
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        return _array_key(value)
    return _object_key(value, depth)


def _closed_key(closed: Any, depth: int) -> Hashable:
    jaxpr, consts = _compat.open_jaxpr(closed)
    return ("closed", _jaxpr_key(jaxpr, depth + 1), tuple([_value_key(const, depth + 1) for const in consts]))


def _array_key(value: Any) -> Hashable:
    if not hasattr(value, "nbytes") or jnp.issubdtype(value.dtype, jax.dtypes.extended):
        raise UnkeyableError(type(value).__name__)
    if value.nbytes > _MAX_LITERAL_BYTES:
        if not isinstance(value, jax.Array):
            raise UnkeyableError(type(value).__name__)  # mutable, so its identity says nothing
        return ("identity", _Identity(value))
    array = np.asarray(value)
    if array.dtype == object:
        raise UnkeyableError(type(value).__name__)
    return ("array", type(value), array.dtype, array.shape, array.tobytes(), getattr(value, "weak_type", None))


def _object_key(value: Any, depth: int) -> Hashable:
    if isinstance(value, types.FunctionType):
        return _function_key(value, depth)
    if isinstance(value, types.MethodType):
        return ("method", _value_key(value.__func__, depth + 1), _value_key(value.__self__, depth + 1))
    if isinstance(value, functools.partial):
        parts = (value.func, value.args, value.keywords)
        return ("partial", tuple([_value_key(part, depth + 1) for part in parts]))
    if isinstance(value, type | types.BuiltinFunctionType | types.ModuleType | enum.Enum | np.ufunc):
        return ("identity", _Identity(value))
    if _compat.is_compiled_function(value):
        return ("identity", _Identity(value))
    internal = _compat.rule_parts(value)
    if internal is not None:
        return (type(value), tuple([_value_key(part, depth + 1) for part in internal]))
    if _compat.is_plain_data(value):
        return (type(value), value)
    if dataclasses.is_dataclass(value) and getattr(type(value), "__dataclass_params__").frozen:  # noqa: B009
        fields = [(f.name, getattr(value, f.name)) for f in dataclasses.fields(value)]
        return (type(value), tuple([(name, _value_key(item, depth + 1)) for name, item in fields]))
    raise UnkeyableError(type(value).__name__)


def _function_key(function: types.FunctionType, depth: int) -> Hashable:
    """By code and by all that the code can see, because cells and globals may change behind the same object."""
    if _compat.is_jax_function(function):
        if function.__closure__ is None:
            return ("identity", _Identity(function))
        names: dict[str, Any] = {}
    else:
        names = {name: function.__globals__[name] for name in _names(function.__code__) & function.__globals__.keys()}
    cells = [
        (name, _cell(cell))
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        if not _compat.is_rule_memory(function, name)
    ]
    seen = (cells, sorted(names.items()), function.__defaults__, function.__kwdefaults__ or {})
    with _guarded(function) as outer:
        if outer is not None:
            return ("recursive", outer)
        return (function.__code__, _Identity(function.__globals__), _value_key(seen, depth + 1))


def _cell(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        raise UnkeyableError from None


def _names(code: types.CodeType) -> set[str]:
    nested = [const for const in code.co_consts if isinstance(const, types.CodeType)]
    return set(code.co_names).union(*map(_names, nested))


class _Identity:
    """Compares by identity, and keeps what it stands for alive so that the identity is not given away again."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Identity) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


class _Open(threading.local):
    def __init__(self) -> None:
        self.functions: list[Any] = []


_open = _Open()


class _guarded:  # noqa: N801 - a context manager used like a function
    """At which level a function is being looked at already, for rules that call themselves."""

    def __init__(self, function: Any) -> None:
        self._function = function

    def __enter__(self) -> int | None:
        outer = next((i for i, other in enumerate(_open.functions) if other is self._function), None)
        _open.functions.append(self._function)
        return outer

    def __exit__(self, *exc: object) -> None:
        _open.functions.pop()


_PLAIN = frozenset({bool, int, float, complex, str, bytes, type(None), type(Ellipsis), slice})
