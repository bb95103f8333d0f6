"""Every error is one of the package's, and the builtin that fits it."""

import pytest

import spikax_core


@pytest.mark.parametrize(
    ("name", "builtins"),
    [
        ("NotAPrimitiveError", (AssertionError, TypeError)),
        ("RuleCountError", (ValueError,)),
        ("RuleOutputError", (TypeError,)),
        ("NoRuleError", (NotImplementedError,)),
        ("ParameterError", (TypeError,)),
        ("OutputMismatchError", (TypeError,)),
        ("UnknownBackendError", (ValueError,)),
        ("BackendRefusedError", (NotImplementedError,)),
        ("NoBackendError", (ExceptionGroup,)),
    ],
)
def test_an_error_is_of_the_package_and_the_builtin_that_fits(name: str, builtins: tuple[type[Exception], ...]) -> None:
    error = getattr(spikax_core, name)
    assert issubclass(error, spikax_core.SpikaxError)
    assert all(issubclass(error, builtin) for builtin in builtins)


def test_every_error_and_warning_has_a_page_of_its_own() -> None:
    for name, cls in vars(spikax_core).items():
        if isinstance(cls, type) and issubclass(cls, BaseException):
            assert cls.__doc__, name
