"""The doctor's report as text, in ASCII, which any terminal shows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ._doctor import Report, broken

_Row = tuple[str, str]


def text(report: Report) -> str:
    """The report for people to read: a paragraph for each section, and whether all is well."""
    sections = {name: section for name, section in report.items() if name != "ok"}
    paragraphs = [_paragraph(name, list(_rows(name, section))) for name, section in sections.items()]
    wrong = broken(sections)
    paragraphs.append(f"errors: {', '.join(wrong)}" if wrong else "all is well")
    return "\n\n".join(paragraphs).encode("ascii", "backslashreplace").decode()


def _paragraph(title: str, rows: list[_Row]) -> str:
    width = max((len(label) for label, _ in rows), default=0)
    lines = [f"  {label:{width}}  {value}".rstrip() for label, value in rows]
    return "\n".join([title, *(line.replace("\n", f"\n{' ' * (width + 4)}") for line in lines)])


def _rows(name: str, section: Any) -> Iterator[_Row]:
    """What one section says, as labels and values; a label stands once above several values."""
    if "error" in section:
        yield "error:", section["error"]
    elif name == "operators":
        for operator in section:
            yield from _block(operator["name"], [*_kernels(operator), *_tags(operator)])
    elif name == "packages":
        for package, said in section.items():
            facts = [
                f"{key.replace('_', ' ')}: {value if isinstance(value, str) else json.dumps(value)}"
                for key, value in said.items()
            ]
            yield from _block(package, facts)
    elif name == "jax":
        yield "default backend", section["default_backend"]
        yield from _block("devices", [f"{d['platform']}:{d['id']} ({d['kind']})" for d in section["devices"]])
    else:
        empty = {"versions": "not installed", "extras": "installed"}.get(name, "")
        yield from ((key, empty if value is None else value) for key, value in section.items())


def _block(label: str, values: list[str]) -> Iterator[_Row]:
    for i, value in enumerate(values or ["-"]):
        yield ("" if i else label), value


def _kernels(operator: Any) -> Iterator[str]:
    for kernel in operator["kernels"]:
        where = f"{kernel['backend']} on {kernel['platform']}"
        exportable = ", exportable" if kernel["exportable"] else ""
        yield f"{where}{exportable}" if kernel["reason"] is None else f"{where}{exportable}: {kernel['reason']}"


def _tags(operator: Any) -> Iterator[str]:
    if operator["tags"]:
        yield f"tags: {', '.join(operator['tags'])}"
