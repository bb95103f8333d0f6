"""`jit_error_if`: raise at run time, from inside compiled code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from . import _compat
from ._unvmap import unvmap


def jit_error_if(pred: Any, error: Exception | type[Exception] | str) -> None:
    """Raise if ``pred`` holds anywhere: at once where its value is known, else when the program runs.

    Inside `jit` and the like the check is a callback to Python, taken only if ``pred`` holds. JAX reports
    the error as a ``jax.errors.JaxRuntimeError`` whose message has ours in it, when a result of the program is awaited.

    Args:
        pred: a boolean array of any shape; under `vmap`, of any lane.
        error: an exception, a class of exceptions, or a message for a `RuntimeError`.

    Raises:
        Exception: the given one.

    >>> from spikax_transform import jit_error_if
    >>> jit_error_if(False, "never")
    >>> jit_error_if(1 > 0, ValueError("the rate is negative"))
    Traceback (most recent call last):
        ...
    ValueError: the rate is negative
    """
    failure = _failure(error)
    flag = jnp.any(jnp.asarray(pred)) if isinstance(pred, jax.Array) else np.any(pred)
    if not isinstance(flag, _compat.Tracer):
        if flag:
            failure()
        return
    lax.cond(unvmap(flag, "any"), lambda: jax.debug.callback(failure), lambda: None)


@dataclass(frozen=True)
class _Failure:
    """Raises an exception; kept by class and arguments, by which two programs with the same check are known as one."""

    kind: type[BaseException]
    args: tuple[Any, ...]

    def __call__(self) -> None:
        raise self.kind(*self.args)


@dataclass(frozen=True, eq=False)
class _Exactly:
    """Raises an exception that cannot be made again from its arguments."""

    error: BaseException

    def __call__(self) -> None:
        raise self.error


def _failure(error: Any) -> _Failure | _Exactly:
    if isinstance(error, str):
        return _Failure(RuntimeError, (error,))
    if isinstance(error, type) and issubclass(error, BaseException):
        return _Failure(error, ())
    if not isinstance(error, BaseException):
        raise TypeError(f"jit_error_if got a {type(error).__name__}; expected an exception, its class, or a message.")
    # a subclass may take other arguments than it keeps
    plain = type(error).__init__ in (Exception.__init__, BaseException.__init__, *_PLAIN) and not vars(error)
    return _Failure(type(error), error.args) if plain else _Exactly(error)


_PLAIN = tuple({kind.__init__ for kind in (ValueError, TypeError, RuntimeError, ArithmeticError, AssertionError)})
