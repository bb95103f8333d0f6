"""The package as a whole: import, documentation, generated types."""

import doctest
import importlib
import importlib.util
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import spikax_transform as st

PACKAGE = Path(__file__).parents[2] / "packages" / "transform"
MODULES = [f"spikax_transform.{module.name}" for module in pkgutil.iter_modules(st.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name: str) -> None:
    module = importlib.import_module(name)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert doctest.testmod(module, optionflags=flags).failed == 0


def test_importing_initialises_no_backend_and_no_optional_dependency() -> None:
    code = (
        "import sys, spikax_transform\n"
        "from jax._src import xla_bridge\n"
        "assert not xla_bridge._backends, 'a backend was initialised'\n"
        "assert not {'tqdm', 'saiunit'} & sys.modules.keys(), 'an optional dependency was imported'\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_every_public_name_is_documented() -> None:
    public = {name for name in vars(st) if not name.startswith("_") and name[0].isalpha()}
    undocumented = [name for name in sorted(public - {"PyTree"}) if not getattr(st, name).__doc__]
    assert not undocumented


def test_every_error_has_the_common_base_and_a_builtin_one() -> None:
    errors = [value for value in vars(st).values() if isinstance(value, type) and issubclass(value, Exception)]
    ours = [error for error in errors if error not in (st.SpikaxTransformError, st.OverwrittenStateWarning)]
    assert len(ours) > 10
    for error in ours:
        assert issubclass(error, st.SpikaxTransformError)
        assert any(base.__module__ == "builtins" and base is not Exception for base in error.__mro__[1:3])


@pytest.mark.skipif(not PACKAGE.exists(), reason="the generator is part of the repository only")
def test_the_stubs_of_the_gradients_are_what_their_generator_writes() -> None:
    spec = importlib.util.spec_from_file_location("gradient_stub", PACKAGE / "tools" / "gradient_stub.py")
    assert spec is not None
    assert spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    for path, text in generator.stubs().items():
        assert path.read_text() == text
