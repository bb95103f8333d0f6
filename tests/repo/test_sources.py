import ast
import statistics

from tests.repo.workspace import PACKAGES, ROOT, sources

MODULES = [path for package in PACKAGES for path in sources(package)]


def lengths_of_functions() -> dict[str, int]:
    return {
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}": 1 + (node.end_lineno or node.lineno) - node.lineno
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def test_modules_are_short() -> None:
    lengths = {str(path.relative_to(ROOT)): path.read_text().count("\n") for path in MODULES}
    assert {name: lines for name, lines in lengths.items() if lines > 600} == {}
    assert statistics.median(lengths.values()) <= 150


def test_functions_are_short() -> None:
    lengths = lengths_of_functions()
    assert {name: lines for name, lines in lengths.items() if lines > 60} == {}
    assert statistics.quantiles(lengths.values(), n=10)[-1] <= 40


def test_a_module_begins_by_saying_its_idea() -> None:
    assert [path for path in MODULES if not ast.get_docstring(ast.parse(path.read_text()))] == []
