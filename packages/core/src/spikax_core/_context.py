"""``use_backend``: which backend is asked for, here and now, as a part of what JAX compiles for."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import jax

from ._call import call_of
from ._compat import set_context
from ._errors import MissingExtraError, UnknownBackendError
from ._extras import BACKENDS, missing

REFERENCE = "reference"
"""The name that selects an operator's reference."""

# Mutable because JAX makes it so: two user contexts for the whole process (each new one re-traces everything), as what
# is asked for belongs to a thread and declarations to all; and the names that `use_backend` may be given, each with the
# extras that its kernels require, `None` for one that requires nothing.
_requested = jax.make_user_context(None)
_declared = jax.make_user_context(0)
_lock = threading.Lock()
_changes = itertools.count(1)
_known: dict[str, frozenset[str | None]] = {REFERENCE: frozenset({None})}


def make_known(backend: str, requires: str | None) -> None:
    """Let :func:`use_backend` take the name of a backend, one kernel of which has these requirements."""
    _known[backend] = _known.get(backend, frozenset()) | {requires}


@contextlib.contextmanager
def use_backend(backend: str) -> Iterator[None]:
    """Prefer ``backend`` for every operator bound inside; the innermost ``use_backend`` counts.

    The choice is part of JAX's trace key: a function compiled under one backend is traced again under another, and a
    warm ``jit`` never runs the old kernel. An operator that does not have the backend runs its default kernel instead
    and says so once, with a :class:`BackendFallbackWarning`. The context is thread-local: new threads start without it.
    Do not hold it across ``await``.

    Args:
        backend: The name of a backend that some operator has, or ``"reference"``.

    Raises:
        UnknownBackendError: No operator has a backend of that name.
        MissingExtraError: The backend needs a package that is not installed.

    Example:
        >>> import jax.numpy as jnp
        >>> import spikax_core
        >>> double = spikax_core.XLACustomKernel("double", reference=lambda x: 2 * x)
        >>> double.def_shape_rule(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype))
        >>> with spikax_core.use_backend("reference"):
        ...     double(jnp.arange(3.0))
        Array([0., 2., 4.], dtype=float32)
    """
    check_known(backend)
    with _requested(backend):
        yield


def check_known(backend: str) -> None:
    """Raise unless some operator has the backend and it can run.

    Raises:
        UnknownBackendError: No operator has it.
        MissingExtraError: It needs a package that is not installed.
    """
    extras = _known.get(backend, {backend} if backend in BACKENDS else set())
    reasons = [reason for extra in extras if extra is not None and (reason := missing(extra)) is not None]
    if reasons and len(reasons) == len(extras):
        raise MissingExtraError(f"backend {backend!r}: {'; or '.join(sorted(reasons))}")
    if backend not in _known:
        raise UnknownBackendError(f"got backend {backend!r}; expected one of {sorted(_known)}")


def ambient_backend() -> str | None:
    """The name given to the innermost ``use_backend``, or handed down by the rule that is running."""
    name: str | None = _requested.value
    return name


@contextlib.contextmanager
def inherit_backend(params: Mapping[str, Any]) -> Iterator[None]:
    """Let the operators bound inside ask for the backend that the one with these params asked for, or for none.

    This is the context of ``use_backend``, not one of our own, so that what a rule calls through ``jit`` is traced anew
    for another backend. It is not strict: a rule may bind another operator, which need not have this backend.
    """
    call = call_of(params)
    name = call.backend.name if call is not None and call.backend is not None else None
    if call is None or name == ambient_backend():
        yield
        return
    with _requested(name):
        yield


@contextlib.contextmanager
def declaring_anew() -> Iterator[None]:
    """One change of what operators declare at a time, after which JAX traces everything anew, in all threads.

    What it then compiles for is a number that never comes back, not the declaration itself: a trace that saw it change
    has been kept for the number before, and would be found again when it is changed back.
    """
    with _lock:
        yield
        set_context(_declared, next(_changes))
