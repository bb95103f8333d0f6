"""What the tests of the repository read: its packages and their files."""

import ast
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PACKAGES = ("core", "kernels", "transform")


def folder(package: str) -> Path:
    """The folder of a package."""
    return ROOT / "packages" / package


def sources(package: str) -> list[Path]:
    """The Python modules of a package."""
    return sorted((folder(package) / "src").rglob("*.py"))


def pyproject(package: str) -> dict[str, Any]:
    """A package's pyproject.toml."""
    return tomllib.loads((folder(package) / "pyproject.toml").read_text())


def version(package: str) -> str:
    """The version that stands in the sources."""
    module = ast.parse((folder(package) / f"src/spikax_{package}/__init__.py").read_text())
    (found,) = (
        ast.literal_eval(statement.value)
        for statement in module.body
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__version__"
    )
    return str(found)
