"""Every error is one of the package's, the builtin that fits it, and says what it got, what it expected, what to do."""

import dataclasses
import importlib.util
import inspect
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import spikax_core
import spikax_core.testing
from spikax_core import BenchmarkConfig, SpikaxError, XLACustomKernel, defjvp, use_backend
from tests.core.operators import kernel, product

X = jnp.ones((3, 4))


def operator(**backends: Any) -> XLACustomKernel:
    """Doubles; it has a kernel on the CPU for each function."""
    made = kernel("double", lambda x: 2 * x)
    for name, function in backends.items():
        made.def_kernel(name, "cpu", lambda *_, function=function: function)
    return made


def with_rules(*rules: Any) -> XLACustomKernel:
    made = operator()
    made.def_jvp_rule2(*rules)
    return made


def linear_in_the_first() -> XLACustomKernel:
    made = kernel("product", product)
    made.def_linear({0: lambda ct, x, y: ct * y})
    return made


def without_an_extra() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: None)
        with use_backend("numba"):
            pytest.fail("entered")


def refused(**options: Any) -> None:
    made = XLACustomKernel("double")
    made.def_shape_rule(lambda x: x)
    made.def_kernel("even", "cpu", lambda *_: lambda x: 2 * x, supports=lambda *_: "it is odd")
    made(X, **options)


def benchmark() -> None:
    made = operator(wrong=lambda x: 3 * x)
    made.def_benchmark_data(lambda *, platform: [BenchmarkConfig("ones", (X,))])
    made.benchmark()


def check() -> None:
    case = spikax_core.testing.Case("ones", (X,))
    spikax_core.testing.check_kernel(operator(wrong=lambda x: 3 * x), [case], backends=["wrong"])


def first_failure() -> None:
    try:
        check()
    except spikax_core.testing.NotConformingError as group:
        raise group.exceptions[0] from None


def two_traces() -> None:
    def identity(x: Any) -> Any:
        return x

    guarded = jax.jit(spikax_core.testing.assert_max_traces(identity))
    guarded(X)
    guarded(X[0])


@dataclasses.dataclass(frozen=True)
class Cause:
    """What raises an error: the builtins that it is, the message as got, expected and what to do."""

    builtins: tuple[type[Exception], ...]
    provoke: Callable[[], Any]
    got: str
    expected: str
    advice: str


CAUSES: dict[str, Cause] = {
    "NotAPrimitiveError": Cause(
        (AssertionError, TypeError),
        lambda: defjvp(lambda x: x, None),  # type: ignore[arg-type]
        "got function",
        "expected a jax.extend.core.Primitive or a spikax_core.XLACustomKernel",
        "",
    ),
    "RuleCountError": Cause(
        (ValueError,), lambda: with_rules(None, None)(X), "got 2 JVP rules", "for 1 inputs", "pass one rule per input"
    ),
    "RuleOutputError": Cause(
        (TypeError,),
        lambda: jax.jvp(with_rules(lambda t, x: t[0]), (X,), (X,)),
        "JVP rule 0 of double, result 0: got f32[4]",
        "expected f32[3,4]",
        "",
    ),
    "NoRuleError": Cause(
        (NotImplementedError,),
        lambda: jax.jvp(lambda y: linear_in_the_first()(X, y), (X,), (X,)),
        "product cannot be differentiated in argument 1",
        "not declared linear in it and has no JVP rules",
        "pass def_jvp_rule2 one rule per input",
    ),
    "ParameterError": Cause(
        (TypeError,),
        lambda: operator()(X, by=[2]),
        "param 'by' is a list",
        "which cannot be hashed",
        "pass arrays as inputs and lists as tuples",
    ),
    "OutputMismatchError": Cause(
        (TypeError,),
        lambda: operator(cut=lambda x: x[0])(X),
        "kernel 'cut' of double: got (f32[4])",
        "expected (f32[3,4]), as declared",
        "mend the kernel or the shape rule",
    ),
    "UnknownBackendError": Cause(
        (ValueError,), lambda: use_backend("fats").__enter__(), "got backend 'fats'", "expected one of ['", ""
    ),
    "MissingExtraError": Cause(
        (ImportError,),
        without_an_extra,
        "backend 'numba'",
        "the package numba is not installed",
        'pip install "spikax-core[numba]"',
    ),
    "BackendRefusedError": Cause(
        (NotImplementedError,),
        lambda: refused(backend="even"),
        "backend 'even' does not serve double",
        "it is odd",
        "leave out backend= or name one of ['even']",
    ),
    "NoBackendError": Cause(
        (ExceptionGroup,), refused, "double has no kernel for (f32[3,4]) on cpu", "and no reference", ""
    ),
    "BenchmarkMismatchError": Cause(
        (AssertionError,), benchmark, "backend 'wrong': got 3", "expected 2", "mend the backend, or give"
    ),
    "ConformanceError": Cause(
        (AssertionError,), first_failure, "case 'ones' on backend 'wrong', value: value: got 3", "expected 2", ""
    ),
    "NotConformingError": Cause((ExceptionGroup,), check, "double: ", " in 1 case", ""),
    "TooManyTracesError": Cause(
        (AssertionError,), two_traces, "got trace 2", "expected at most 1", "1: (f32[3,4])\n  2: (f32[4])"
    ),
}


def classes() -> dict[str, type[Exception]]:
    """Every error of the package and of its conformance kit, but for the base of them all."""
    found = {**vars(spikax_core), **vars(spikax_core.testing)}
    return {
        name: cls
        for name, cls in found.items()
        if inspect.isclass(cls) and issubclass(cls, Exception) and cls is not SpikaxError
    }


ERRORS = {name: cls for name, cls in classes().items() if not issubclass(cls, Warning)}


def test_each_error_has_a_cause_of_its_own() -> None:
    assert CAUSES.keys() == ERRORS.keys()
    assert len(set(ERRORS.values())) == len(CAUSES)


@pytest.mark.parametrize("name", CAUSES)
def test_an_error_is_of_the_package_and_the_builtin_that_fits(name: str) -> None:
    builtins = CAUSES[name].builtins
    assert issubclass(ERRORS[name], SpikaxError)
    assert {base for base in ERRORS[name].__mro__ if base in builtins} == set(builtins)
    others = {ValueError, TypeError, AssertionError, ImportError, NotImplementedError, ExceptionGroup} - set(builtins)
    assert not issubclass(ERRORS[name], tuple(others))


@pytest.mark.parametrize("name", CAUSES)
def test_an_error_says_what_it_got_what_was_expected_and_what_to_do(name: str) -> None:
    cause = CAUSES[name]
    with pytest.raises(ERRORS[name]) as caught:
        cause.provoke()
    assert type(caught.value) is ERRORS[name]
    in_order = ".*".join(map(re.escape, (cause.got, cause.expected, cause.advice)))
    assert re.search(in_order, str(caught.value), re.DOTALL), str(caught.value)


def test_a_warning_is_no_error_but_a_warning_of_the_user() -> None:
    warnings = {name: cls for name, cls in classes().items() if name not in ERRORS}
    assert list(warnings) == ["BackendFallbackWarning"]
    assert issubclass(warnings["BackendFallbackWarning"], UserWarning)
    assert not issubclass(warnings["BackendFallbackWarning"], SpikaxError)


@pytest.mark.parametrize("name", classes())
def test_every_error_and_warning_has_a_page_of_its_own(name: str) -> None:
    assert (classes()[name].__doc__ or "").strip()
