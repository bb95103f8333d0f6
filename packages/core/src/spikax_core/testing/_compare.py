"""``Check``: something got and what it should be, and whether they agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spikax_core._describe import describe

TOLERANCES: Mapping[str, float] = {"float64": 1e-12, "float32": 1e-5, "bfloat16": 4e-2, "float16": 5e-3}
"""Largest error by dtype, relative to the largest magnitude: some tens of roundings, for sums in another order."""

STEPS: Mapping[str, float] = {"float64": 6e-6, "float32": 5e-3, "bfloat16": 0.2, "float16": 0.1}
"""Steps of central differences, the cube root of the machine epsilon: rounding and truncation are then alike."""

DIFFERENCE_TOLERANCES: Mapping[str, float] = {"float64": 1e-7, "float32": 2e-3, "bfloat16": 0.3, "float16": 0.1}
"""Largest error of a central difference: that of its step squared, with room for the third derivative."""


@dataclass(frozen=True)
class Check:
    """One comparison that a property consists of.

    Attributes:
        label: What is compared.
        got: Computes what the kernel gives.
        expected: Computes what it should give, of the same structure.
        finite: Whether neither may hold infinities or NaN; otherwise they must be at the same places.
        tolerances: Largest errors by dtype, relative to the largest magnitude of what is expected, or ``scale``.
        scale: A magnitude to which the errors are relative, if it is larger.
    """

    label: str
    got: Callable[[], Any]
    expected: Callable[[], Any]
    finite: bool = False
    tolerances: Mapping[str, float] | None = None
    scale: float = 0.0

    def problem(self, tolerance: float | None = None) -> str | None:
        """What is wrong, or ``None``; ``tolerance`` takes the place of those by dtype."""
        got, expected = self.got(), self.expected()
        have, want = (str(jax.tree.structure(value)) for value in (got, expected))
        if have != want:
            return f"{self.label}: got {have}; expected {want}"
        for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
            if (np.shape(one), _dtype(one)) != (np.shape(other), _dtype(other)):
                return f"{self.label}: got {describe(one)}; expected {describe(other)}"
            wrong = self._differ(np.asarray(one), np.asarray(other), tolerance)
            if wrong:
                return f"{self.label}: {wrong}"
        return None

    def _differ(self, got: Any, expected: Any, tolerance: float | None) -> str | None:
        """Where two arrays of one type differ most, if by too much."""
        if expected.dtype == jax.dtypes.float0 or not expected.size:
            return None
        exact = not jnp.issubdtype(expected.dtype, jnp.inexact)
        if exact:
            error, allowed = (got != expected).astype(np.float64), 0.0
        else:
            one, other = wide(got), wide(expected)
            real = np.isfinite(other)
            strange = ~np.isfinite(one) if self.finite else ~_alike(one, other)
            if self.finite and not (real & ~strange).all():
                return f"got {_count(one)}, expected {_count(other)}; both must be finite"
            allowed = self._tolerance(expected.dtype, tolerance) * max(self.scale, np.abs(other[real]).max(initial=0))
            error = np.where(real & ~strange, np.abs(np.where(real & ~strange, one - other, 0)), 0)
            error = np.where(strange, np.inf, error)
        if (error <= allowed).all():
            return None
        at = np.unravel_index(error.argmax(), error.shape)
        where = f" at {tuple(map(int, at))}" if at else ""
        return (
            f"got {_show(got[at])}; expected {_show(expected[at])}{where} (of {describe(expected)}, "
            f"in {int((error > allowed).sum())} of {error.size} places; allowed is an error of {allowed:.2g})"
        )

    def _tolerance(self, dtype: Any, tolerance: float | None) -> float:
        """The largest relative error; a case with a tolerance of its own is at least as rough in its differences."""
        if self.tolerances is None:
            return by_dtype(TOLERANCES, dtype) if tolerance is None else tolerance
        return max(by_dtype(self.tolerances, dtype), tolerance or 0.0)


@dataclass(frozen=True)
class Problem:
    """Something that is wrong before anything can be compared."""

    label: str
    message: str

    def problem(self, tolerance: float | None = None) -> str:
        """What is wrong."""
        return f"{self.label}: {self.message}"


def by_dtype(table: Mapping[str, float], dtype: Any) -> float:
    """The entry of ``table`` for a dtype; that of its parts for a complex one, the coarsest for an unknown one."""
    parts = {"complex64": "float32", "complex128": "float64"}
    return table.get(parts.get(str(dtype), str(dtype)), max(table.values()))


def wide(x: Any) -> Any:
    """``x`` as NumPy's float64 or complex128, in which differences are exact enough."""
    array = np.asarray(x)
    return array.astype(np.complex128 if jnp.issubdtype(array.dtype, jnp.complexfloating) else np.float64)


def _alike(one: Any, other: Any) -> Any:
    """Where two arrays are both finite, or both NaN, or the same infinity."""
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(other), np.isfinite(one), (one == other) | (np.isnan(one) & np.isnan(other)))


def _count(x: Any) -> str:
    return f"{int((~np.isfinite(x)).sum())} infinities or NaN in {describe(x)}"


def _dtype(x: Any) -> Any:
    return getattr(x, "dtype", np.asarray(x).dtype)


def _show(x: Any) -> str:
    number = np.asarray(x)
    return f"{wide(number)[()]:.7g}" if jnp.issubdtype(number.dtype, jnp.inexact) else str(number[()])
