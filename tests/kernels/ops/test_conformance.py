"""Every operator has every property of a JAX operator, over rows of its own table of shapes."""

import dataclasses
import types
from collections.abc import Mapping
from typing import Any

import pytest

from spikax_core.testing import Case, Property, check_kernel
from spikax_kernels.ops._spec import Spec
from spikax_kernels.ops.coo import op as coo_op
from spikax_kernels.ops.coo import specs as coo_specs
from spikax_kernels.ops.dense import op as dense_op
from spikax_kernels.ops.dense import specs as dense_specs
from spikax_kernels.ops.gather import op as gather_op
from spikax_kernels.ops.gather import specs as gather_specs
from spikax_kernels.ops.scatter import op as scatter_op
from spikax_kernels.ops.scatter import specs as scatter_specs
from spikax_kernels.ops.sddmm import op as sddmm_op
from spikax_kernels.ops.sddmm import specs as sddmm_specs
from tests.kernels._oracle import NATIVE

OPERATORS: dict[str, tuple[Any, Any, int]] = {
    "scatter": (scatter_op.kernel, scatter_specs, 3),
    "gather": (gather_op.kernel, gather_specs, 3),
    "sddmm": (sddmm_op.kernel, sddmm_specs, 0),
    "coo": (coo_op.kernel, coo_specs, 3),
    "dense": (dense_op.kernel, dense_specs, 1),
    "dense, transposed": (
        dense_op.kernel,
        types.SimpleNamespace(SPECS=dense_specs.SPECS, arguments=dense_specs.transposed),
        1,
    ),
}
"""Name, operator, its table, and the argument that holds the events."""

EVERYWHERE = "valued, per entry, float32, int32"
"""The row for which the reference is transformed as well, which takes longer to compile than all else."""

COMPILED = (
    "no rows",
    "binary, homogeneous, float32, int32",
    "binary, per entry, float32, int32",
    "bool, per entry, float64, int64",
    "batch of batches, valued",
    "equal rows",
)

OTHER = "a native kernel knows nothing of it, and another row covers it"
BRIEF: dict[Property, str] = {"shard_map": OTHER, "gradient under shard_map": OTHER, "export": OTHER}


def case(name: str, row: str, skip: Mapping[Property, str] = types.MappingProxyType({})) -> Case:
    """A row of the table, in small: Jacobians are computed."""
    _, specs, events = OPERATORS[name]
    (spec,) = (spec for spec in specs.SPECS if spec.name == row)
    small: Spec = dataclasses.replace(spec, rows=min(spec.rows, 19), cols=min(spec.cols, 13), fan_out=4.0)
    straight = {events: "an active event counts as one, whatever its value"} if spec.events == "binary" else {}
    args, params = specs.arguments(small)
    return Case(row, args, params, surrogate=straight, skip=skip)


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_conforms_on_every_backend(name: str) -> None:
    check_kernel(OPERATORS[name][0], [case(name, EVERYWHERE)])


@pytest.mark.parametrize("name", OPERATORS)
def test_the_native_kernel_conforms_for_each_kind_of_event_weight_and_index(name: str) -> None:
    kernel, specs, _ = OPERATORS[name]
    rows = [spec.name for spec in specs.SPECS if spec.name in COMPILED]
    check_kernel(kernel, [case(name, row, BRIEF) for row in rows], backends=NATIVE)


def rectangular(name: str, row: str, skip: Mapping[Property, str]) -> Case:
    """The case with the entries of each row of one length in a list of their own."""
    listed = case(name, row, skip)
    matrix = slice(2, 3) if name == "sddmm" else slice(0, 2)
    length = len(listed.args[matrix][-1]) // 19
    args = [
        array.reshape(19, length) if i in range(*matrix.indices(4)) and array.size > 1 else array
        for i, array in enumerate(listed.args)
    ]
    return dataclasses.replace(listed, args=tuple(args))


@pytest.mark.parametrize("name", ["scatter", "gather", "sddmm"])
def test_rows_of_one_length_conform_as_a_rectangle(name: str) -> None:
    check_kernel(OPERATORS[name][0], [rectangular(name, "equal rows", {})], backends=NATIVE)
