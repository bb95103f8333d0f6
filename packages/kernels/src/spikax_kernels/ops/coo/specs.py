"""The named argument shapes of ``coo``."""

from __future__ import annotations

from typing import Any

import numpy as np

from spikax_kernels.ops._spec import PRODUCTS, Spec

SPECS = tuple(spec for spec in PRODUCTS if not spec.equal)
"""Those of the products; it has no rows that could be of one length."""


def arguments(spec: Spec, seed: int = 0) -> tuple[tuple[np.ndarray[Any, Any], ...], dict[str, Any]]:
    """The operands and the params of the call that ``spec`` names, with entries in any order."""
    rng = np.random.default_rng(seed)
    data, indices, indptr = spec.matrix(rng)
    row = np.repeat(np.arange(spec.rows), np.diff(indptr.reshape(-1))).astype(spec.index)
    row = rng.permutation(row).reshape(indices.shape)
    return (data, row, indices, spec.vector(spec.rows, rng)), {"size": spec.cols, "binary": spec.binary}
