"""Derivatives that carry units, by the unit library's own differentiation; it is imported only if asked for."""

from __future__ import annotations

import importlib
from typing import Any

from ._errors import MissingExtraError


def unit_autograd() -> Any:
    """The module with ``grad``, ``jacrev``, ``jacfwd`` and ``hessian`` that know units."""
    return _saiunit().autograd


def is_quantity(value: Any) -> bool:
    """Whether a node of a pytree is a number with a unit, which stays whole."""
    return isinstance(value, _saiunit().Quantity)


def _saiunit() -> Any:
    try:
        return importlib.import_module("saiunit")
    except ImportError as error:
        raise MissingExtraError(
            'unit_aware=True needs saiunit, which is not installed; run: pip install "spikax-transform[units]"'
        ) from error
