"""Methods of transformed functions: one bound transform per instance, by identity, that keeps no instance alive."""

from __future__ import annotations

import inspect
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, TypeVar

B = TypeVar("B")

# Instances that cannot be weakly referenced (slots without __weakref__) are kept by strong reference, so few of them.
_MAX_STRONG = 16


class Bindings(Generic[B]):
    """Bound transforms by instance. Instances need be neither hashable nor comparable."""

    def __init__(self, bind: Callable[[Callable[..., Any]], B]) -> None:
        self._bind = bind
        self._weak: dict[int, tuple[weakref.ref[Any], B]] = {}
        self._strong: OrderedDict[int, tuple[object, B]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, function: Callable[..., Any], instance: Any) -> B:
        """The transform of ``function`` bound to ``instance``, made at first use."""
        known = self._weak.get(id(instance))
        if known is not None and known[0]() is instance:
            return known[1]
        with self._lock:
            try:
                return self._get_weak(function, instance)
            except TypeError:
                return self._get_strong(function, instance)

    def _get_weak(self, function: Callable[..., Any], instance: Any) -> B:
        key = id(instance)
        entries = self._weak

        def forget(reference: weakref.ref[Any]) -> None:
            if key in entries and entries[key][0] is reference:
                del entries[key]

        reference = weakref.ref(instance, forget)
        bound = self._bind(_without_self(function, reference))
        entries[key] = (reference, bound)
        return bound

    def _get_strong(self, function: Callable[..., Any], instance: Any) -> B:
        key = id(instance)
        if key not in self._strong:
            self._strong[key] = (instance, self._bind(_without_self(function, lambda: instance)))
            if len(self._strong) > _MAX_STRONG:
                self._strong.popitem(last=False)
        self._strong.move_to_end(key)
        return self._strong[key][1]


def _without_self(function: Callable[..., Any], instance: Callable[[], Any]) -> Callable[..., Any]:
    def method(*args: Any, **kwargs: Any) -> Any:
        target = instance()
        bind = getattr(function, "__get__", None)  # of another transform: it must not count self as an argument
        return function(target, *args, **kwargs) if bind is None else bind(target, type(target))(*args, **kwargs)

    method.__name__ = getattr(function, "__name__", "method")
    method.__qualname__ = getattr(function, "__qualname__", "method")
    method.__doc__ = function.__doc__
    try:
        signature = inspect.signature(function)
        method.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=list(signature.parameters.values())[1:]
        )
    except (TypeError, ValueError):
        pass  # no signature to be had; static arguments are then by position only
    return method
