"""The named argument shapes of ``gather``."""

from __future__ import annotations

from typing import Any

import numpy as np

from spikax_kernels.ops._spec import PRODUCTS, Spec

SPECS = PRODUCTS


def arguments(spec: Spec, seed: int = 0) -> tuple[tuple[np.ndarray[Any, Any], ...], dict[str, Any]]:
    """The operands and the params of the call that ``spec`` names."""
    rng = np.random.default_rng(seed)
    return (*spec.matrix(rng), spec.vector(spec.cols, rng)), {"rows": spec.rows, "binary": spec.binary}
