"""Extras: the optional packages that some backends need, and how to install them."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from types import MappingProxyType

EXTRAS: Mapping[str, str] = MappingProxyType(
    {"numba": "numba", "plot": "matplotlib", "testing": "flatbuffers", "warp": "warp"}
)
"""The package that each extra of ``spikax-core`` brings, by the name it is imported under."""

BACKENDS = ("numba", "warp")
"""The extras that are backends, of the same names."""


def missing(extra: str) -> str | None:
    """How to install an extra whose package is not there; ``None`` if it is."""
    package = EXTRAS[extra]
    if importlib.util.find_spec(package) is not None:
        return None
    return f'the package {package} is not installed; pip install "spikax-core[{extra}]"'
