"""The kernels of an operator, and the choice of one of them for one call."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from jax.core import ShapedArray

from ._call import Backend, Call
from ._compat import PLATFORMS
from ._context import REFERENCE, make_known
from ._describe import describe_all
from ._errors import (
    BackendFallbackWarning,
    BackendRefusedError,
    MissingExtraError,
    NoBackendError,
    ParameterError,
    UnknownBackendError,
    check_callable,
)
from ._extras import EXTRAS, missing

Build: TypeAlias = Callable[..., Callable[..., Any]]
Supports: TypeAlias = Callable[..., bool | str]

ANY = "any"
"""The platform of a kernel that runs everywhere."""

_GPU = ("gpu", "cuda", "rocm")


def serves(declared: str, platform: str) -> bool:
    """Whether what is declared for a platform holds on another; ``"gpu"`` stands for CUDA and ROCm, as JAX has it."""
    if "gpu" in (platform, declared):
        return platform in _GPU and declared in (*_GPU, ANY)
    return declared in (platform, ANY)


@dataclass(frozen=True)
class KernelEntry:
    """One kernel of an operator.

    Attributes:
        backend: The name it is chosen by, such as ``"cpp"`` or ``"numba"``.
        platform: The platform it runs on: ``"cpu"``, ``"gpu"``, ``"cuda"``, ``"rocm"`` or ``"tpu"``.
        build: ``build(in_avals, out_avals, **params)`` returns a JAX-traceable callable ``(*ins) -> outs``.
        supports: ``supports(in_avals, **params)`` is ``True``, ``False``, or a string that says why not.
        exportable: Whether it survives ``jax.export`` into another process.
        requires: The extra of ``spikax-core`` that it needs, such as ``"numba"``.
        target: The XLA FFI target that it calls, if it calls one.
    """

    backend: str
    platform: str
    build: Build
    supports: Supports | None = None
    exportable: bool = False
    requires: str | None = None
    target: str | None = None

    def runs_on(self, platform: str) -> bool:
        """Whether it runs on ``platform``; ``"gpu"`` stands for CUDA and ROCm, as in ``jax.default_backend()``."""
        return serves(self.platform, platform)

    def refusal(
        self, in_avals: Sequence[ShapedArray], params: Mapping[str, Any], *, exporting: bool = False
    ) -> str | None:
        """Why the entry does not serve a call with these inputs; ``None`` if it does."""
        absent = None if self.requires is None else missing(self.requires)
        if absent is not None:
            return absent
        if exporting and not self.exportable:
            return "it cannot be exported, as it runs code of this process"
        answer = True if self.supports is None else self.supports(in_avals, **params)
        if isinstance(answer, str):
            return answer
        return None if answer else f"it does not support {describe_all(in_avals)}"


@dataclass(eq=False)
class Registry:
    """The kernels of one operator, and its default backends."""

    operator: str
    entries: list[KernelEntry] = field(default_factory=list)
    reference: KernelEntry | None = None
    defaults: dict[str, str] = field(default_factory=dict)
    _warned: set[tuple[str, ...]] = field(default_factory=set)

    def add(self, entry: KernelEntry) -> None:
        """Register a kernel, in the place of one for the same backend and platform if there is one.

        Raises:
            ParameterError: The backend is called ``"reference"``, the platform or the extra is unknown, or what is to
                be called cannot be.
        """
        check_callable(f"{self.operator}: build of {entry.backend!r}", entry.build)
        if entry.supports is not None:
            check_callable(f"{self.operator}: supports of {entry.backend!r}", entry.supports)
        if entry.backend == REFERENCE:
            raise ParameterError(
                f"{self.operator}: got backend {REFERENCE!r}; expected another name (use def_reference)"
            )
        self._check_platform(entry.platform)
        if entry.requires is not None and entry.requires not in EXTRAS:
            raise ParameterError(
                f"{self.operator}: got requires={entry.requires!r}; expected None or one of {sorted(EXTRAS)}"
            )
        for i, other in enumerate(self.entries):
            if (other.backend, other.platform) == (entry.backend, entry.platform):
                self.entries[i] = entry
                break
        else:
            self.entries.append(entry)
        make_known(entry.backend, entry.requires)

    def set_default(self, platform: str, backend: str | None) -> None:
        """Try a backend first on ``platform`` where a call asks for none; ``None``: the first one registered again.

        Raises:
            ParameterError: The platform is unknown.
            UnknownBackendError: The operator has no such kernel there.
            MissingExtraError: It has one, which needs a package that is not installed.
        """
        self._check_platform(platform)
        if backend is None:
            self.defaults.pop(platform, None)
            return
        where = f"set_default of {self.operator} on {platform}"
        extras = {entry.backend: entry.requires for entry in self._all if entry.runs_on(platform)}
        if backend not in extras:
            raise UnknownBackendError(f"{where}: got backend {backend!r}; expected None or one of {list(extras)}")
        extra = extras[backend]
        if extra is not None and backend not in self.available(platform):
            raise MissingExtraError(f"{where}: backend {backend!r}: {missing(extra)}")
        self.defaults[platform] = backend

    def available(self, platform: str) -> tuple[str, ...]:
        """The backends whose kernels can run on ``platform``, in the order in which they were registered."""
        here = [entry for entry in self._all if entry.runs_on(platform)]
        return tuple(
            dict.fromkeys(entry.backend for entry in here if not entry.requires or not missing(entry.requires))
        )

    def entry(self, platform: str, backend: str) -> KernelEntry | None:
        """The kernel of a backend on ``platform``, if there is one."""
        return next((e for e in self._all if e.backend == backend and e.runs_on(platform)), None)

    def choose(
        self,
        platform: str,
        call: Call,
        in_avals: Sequence[ShapedArray],
        params: Mapping[str, Any],
        *,
        build: Callable[[KernelEntry], Callable[..., Any]],
        exporting: bool = False,
    ) -> tuple[KernelEntry, Callable[..., Any]]:
        """The kernel for one call: of the backend asked for, else the default one, else the first that serves it.

        The reference comes last. One whose ``build`` raises :class:`BackendRefusedError` does not serve it either.

        Raises:
            UnknownBackendError: The call asked for a backend that the operator does not have.
            BackendRefusedError: The call asked for a backend that does not serve it.
            NoBackendError: Nothing serves it and there is no reference.
        """
        asked = None if call.backend is None else call.backend.name
        defaults = dict(call.defaults)
        default = defaults.get(platform) or next((defaults[d] for d in defaults if serves(d, platform)), None)
        here = [entry for entry in self._all if entry.runs_on(platform)]
        # Stable: within each rank they stay in the order in which they were registered.
        here.sort(key=lambda entry: (entry.backend != asked, entry.backend != default))
        refusals: dict[str, str] = {}
        complain = functools.partial(self._complain, call.backend, platform, refusals)
        for entry in here:
            if entry.backend != asked:
                complain()
            reason = entry.refusal(in_avals, params, exporting=exporting)
            try:
                if reason is None:
                    return entry, build(entry)
            except BackendRefusedError as refusal:
                reason = str(refusal)
            refusals[entry.backend] = reason
            if exporting and not entry.exportable and entry.backend != asked:
                message = f"{self.operator}: backend {entry.backend!r} is left out: {reason}"
                self._warn_once(message, entry.backend, "export")
        complain()
        raise self._nothing_serves(platform, refusals, in_avals)

    @property
    def _all(self) -> list[KernelEntry]:
        return self.entries if self.reference is None else [*self.entries, self.reference]

    def _check_platform(self, platform: str) -> None:
        if platform not in (*PLATFORMS, "gpu"):
            raise ParameterError(f"{self.operator}: got platform {platform!r}; expected one of {[*PLATFORMS, 'gpu']}")

    def _complain(self, backend: Backend | None, platform: str, refusals: Mapping[str, str]) -> None:
        """Say that ``backend`` does not serve the call: an error if this very call asked for it, else one warning."""
        if backend is None:
            return
        names = sorted({entry.backend for entry in self._all})
        elsewhere = sorted({entry.platform for entry in self.entries if entry.backend == backend.name})
        absent = f"it runs on {elsewhere}, not on {platform}" if elsewhere else "it has no such kernel"
        message = f"backend {backend.name!r} does not serve {self.operator}: {refusals.get(backend.name, absent)}"
        if backend.strict and elsewhere:
            raise BackendRefusedError(f"{message}; leave out backend= or name one of {names}")
        if backend.strict:
            raise UnknownBackendError(f"{message}; expected one of {names}")
        self._warn_once(f"{message}; the default kernel runs instead", backend.name, platform)

    def _warn_once(self, message: str, *about: str) -> None:
        if about not in self._warned:
            self._warned.add(about)
            warnings.warn(message, BackendFallbackWarning, stacklevel=4)

    def _nothing_serves(
        self, platform: str, refusals: Mapping[str, str], in_avals: Sequence[ShapedArray]
    ) -> NoBackendError:
        """Every reason why no kernel serves the call."""
        elsewhere = {e.backend: f"it runs on {e.platform}, not on {platform}" for e in self.entries}
        why = {**elsewhere, **refusals} or {"any": "no kernel is registered; use def_kernel or def_reference"}
        reasons = [BackendRefusedError(f"backend {name!r} of {self.operator}: {text}") for name, text in why.items()]
        message = f"{self.operator} has no kernel for {describe_all(in_avals)} on {platform}, and no reference"
        return NoBackendError(message, reasons)
