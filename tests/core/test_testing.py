"""The conformance kit finds every fault that was planted, and none in what is right."""

import subprocess
import sys
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikax_core import ParameterError, XLACustomKernel
from spikax_core.testing import (
    Case,
    ConformanceError,
    NotConformingError,
    Property,
    TooManyTracesError,
    assert_max_traces,
    check_kernel,
)
from tests.core.faulty import FAULTS, X, Y, rows, wrong_batch_of, wrong_for_rows
from tests.core.operators import kernel, matvec, multiple_kernel, product, single_kernel

PROPERTIES: tuple[Property, ...] = get_args(Property)


def case(name: str, *args: Any, only: tuple[Property, ...] = PROPERTIES, **options: Any) -> Case:
    return Case(
        name, args, skip={p: "not of interest here" for p in PROPERTIES if p not in (*only, "derivatives")}, **options
    )


def failures(operator: XLACustomKernel, *cases: Case) -> tuple[Any, ...]:
    with pytest.raises(NotConformingError) as caught:
        check_kernel(operator, cases)
    return caught.value.exceptions


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found(name: str) -> None:
    make, args, faulty, message = FAULTS[name]
    found = failures(make(), case("small", *args, only=(faulty,)))
    assert {failure.property for failure in found} == {faulty}
    assert any(message in str(failure) for failure in found), list(map(str, found))


def test_each_property_has_a_planted_fault() -> None:
    assert {faulty for _, _, faulty, _ in FAULTS.values()} == set(PROPERTIES) - {"derivatives"}


@pytest.mark.parametrize("name", ["wrong JVP", "wrong value on one backend", "missing reference"])
def test_a_fault_is_found_among_all_checks(name: str) -> None:
    make, args, faulty, _ = FAULTS[name]
    assert faulty in {failure.property for failure in failures(make(), case("small", *args))}


@pytest.mark.parametrize("subset", [(0,), (1,), (0, 1)])
def test_a_batch_that_is_wrong_for_one_subset_of_the_arguments_is_found(subset: tuple[int, ...]) -> None:
    (found,) = failures(wrong_batch_of(subset), case("small", X, Y, only=("vmap",)))
    assert f"vmap over arguments {subset} at axes" in str(found)


def test_each_case_is_checked_on_each_backend() -> None:
    operator = wrong_for_rows()
    operator.def_kernel("good", "cpu", lambda *_: product)
    operator.def_kernel("halves", "cpu", lambda *_: lambda x, y: x * y / 2)
    cases = [case("one row", X[:1], Y[:1], only=("value", "jit")), case("three rows", X, Y, only=("value", "jit"))]
    found = {(failure.case, failure.backend) for failure in failures(operator, *cases)}
    assert found == {("three rows", "rows"), ("one row", "halves"), ("three rows", "halves")}


RIGHT: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "elementwise": (single_kernel, (X, Y)),
    "matrix times vector": (matvec, (X, Y[0])),
    "several results, integers among them": (multiple_kernel, (X - 0.3, Y)),
    "divided over devices": (rows, (X[0], Y.T)),
    "float64": (single_kernel, (X.astype(np.float64), Y.astype(np.float64))),
    "half precision": (single_kernel, (X.astype(np.float16), Y.astype(np.float16))),
    "bfloat16": (single_kernel, (jnp.asarray(X, jnp.bfloat16), jnp.asarray(Y, jnp.bfloat16))),
    "complex": (single_kernel, ((X + 1j * Y).astype(np.complex64), Y.astype(np.complex64))),
    "scalars": (single_kernel, (np.float32(2), np.float32(3))),
}


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_right_passes(name: str) -> None:
    make, args = RIGHT[name]
    check_kernel(make(), [Case(name, args)])


def test_integers_and_bools_alone_pass() -> None:
    operator = kernel("count", lambda x, n: jnp.sum(x, dtype=jnp.int32) + n)
    check_kernel(operator, [Case("five", (np.array([True, False, True]), np.int32(3)))])


def test_a_surrogate_derivative_passes_when_declared() -> None:
    spike = kernel("spike", lambda v: (v > 1).astype(v.dtype))
    spike.def_jvp_rule2(lambda t, v: t / (1 + jnp.abs(v - 1)) ** 2)
    check_kernel(spike, [Case("soft", (X,), surrogate={0: "the step has no derivative of use"})])
    assert {f.property for f in failures(spike, Case("hard", (X,)))} == {"finite differences"}


def test_an_operator_without_derivatives_passes_when_that_is_declared() -> None:
    operator = kernel("double", lambda x: 2 * x)
    check_kernel(operator, [Case("forward", (X,), skip={"derivatives": "nobody needs them"})])


def test_a_failure_names_case_backend_property_got_and_expected() -> None:
    make, args, _, _ = FAULTS["wrong value on one backend"]
    found = failures(make(), case("one", *args, only=("value",)), case("two", *args, only=("value",)))
    assert {(f.case, f.backend, f.property) for f in found} == {(c, "bad", "value") for c in ("one", "two")}
    assert all(isinstance(f, ConformanceError) and isinstance(f, AssertionError) for f in found)
    assert str(found[0]).startswith("case 'one' on backend 'bad', value: value: got -1.450755; expected -1.449305")


def test_what_a_kernel_raises_is_the_cause_of_the_failure() -> None:
    make, args, _, _ = FAULTS["nothing in fails"]
    assert {type(f.__cause__) for f in failures(make(), case("small", *args, only=("empty",)))} == {ValueError}


def test_only_the_backends_asked_for_are_checked() -> None:
    make, args, _, _ = FAULTS["wrong value on one backend"]
    check_kernel(make(), [case("small", *args, only=("value",))], backends=["good", "reference"])
    with pytest.raises(ParameterError, match=r"got \['cuda'\]; expected some of \['good', 'bad', 'reference'\]"):
        check_kernel(make(), [case("small", *args)], backends=["cuda"])


def test_a_tolerance_of_the_case_replaces_that_of_the_dtype() -> None:
    make, args, _, _ = FAULTS["wrong value on one backend"]
    check_kernel(make(), [case("rough", *args, only=("value", "jit"), tolerance=1e-2)])


def test_other_operands_are_the_lanes() -> None:
    seen: list[int] = []
    operator = kernel("double", lambda x: 2 * x)

    def batch(size: int, args: Any, axes: Any) -> tuple[Any, int]:
        seen.append(size)
        return operator(*args), axes[0]

    operator.def_batching_rule(batch)
    check_kernel(operator, [case("few", np.arange(3), only=("vmap",), others=[(np.arange(3) + 5,)])])
    assert set(seen) == {2}


def test_a_call_with_params_and_declared_results_passes() -> None:
    operator = XLACustomKernel("scale", reference=lambda x, *, by, outs: by * x)
    operator.def_jvp_rule2(lambda t, x, *, by, outs: by * t)
    check_kernel(operator, [Case("twice", (X,), {"by": 2.0}, jax.ShapeDtypeStruct(X.shape, X.dtype))])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"skip": {"speed": "too slow"}}, "skip: got 'speed'"),
        ({"surrogate": {2: "no such argument"}}, "surrogate: got argument 2; expected one of the 2"),
        ({"others": [(X,)]}, "others: got 1 operands; expected 2"),
    ],
)
def test_a_case_is_checked_where_it_is_made(options: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        Case("wrong", (X, Y), **options)


@pytest.mark.parametrize("cases", [(), (Case("same", (X,)), Case("same", (X,)))])
def test_cases_have_names_of_their_own(cases: tuple[Case, ...]) -> None:
    with pytest.raises(ParameterError, match="each with a name of its own"):
        check_kernel(kernel("product", product), cases)


# The guard against traces.


def test_a_function_may_be_traced_as_often_as_allowed() -> None:
    def twice(x: Any) -> Any:
        return 2 * x

    double = jax.jit(assert_max_traces(twice, 2))
    assert [double(jnp.arange(n)).shape for n in (2, 3, 2, 3)] == [(2,), (3,), (2,), (3,)]


def test_one_trace_more_raises_with_the_types_of_each() -> None:
    def double(x: Any) -> Any:
        return 2 * x

    guarded = jax.jit(assert_max_traces(double))
    guarded(jnp.ones(2))
    with pytest.raises(TooManyTracesError, match=r"double: got trace 2; expected at most 1") as caught:
        guarded(jnp.ones(3))
    assert str(caught.value).endswith("  1: (f32[2])\n  2: (f32[3])")


@pytest.mark.parametrize("most", [0, True, 1.0])
def test_the_number_of_traces_is_a_positive_integer(most: Any) -> None:
    with pytest.raises(ParameterError, match="expected a positive integer"):
        assert_max_traces(product, most)


PROGRAM = """
import sys
import spikax_core
assert "spikax_core.testing" not in sys.modules
import spikax_core.testing
assert "pytest" not in sys.modules
"""


def test_importing_the_package_leaves_the_kit_out_and_the_kit_needs_no_pytest() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)
