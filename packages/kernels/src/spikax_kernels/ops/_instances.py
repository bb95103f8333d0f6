"""All that the CUDA sources of the operators can be compiled to: every operator, variant and set of dtypes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from spikax_kernels.cuda._steps import Program
from spikax_kernels.ops import _cuda, _native
from spikax_kernels.ops._check import INDICES
from spikax_kernels.ops.scatter.gpu import VECTORS

_VARIANTS = {
    "scatter": ("", "EXACT", "TOGETHER"),
    "gather": ("", "PACKED"),
    "coo": ("", "EXACT"),
    "sddmm": ("",),
    "dense": ("",),
    "random_columns": ("",),
}


def programs(architecture: int) -> Iterator[Program]:
    """Every program that an operator may need on a GPU of this compute capability."""
    for operator, variants in _VARIANTS.items():
        for variant, types in itertools.product(variants, _types(operator)):
            # Float is what is added to together, and only new GPUs do that.
            if variant == "TOGETHER" and (architecture < VECTORS or types["WEIGHT"] == "float64"):
                continue
            options = _cuda.options(variant, types)
            yield Program(_cuda.source(operator), f"{operator}/gpu.cu", options, (architecture,))


def _types(operator: str) -> Iterator[dict[str, str]]:
    if operator == "random_columns":
        yield {}
        return
    events = ("ROW_EVENT", "EVENT") if operator == "sddmm" else ("EVENT",)
    for weight in _native.WEIGHTS:
        for index in INDICES if operator != "dense" else [None]:
            for kinds in itertools.product(("bool", weight), repeat=len(events)):
                indices = {} if index is None else {"INDEX": index}
                yield {"WEIGHT": weight, **indices, **dict(zip(events, kinds, strict=True))}
