"""Importing the package gives what is public and no more, starts no backend, and needs nothing but JAX and NumPy."""

import ast
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import spikax_core
import spikax_core.testing
from spikax_core import BenchmarkResult, XLACustomKernel

PUBLIC = {
    spikax_core: {
        "XLACustomKernel",
        "KernelEntry",
        "defjvp",
        "general_batching_rule",
        "use_backend",
        "disabled_checks",
        "running_api_version",
        "BenchmarkConfig",
        "BenchmarkRecord",
        "BenchmarkResult",
        "SpikaxError",
        "NotAPrimitiveError",
        "RuleCountError",
        "RuleOutputError",
        "NoRuleError",
        "ParameterError",
        "OutputMismatchError",
        "UnknownBackendError",
        "MissingExtraError",
        "BackendRefusedError",
        "NoBackendError",
        "BenchmarkMismatchError",
        "BackendFallbackWarning",
    },
    spikax_core.testing: {
        "Case",
        "Property",
        "check_kernel",
        "ConformanceError",
        "NotConformingError",
        "TooManyTracesError",
        "assert_max_traces",
    },
}

NO_BACKEND = """
import jax

jax.config.update("jax_platforms", "none")  # to start a backend now is an error
import spikax_core

try:
    jax.devices()
except RuntimeError:
    print("no backend")
"""

IMPORTED = """
import json, sys
import jax, numpy

before = set(sys.modules)
import spikax_core

print(json.dumps(sorted(set(sys.modules) - before)))
"""


def output(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


def reexports(module: ModuleType) -> set[str]:
    """The names that are imported as themselves, which is what type checkers take for public."""
    tree = ast.parse(Path(str(module.__file__)).read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return {alias.name for node in imports for alias in node.names if alias.name == alias.asname}


@pytest.mark.parametrize("module", PUBLIC, ids=lambda module: module.__name__)
def test_the_public_names_are_reexported_explicitly_and_there_are_no_others(module: Any) -> None:
    assert reexports(module) == PUBLIC[module]
    found = {name for name, value in vars(module).items() if not (name.startswith("_") or inspect.ismodule(value))}
    assert found == PUBLIC[module]


@pytest.mark.parametrize(("module", "client"), [(spikax_core, "core"), (spikax_core.testing, "testing")])
def test_type_checkers_see_a_client_that_uses_each_public_name(module: Any, client: str) -> None:
    members = {name for cls in (XLACustomKernel, BenchmarkResult) for name in dir(cls) if not name.startswith("_")}
    names = PUBLIC[module] | (members if client == "core" else set())
    text = (Path(__file__).parents[1] / "typing" / f"{client}_client.py").read_text()
    assert names - set(re.findall(r"\w+", text)) == set()


def test_importing_starts_no_backend() -> None:
    assert output(NO_BACKEND) == "no backend\n"


def test_importing_needs_nothing_but_jax_and_numpy() -> None:
    added = {name.partition(".")[0] for name in json.loads(output(IMPORTED))}
    assert added - sys.stdlib_module_names <= {"jax", "jaxlib", "numpy", "spikax_core"}
