"""What a kernel that fails raises: one error per failure, and the group of them all."""

from __future__ import annotations

from spikax_core._errors import SpikaxError

from ._case import Property


class ConformanceError(SpikaxError, AssertionError):
    """A kernel lacks a property that every JAX operator has.

    Attributes:
        case: The name of the case.
        backend: The backend it ran on.
        property: The property, one of ``spikax_core.testing.Property``.
    """

    def __init__(self, case: str, backend: str, property: Property, message: str) -> None:  # noqa: A002 - the word for it
        super().__init__(case, backend, property, message)
        self.case = case
        self.backend = backend
        self.property: Property = property

    def __str__(self) -> str:
        case, backend, name, message = self.args
        return f"case {case!r} on backend {backend!r}, {name}: {message}"


class NotConformingError(SpikaxError, ExceptionGroup[ConformanceError]):
    """A kernel failed checks; the failures are its members."""
