"""Backends: the registry of an operator's kernels, ``use_backend``, and the choice of a kernel for one call."""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import jax
from jax.core import ShapedArray

from ._call import Backend, call_of
from ._compat import PLATFORMS
from ._describe import describe_all
from ._errors import BackendFallbackWarning, BackendRefusedError, NoBackendError, ParameterError, UnknownBackendError

Build: TypeAlias = Callable[..., Callable[..., Any]]
Supports: TypeAlias = Callable[..., bool | str]

REFERENCE = "reference"
"""The name that selects an operator's reference."""

_GPU = ("gpu", "cuda", "rocm")

# Mutable because JAX makes it so: the one user context of the process (each new one re-traces everything), and the
# names that `use_backend` may be given.
_requested = jax.make_user_context(None)
_known = {REFERENCE}


@dataclass(frozen=True)
class KernelEntry:
    """One kernel of an operator.

    Attributes:
        backend: The name it is chosen by, such as ``"cpp"`` or ``"numba"``.
        platform: The platform it runs on: ``"cpu"``, ``"gpu"``, ``"cuda"``, ``"rocm"`` or ``"tpu"``.
        build: ``build(in_avals, out_avals, **params)`` returns a JAX-traceable callable ``(*ins) -> outs``.
        supports: ``supports(in_avals, **params)`` is ``True``, ``False``, or a string that says why not.
        exportable: Whether it survives ``jax.export`` into another process.
    """

    backend: str
    platform: str
    build: Build
    supports: Supports | None = None
    exportable: bool = False

    def runs_on(self, platform: str) -> bool:
        """Whether it serves ``platform``; ``"gpu"`` stands for CUDA and ROCm, as in ``jax.default_backend()``."""
        if "gpu" in (platform, self.platform):
            return platform in _GPU and self.platform in _GPU
        return platform == self.platform

    def refusal(self, in_avals: Sequence[ShapedArray], params: Mapping[str, Any]) -> str | None:
        """Why the entry does not serve a call with these inputs; ``None`` if it does."""
        answer = True if self.supports is None else self.supports(in_avals, **params)
        if isinstance(answer, str):
            return answer
        return None if answer else f"it does not support {describe_all(in_avals)}"


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

    Example:
        >>> import jax.numpy as jnp
        >>> import spikax_core
        >>> double = spikax_core.XLACustomKernel("double", reference=lambda x: 2 * x)
        >>> double.def_shape_rule(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype))
        >>> with spikax_core.use_backend("reference"):
        ...     double(jnp.arange(3.0))
        Array([0., 2., 4.], dtype=float32)
    """
    if backend not in _known:
        raise UnknownBackendError(f"got backend {backend!r}; expected one of {sorted(_known)}")
    with _requested(backend):
        yield


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


@dataclass
class Registry:
    """The kernels of one operator."""

    operator: str
    entries: list[KernelEntry] = field(default_factory=list)
    reference: KernelEntry | None = None
    _warned: set[tuple[str, str]] = field(default_factory=set)

    def add(self, entry: KernelEntry) -> None:
        """Register a kernel, in the place of one for the same backend and platform if there is one.

        Raises:
            ParameterError: The backend is called ``"reference"``, or the platform is unknown.
        """
        if entry.backend == REFERENCE or entry.platform not in (*PLATFORMS, "gpu"):
            raise ParameterError(
                f"{self.operator}: got backend {entry.backend!r} on {entry.platform!r}; expected any name but "
                f"{REFERENCE!r} (use def_reference) on one of {[*PLATFORMS, 'gpu']}"
            )
        for i, other in enumerate(self.entries):
            if (other.backend, other.platform) == (entry.backend, entry.platform):
                self.entries[i] = entry
                break
        else:
            self.entries.append(entry)
        _known.add(entry.backend)

    def available(self, platform: str) -> tuple[str, ...]:
        """The backends with a kernel on ``platform``, in the order in which they are tried."""
        names = [entry.backend for entry in self.entries if entry.runs_on(platform)]
        return tuple(dict.fromkeys([*names, REFERENCE] if self.reference else names))

    def choose(
        self,
        platform: str,
        backend: Backend | None,
        in_avals: Sequence[ShapedArray],
        params: Mapping[str, Any],
    ) -> KernelEntry:
        """The kernel for one call: the one asked for, else the first registered that supports it, else the reference.

        Raises:
            UnknownBackendError: The call asked for a backend that the operator does not have.
            BackendRefusedError: The call asked for a backend that does not serve it.
            NoBackendError: Nothing serves it and there is no reference.
        """
        if backend is not None and backend.name == REFERENCE and self.reference is not None:
            return self.reference
        here = [entry for entry in self.entries if entry.runs_on(platform)]
        if backend is not None:  # stable: kernels of the backend asked for first, the others in their order
            here.sort(key=lambda entry: entry.backend != backend.name)
        refusals: dict[str, str] = {}
        complain = functools.partial(self._complain, backend, platform, refusals)
        for entry in here:
            if backend is not None and entry.backend != backend.name:
                complain()
            reason = entry.refusal(in_avals, params)
            if reason is None:
                return entry
            refusals[entry.backend] = reason
        complain()
        if self.reference is not None:
            return self.reference
        raise self._nothing_serves(platform, refusals, in_avals)

    def _complain(self, backend: Backend | None, platform: str, refusals: Mapping[str, str]) -> None:
        """Say that ``backend`` does not serve the call: an error if this very call asked for it, else one warning."""
        if backend is None:
            return
        names = sorted({entry.backend for entry in self.entries} | ({REFERENCE} if self.reference else set()))
        elsewhere = sorted({entry.platform for entry in self.entries if entry.backend == backend.name})
        absent = f"it runs on {elsewhere}, not on {platform}" if elsewhere else "it has no such kernel"
        message = f"backend {backend.name!r} does not serve {self.operator}: {refusals.get(backend.name, absent)}"
        if backend.strict and elsewhere:
            raise BackendRefusedError(f"{message}; leave out backend= or name one of {names}")
        if backend.strict:
            raise UnknownBackendError(f"{message}; expected one of {names}")
        if (backend.name, platform) not in self._warned:
            self._warned.add((backend.name, platform))
            warnings.warn(f"{message}; the default kernel runs instead", BackendFallbackWarning, stacklevel=3)

    def _nothing_serves(
        self, platform: str, refusals: Mapping[str, str], in_avals: Sequence[ShapedArray]
    ) -> NoBackendError:
        """Every reason why no kernel serves the call."""
        elsewhere = {e.backend: f"it runs on {e.platform}, not on {platform}" for e in self.entries}
        why = {**elsewhere, **refusals} or {"any": "no kernel is registered; use def_kernel or def_reference"}
        reasons = [BackendRefusedError(f"backend {name!r} of {self.operator}: {text}") for name, text in why.items()]
        message = f"{self.operator} has no kernel for {describe_all(in_avals)} on {platform}, and no reference"
        return NoBackendError(message, reasons)
