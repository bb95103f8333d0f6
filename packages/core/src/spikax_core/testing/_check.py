"""``check_kernel``: every property, for every case, on every backend."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Iterator, Sequence

import jax
import numpy as np

from spikax_core._errors import BackendFallbackWarning, ParameterError
from spikax_core._kernel import XLACustomKernel

from ._case import Case
from ._failure import ConformanceError, NotConformingError
from ._properties import CHECKS
from ._subject import Subject

WIDE = ("float64", "int64", "uint64", "complex128")


def check_kernel(kernel: XLACustomKernel, specs: Iterable[Case], *, backends: Sequence[str] | None = None) -> None:
    """Check that a kernel has every property of a JAX operator, in each case and on each backend of this platform.

    - ``value``: it is that of the reference, in structure, shape, dtype and value; without a reference it fails.
    - ``jit``: compiled and eager calls agree. ``shared operands``: two compiled functions may close over the same.
      ``retrace``: new values compile nothing. ``empty``: batches of size zero, operands without rows.
    - ``vmap`` over every subset of the arguments, and ``nested vmap``, are loops.
    - ``jvp and vjp`` are transposes, ``finite differences`` and ``jacobians`` agree, ``symbolic zeros`` are zeros, and
      ``vmap of gradient`` is a loop.
    - ``shard_map`` and ``gradient under shard_map``: values and gradients, of operands that are replicated and sharded,
      with default flags; only where there are two devices.
    - ``partition``: an operator that declares how it may be divided gives the same values and gradients where its
      operands are cut in each way, and gathers none; only where there are two devices.
    - ``export``: where the kernel is exportable, an exported program gives its values, after it was serialised if
      ``spikax-core[testing]`` is installed.

    A backend that refuses a case is not checked on it; one that refuses all cases fails.

    Args:
        kernel: The operator.
        specs: Named cases.
        backends: The backends to check; all that have a kernel on this platform, and the reference, if left out.

    Raises:
        NotConformingError: The group of all failures, each a :class:`ConformanceError` that names the case, the backend
            and the property, what it got and what it expected.
        ParameterError: There are no cases, or two of one name; there is no such backend.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from spikax_core import XLACustomKernel
        >>> from spikax_core.testing import Case, check_kernel
        >>> square = XLACustomKernel("square", reference=lambda x: x * x)
        >>> square.def_shape_rule(lambda x: x)
        >>> square.def_jvp_rule2(lambda t, x: 3 * x * t)
        >>> check_kernel(square, [Case("three numbers", (jnp.arange(3.0),))])
        Traceback (most recent call last):
          ...
        spikax_core.testing._failure.NotConformingError: square: 1 failure in 1 case (1 sub-exception)
    """
    cases = tuple(specs)
    names = [case.name for case in cases]
    if not cases or len(set(names)) != len(names):
        raise ParameterError(f"specs: got cases named {names}; expected at least one, each with a name of its own")
    available = kernel.available_backends(jax.default_backend())
    if backends is not None and not set(backends) <= set(available):
        raise ParameterError(f"backends: got {list(backends)}; expected some of {list(available)}")
    failures: list[ConformanceError] = []
    with warnings.catch_warnings():
        # What a rule calls need not have the backend that is being checked.
        warnings.simplefilter("ignore", BackendFallbackWarning)
        for backend in available if backends is None else backends:
            failures.extend(_check_backend(kernel, cases, backend))
    if not available:
        failures.append(
            ConformanceError("any", "none", "value", "got no kernel and no reference; expected a reference")
        )
    if failures:
        counts = f"{_count(len(failures), 'failure')} in {_count(len(cases), 'case')}"
        raise NotConformingError(f"{kernel.name}: {counts}", failures)


def _check_backend(kernel: XLACustomKernel, cases: Sequence[Case], backend: str) -> Iterator[ConformanceError]:
    """All failures on one backend."""
    refusals: list[str] = []
    for case in cases:
        with _widths(case):
            subject = Subject(kernel, case, backend)
            refusal = subject.refusal(*subject.args)
            if refusal is None:
                yield from _check_subject(subject)
            else:
                refusals.append(f"{case.name!r}: {refusal}")
    if len(refusals) == len(cases):
        message = f"got refusals ({'; '.join(refusals)}); expected to serve one case at least"
        yield ConformanceError("any", backend, "value", message)


def _check_subject(subject: Subject) -> Iterator[ConformanceError]:
    """All failures of one case on one backend; that a check raises is one as well."""
    for name, property_ in CHECKS.items():
        if name in subject.case.skip:
            continue
        checks = property_(subject)
        while True:
            label: str = name
            try:
                check = next(checks, None)
                if check is None:
                    break
                label = check.label
                problem = check.problem(subject.case.tolerance)
                cause = None
            except Exception as error:  # noqa: BLE001 - any error of the kernel is a finding, and others follow
                problem = f"{label}: got {type(error).__name__}: {error}; expected a result"
                cause = error
            if problem is not None:
                failure = ConformanceError(subject.case.name, subject.backend, name, problem)
                failure.__cause__ = cause
                yield failure


def _widths(case: Case) -> contextlib.AbstractContextManager[object]:
    """64-bit types where an operand has one."""
    wide = any(getattr(arg, "dtype", np.dtype(bool)).name in WIDE for arg in case.args)
    return jax.enable_x64(True) if wide else contextlib.nullcontext()


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
