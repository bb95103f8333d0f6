"""The named argument shapes of ``dense``."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from spikax_kernels.ops._spec import BENCH, PRODUCTS, Spec

LARGEST = 10_000_000
"""What is no trouble to multiply as a dense matrix, as a number of entries."""

SPECS = (
    *(
        spec
        for spec in PRODUCTS
        if not (spec.homogeneous or spec.equal or spec.index == "int64" or spec.rows * spec.cols > LARGEST)
    ),
    Spec("dense, 4 k", 4_000, 4_000, 4_000.0, 0.01, tags=BENCH),
)
"""Those of the products that do not tell sparse matrices apart, and one that is nearly as large as memory caches."""


def arguments(spec: Spec, seed: int = 0) -> tuple[tuple[np.ndarray[Any, Any], ...], dict[str, Any]]:
    """The operands and the params of the call that ``spec`` names, ``x @ weights``."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(*(1,) * len(spec.lanes), spec.rows, spec.cols)).astype(spec.dtype)
    return (weights, spec.vector(spec.rows, rng)), {"transpose": False, "binary": spec.binary}


def transposed(spec: Spec, seed: int = 0) -> tuple[tuple[np.ndarray[Any, Any], ...], dict[str, Any]]:
    """The same of ``weights @ x``."""
    (weights, x), params = arguments(dataclasses.replace(spec, rows=spec.cols, cols=spec.rows), seed)
    return (weights.swapaxes(-1, -2), x), params | {"transpose": True}
