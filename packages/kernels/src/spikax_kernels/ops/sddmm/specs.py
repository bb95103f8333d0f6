"""The named argument shapes of ``sddmm``."""

from __future__ import annotations

from typing import Any

import numpy as np

from spikax_kernels.ops._spec import PRODUCTS, Spec

SPECS = tuple(spec for spec in PRODUCTS if not spec.homogeneous)
"""Those of the products; it has no weights that could be shared."""


def arguments(spec: Spec, seed: int = 0) -> tuple[tuple[np.ndarray[Any, Any], ...], dict[str, Any]]:
    """The operands and the params of the call that ``spec`` names: events per row, and a cotangent per column.

    Lanes are summed in the result, as in the gradient of a weight that all of them share.
    """
    rng = np.random.default_rng(seed)
    _, indices, indptr = spec.matrix(rng)
    cotangent = rng.normal(size=(*spec.lanes, spec.cols)).astype(spec.dtype)
    params = {"dtype": np.dtype(spec.dtype), "lanes": (1,) * len(spec.lanes), "binary": (spec.binary, False)}
    return (spec.vector(spec.rows, rng), cotangent, indices, indptr), params
