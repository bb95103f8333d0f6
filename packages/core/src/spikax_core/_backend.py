"""Backends: the registry of an operator's kernels, ``use_backend``, and the choice of a kernel for one call."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax

from ._call import Backend, inherited_backend
from ._describe import describe_all
from ._errors import BackendFallbackWarning, BackendRefusedError, NoBackendError, UnknownBackendError

Build: TypeAlias = Callable[..., Callable[..., Any]]
Supports: TypeAlias = Callable[..., bool | str]

REFERENCE = "reference"
"""The name that selects an operator's reference."""

_GPU = ("cuda", "rocm")

# Mutable because JAX makes it so: the first is the one user context of the process (each new one re-traces everything),
# the second the names that `use_backend` may be given, the third what has been warned about already.
_requested = jax.make_user_context(None)
_known = {REFERENCE}
_warned: set[tuple[str, str, str]] = set()


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
        """Whether ``platform`` is this entry's, where ``"gpu"`` stands for CUDA and ROCm."""
        return platform == self.platform or (self.platform == "gpu" and platform in _GPU)

    def refusal(self, in_avals: Sequence[jax.core.ShapedArray], params: Mapping[str, Any]) -> str | None:
        """Why the entry does not serve a call with these inputs; ``None`` if it does."""
        answer = True if self.supports is None else self.supports(in_avals, **params)
        if answer is True:
            return None
        return answer if isinstance(answer, str) else f"it does not support {describe_all(in_avals)}"


def register_name(backend: str) -> None:
    """Make ``backend`` a name that :func:`use_backend` accepts."""
    _known.add(backend)


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


def requested_backend(explicit: str | None) -> Backend | None:
    """The backend asked for where an operator is bound: for this call, by the running rule, or by ``use_backend``."""
    if explicit is not None:
        return Backend(explicit, strict=True)
    inherited = inherited_backend()
    if inherited is not None:
        return inherited
    name: str | None = _requested.value
    return None if name is None else Backend(name, strict=False)


def choose(
    operator: str,
    entries: Sequence[KernelEntry],
    reference: KernelEntry | None,
    *,
    platform: str,
    backend: Backend | None,
    in_avals: Sequence[jax.core.ShapedArray],
    params: Mapping[str, Any],
) -> KernelEntry:
    """The kernel that serves one call: the one asked for, else the first registered that supports it, else the reference.

    Raises:
        UnknownBackendError: The call asked for a backend that the operator does not have.
        BackendRefusedError: The call asked for a backend that does not serve it.
        NoBackendError: Nothing serves it and there is no reference.
    """
    refusals: dict[str, str] = {}
    here = [entry for entry in entries if entry.runs_on(platform)]
    if backend is not None:
        if backend.name == REFERENCE and reference is not None:
            return reference
        for entry in here:
            if entry.backend == backend.name:
                reason = entry.refusal(in_avals, params)
                if reason is None:
                    return entry
                refusals[entry.backend] = reason
        _complain(operator, entries, backend, platform, refusals)
    for entry in here:
        if entry.backend not in refusals:
            reason = entry.refusal(in_avals, params)
            if reason is None:
                return entry
            refusals[entry.backend] = reason
    if reference is not None:
        return reference
    if not refusals:
        refusals = {e.backend: f"it runs on {e.platform}, not on {platform}" for e in entries}
    reasons = [BackendRefusedError(f"backend {name!r} of {operator}: {why}") for name, why in refusals.items()]
    if not reasons:
        reasons = [BackendRefusedError("it has no kernel at all: register one with def_kernel or def_reference")]
    raise NoBackendError(f"{operator} has no kernel for {describe_all(in_avals)} on {platform}, and no reference", reasons)


def _complain(
    operator: str, entries: Sequence[KernelEntry], backend: Backend, platform: str, refusals: Mapping[str, str]
) -> None:
    """Say that ``backend`` does not serve the call: an error if this very call asked for it, else one warning."""
    names = sorted({entry.backend for entry in entries} | {REFERENCE})
    elsewhere = sorted({entry.platform for entry in entries if entry.backend == backend.name})
    why = refusals.get(backend.name) or (f"it runs on {elsewhere}, not on {platform}" if elsewhere else "it has none")
    message = f"backend {backend.name!r} does not serve {operator}: {why}"
    if backend.strict:
        if backend.name in names and (elsewhere or backend.name == REFERENCE):
            raise BackendRefusedError(f"{message}; leave out backend= or name one of {names}")
        raise UnknownBackendError(f"{message}; expected one of {names}")
    seen = (operator, backend.name, platform)
    if seen not in _warned:
        _warned.add(seen)
        warnings.warn(f"{message}; the default kernel runs instead", BackendFallbackWarning, stacklevel=2)
