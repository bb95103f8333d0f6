"""Every operator, over its own table of shapes."""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import pytest

from spikax_core import use_backend
from spikax_kernels.ops._spec import Spec
from spikax_kernels.ops.scatter import specs as scatter_specs
from tests.kernels._oracle import OPERATORS, Operator, assert_close

# Beside the rounding of a dtype, that of a sum of some hundred numbers.
TOLERANCE = {"float16": 1e-3, "bfloat16": 8e-3, "float32": 2e-6, "float64": 1e-14, "int32": 0.0}
CASES = [
    pytest.param(operator, spec, id=f"{operator.name}: {spec.name}")
    for operator in OPERATORS
    for spec in operator.specs.SPECS
    if "test" in spec.tags
]
over_specs = pytest.mark.parametrize(("operator", "spec"), CASES)


@contextlib.contextmanager
def widths(spec: Spec) -> Iterator[None]:
    """64-bit types where the case has them."""
    with jax.enable_x64("64" in spec.dtype + spec.index):
        yield


def call(operator: Operator, spec: Spec, **options: Any) -> jax.Array:
    args, params = operator.specs.arguments(spec)
    y: jax.Array = jax.jit(lambda *args: operator.call(*args, **params, **options))(*args)
    return y


@over_specs
def test_value_is_that_of_the_sparse_matrix_of_scipy(operator: Operator, spec: Spec) -> None:
    args, params = operator.specs.arguments(spec)
    expected = operator.value(*args, **params)
    with widths(spec):
        got = call(operator, spec)
    assert got.dtype == spec.dtype
    assert_close(got, expected, 20 * TOLERANCE[spec.dtype])


@over_specs
def test_the_native_kernel_agrees_with_the_reference(operator: Operator, spec: Spec) -> None:
    with widths(spec):
        got = call(operator, spec)
        with use_backend("reference"):
            expected = call(operator, spec)
    assert got.dtype == expected.dtype
    assert_close(got, expected, 20 * TOLERANCE[spec.dtype])


@over_specs
def test_the_native_kernel_serves_the_dtypes_it_is_compiled_for(operator: Operator, spec: Spec) -> None:
    args, params = operator.specs.arguments(spec)
    with widths(spec):
        text = jax.jit(lambda *args: operator.call(*args, **params)).lower(*args).as_text()
    assert text.count(f"@{operator.target}(") == (0 if spec.dtype == "int32" else 1)


def test_no_two_cases_of_a_table_have_one_name() -> None:
    for operator in OPERATORS:
        names = [spec.name for spec in operator.specs.SPECS]
        assert len(names) == len(set(names))


@pytest.mark.parametrize("spec", [s for s in scatter_specs.SPECS if "test" in s.tags], ids=lambda spec: spec.name)
def test_arguments_are_as_the_table_says(spec: Spec) -> None:
    (data, indices, indptr, x), _ = scatter_specs.arguments(spec)
    assert (data.dtype, indices.dtype, indptr.dtype) == (spec.dtype, spec.index, spec.index)
    assert data.shape[-1] == (1 if spec.homogeneous else indices.shape[-1])
    assert indptr.shape[-1] == (0 if spec.equal else spec.rows + 1)
    assert x.shape == (*spec.lanes, spec.rows)
    assert np.all((indices >= 0) & (indices < spec.cols))
