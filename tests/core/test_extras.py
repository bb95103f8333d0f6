"""Backends whose package is missing: known, refused with the command that installs it, and passed over."""

import importlib.util
import re
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikax_core import (
    BackendFallbackWarning,
    BackendRefusedError,
    MissingExtraError,
    NoBackendError,
    ParameterError,
    UnknownBackendError,
    XLACustomKernel,
    _context,
    use_backend,
)
from tests.core.operators import kernel

X = jnp.arange(3.0)
PACKAGES = {"numba": "numba", "warp": "warp"}
"""The package of each backend that needs one."""


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if no optional package were there."""
    find = importlib.util.find_spec

    def without(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name in PACKAGES.values() else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    # What operators of other tests are called is nothing to these.
    monkeypatch.setattr(_context, "_known", {name: _context._known[name] for name in ("reference",)})


def install(extra: str) -> str:
    """A pattern of what a message says of a missing package."""
    return re.escape(f'the package {PACKAGES[extra]} is not installed; pip install "spikax-core[{extra}]"')


def doubler(extra: str, *, reference: bool = True, other: bool = False) -> XLACustomKernel:
    """Twice its input, by a kernel that would compile, by the reference, or thrice by another kernel."""
    operator = kernel("double", lambda x: 2 * x)
    if not reference:
        operator = XLACustomKernel("double")
        operator.def_shape_rule(lambda x: x)
    declare(operator, extra)
    if other:
        operator.def_kernel("thrice", "cpu", lambda i, o: lambda x: 3 * x)
    return operator


def declare(operator: XLACustomKernel, extra: str) -> None:
    def build(*_: Any, **__: Any) -> Any:
        pytest.fail("a kernel was built whose package is missing")

    if extra == "numba":
        operator.def_numba_kernel(build)
    else:
        operator.def_warp_kernel(build)


@pytest.fixture(params=PACKAGES)
def extra(request: pytest.FixtureRequest, nothing_installed: None) -> str:
    name: str = request.param
    return name


def test_an_operator_can_be_declared_without_the_package(extra: str) -> None:
    operator = doubler(extra)
    assert [entry.requires for entry in operator.kernels] == [extra]
    assert operator.available_backends("cpu") == ("reference",)


def test_a_kernel_without_its_package_is_passed_over_in_silence(extra: str) -> None:
    for call in (doubler(extra), jax.jit(doubler(extra))):
        np.testing.assert_array_equal(call(X), 2 * X)
    np.testing.assert_array_equal(doubler(extra, other=True)(X), 3 * X)


def test_use_backend_says_how_to_install_the_package(extra: str) -> None:
    for _ in "with no operator that has it, then with one":
        with pytest.raises(MissingExtraError, match=f"^backend '{extra}': {install(extra)}$"), use_backend(extra):
            pytest.fail("entered")
        doubler(extra)


def test_a_missing_package_is_an_import_error(extra: str) -> None:
    with pytest.raises(ImportError), use_backend(extra):
        pytest.fail("entered")


def test_a_call_that_asks_for_the_backend_is_refused_with_the_same_advice(extra: str) -> None:
    operator = doubler(extra, other=True)
    for call in (operator, jax.jit(operator, static_argnames="backend")):
        with pytest.raises(
            BackendRefusedError, match=f"backend '{extra}' does not serve double: {install(extra)}; leave"
        ):
            call(X, backend=extra)


def test_a_call_may_not_ask_for_a_backend_that_the_operator_would_not_have_anyway(extra: str) -> None:
    with pytest.raises(UnknownBackendError, match=r"it has no such kernel; expected one of \['reference'\]"):
        kernel("double", lambda x: 2 * x)(X, backend=extra)


def test_it_cannot_be_the_default(extra: str) -> None:
    operator = doubler(extra)
    with pytest.raises(MissingExtraError, match=install(extra)):
        operator.set_default("cpu", extra)
    np.testing.assert_array_equal(operator(X), 2 * X)


def test_where_nothing_else_serves_the_advice_is_among_the_reasons(extra: str) -> None:
    operator = doubler(extra, reference=False)
    operator.def_kernel("picky", "cpu", lambda i, o: lambda x: x, supports=lambda i: "it is Tuesday")
    with pytest.raises(NoBackendError) as caught:
        operator(X)
    missing, picky = map(str, caught.value.exceptions)
    assert re.fullmatch(f"backend '{extra}' of double: {install(extra)}", missing)
    assert picky == "backend 'picky' of double: it is Tuesday"


def test_a_backend_of_that_name_that_needs_nothing_can_be_used(extra: str) -> None:
    operator = kernel("double", lambda x: 2 * x)
    operator.def_kernel(extra, "cpu", lambda i, o: lambda x: 3 * x)
    other = doubler(extra, other=True)
    with use_backend(extra):
        np.testing.assert_array_equal(operator(X), 3 * X)
        with pytest.warns(BackendFallbackWarning, match=f"'{extra}' does not serve double: {install(extra)}"):
            np.testing.assert_array_equal(other(X), 3 * X)


def test_any_kernel_may_need_an_extra(extra: str) -> None:
    operator = kernel("double", lambda x: 2 * x)
    operator.def_kernel("mine", "cpu", lambda i, o: lambda x: 3 * x, requires=extra)
    np.testing.assert_array_equal(operator(X), 2 * X)
    with pytest.raises(BackendRefusedError, match=install(extra)):
        operator(X, backend="mine")
    with pytest.raises(MissingExtraError, match=f"^backend 'mine': {install(extra)}"), use_backend("mine"):
        pytest.fail("entered")


def test_a_backend_whose_kernels_need_different_packages_needs_one_of_them(
    monkeypatch: pytest.MonkeyPatch, nothing_installed: None
) -> None:
    operators = [kernel("double", lambda x: 2 * x) for _ in PACKAGES]
    for operator, extra in zip(operators, PACKAGES, strict=True):
        operator.def_kernel("mine", "cpu", lambda i, o: lambda x: 3 * x, requires=extra)
    with pytest.raises(MissingExtraError, match=f"{install('numba')}; or {install('warp')}"), use_backend("mine"):
        pytest.fail("entered")
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, package=None: None if name == "numba" else ModuleSpec(name, None)
    )
    with use_backend("mine"):
        np.testing.assert_array_equal(operators[1](X), 3 * X)
        with pytest.warns(BackendFallbackWarning, match=install("numba")):
            np.testing.assert_array_equal(operators[0](X), 2 * X)


def test_an_extra_that_there_is_not_is_an_error() -> None:
    with pytest.raises(
        ParameterError, match=r"double: got requires='nunba'; expected None or one of \[.*'numba'.*'warp'"
    ):
        kernel("double", lambda x: x).def_kernel("mine", "cpu", lambda i, o: lambda x: x, requires="nunba")


def test_the_package_counts_when_a_call_is_compiled_not_when_the_kernel_is_declared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    operator = kernel("double", lambda x: 2 * x)
    operator.def_kernel("mine", "cpu", lambda i, o: lambda x: 3 * x, requires="numba")
    spec = ModuleSpec("numba", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, package=None: None)
    np.testing.assert_array_equal(operator(X), 2 * X)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, package=None: spec)
    assert operator.available_backends("cpu") == ("mine", "reference")
    np.testing.assert_array_equal(operator(X[:2]), 3 * X[:2])


UNKNOWN: dict[str, Callable[[XLACustomKernel], Any]] = {
    "with": lambda operator: use_backend("nonsense").__enter__(),
    "call": lambda operator: operator(X, backend="nonsense"),
    "default": lambda operator: operator.set_default("cpu", "nonsense"),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unknown_name_is_another_error_that_lists_the_known_ones(name: str, nothing_installed: None) -> None:
    operator = doubler("numba", other=True)
    with pytest.raises(
        UnknownBackendError, match=r"'nonsense'.*expected (one of|None or one of) .*'numba'.*'thrice'"
    ) as e:
        UNKNOWN[name](operator)
    assert "pip install" not in str(e.value)
    assert "'reference'" in str(e.value)
