"""What the pages show is run: prompts are doctests, blocks of Python without prompts run to their end."""

import doctest
import re
from pathlib import Path
from typing import Any

import pytest

from tests.repo.workspace import ROOT

PAGES = sorted(
    [ROOT / "README.md", *ROOT.glob("packages/*/README.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("docs/backends/*.md")]
)


def programs(page: str) -> list[str]:
    """The fenced blocks of Python without prompts."""
    return re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_code_of_a_page_runs(page: Path) -> None:
    text, names = page.read_text(), dict[str, Any]()
    for program in programs(text):
        exec(compile(program, str(page), "exec"), names)
    examples = doctest.DocTestParser().get_doctest(text, {}, page.name, str(page), 0)
    failed, _ = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(examples)
    assert failed == 0
