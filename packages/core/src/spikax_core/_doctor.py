"""The doctor: what is installed, what it runs on and what is broken, whatever that is.

It uses the standard library alone. All for which JAX has to work is found out in another process.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from ._doctor_probe import SECTIONS, Section, gathered

Report: TypeAlias = dict[str, Any]
"""``"ok"``, and the sections by name."""

PACKAGES = ("spikax-core", "spikax-kernels", "spikax-transform")
OTHERS = ("jax", "jaxlib", "numpy", "numba", "warp-lang", "matplotlib", "flatbuffers")
PLUGINS = ("jax-cuda12-plugin", "jax-cuda13-plugin", "jax-rocm7-plugin", "libtpu")

# Those that change what JAX, XLA or a backend does, and those by which other files than expected are found.
PREFIXES = ("JAX_", "XLA_", "NUMBA_", "WARP_", "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "PYTHONPATH")

SECONDS = 120
"""How long JAX may take: its backends start within seconds on most machines, within a minute on the largest."""


def examine() -> Report:
    """All that can be found out, as what JSON can hold; a section that failed is ``{"error": ...}``."""
    sections: Report = {
        "versions": gathered(_versions),
        "environment": gathered(_environment),
        "extras": gathered(_extras),
        **_ask(list(SECTIONS)),
    }
    _note_missing_devices(sections)
    return {"ok": not broken(sections), **sections}


def broken(sections: Mapping[str, Any]) -> list[str]:
    """The sections that hold an error, or have a part that does."""
    return [name for name, section in sections.items() if _is_error(section) or any(map(_is_error, _parts(section)))]


def _is_error(section: Section) -> bool:
    return isinstance(section, Mapping) and "error" in section


def _parts(section: Section) -> Sequence[Section]:
    return list(section.values()) if isinstance(section, Mapping) else []


def _versions() -> Section:
    plugins = {name: version for name in PLUGINS if (version := _version(name)) is not None}
    return {
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "system": f"{platform.platform()} ({platform.machine()})",
        **{name: _version(name) for name in (*PACKAGES, *OTHERS)},
        **plugins,
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _environment() -> Section:
    return {name: value for name, value in sorted(os.environ.items()) if name.startswith(PREFIXES)}


def _extras() -> Section:
    """For each extra of each installed package of ours, the command that installs what is missing of it, or none."""
    missing: dict[str, str | None] = {}
    for package in PACKAGES:
        if _version(package) is None:
            continue
        for requirement in importlib.metadata.requires(package) or ():
            match = re.match(r"([\w.-]+).*;.*\bextra\s*==\s*['\"]([\w-]+)['\"]", requirement)
            if match is not None:
                extra = f"{package}[{match[2]}]"
                missing.setdefault(extra, None)
                if _version(match[1]) is None:
                    missing[extra] = f'pip install "{extra}"'
    return missing


def _ask(sections: list[str]) -> Report:
    """What the other process says of ``sections``; where it ends too early, another one goes on behind that section."""
    answers: Report = {}
    while sections:
        written, end = _run(sections)
        for line in written.split(b"\n"):
            answers.update(_answer(line))
        sections = [name for name in sections if name not in answers]
        if sections:
            answers[sections.pop(0)] = {"error": end}
    return answers


def _answer(line: bytes) -> Report:
    """A section; nothing for what was printed before the other process got to answer, or is incomplete."""
    try:
        answer = json.loads(line)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) and answer.keys() <= SECTIONS.keys() else {}


def _run(sections: list[str]) -> tuple[bytes, str]:
    """What the other process wrote, and how it ended."""
    if not sys.executable:  # as where another program runs Python
        return b"", "no other process can be started: Python does not know its own program"
    command = [sys.executable, "-m", f"{__package__}._doctor_probe", *sections]
    # JAX would take most of the memory of a GPU, in which a program may be running.
    environment = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", **os.environ}
    try:
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        return error.stdout or b"", f"no answer within {SECONDS} seconds"
    except OSError as error:
        return b"", f"no other process can be started: {error}"
    lines = done.stderr.decode("utf-8", "backslashreplace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
    return done.stdout, f"the process that asked ended with {_status(done.returncode)}: {last}"


def _status(returncode: int) -> str:
    try:
        return signal.Signals(-returncode).name
    except ValueError:
        return f"status {returncode}"


def _note_missing_devices(sections: Report) -> None:
    """Give the kernels for platforms of which there is no device that reason."""
    if _is_error(sections["jax"]) or _is_error(sections["operators"]):
        return
    here = {device["platform"] for device in sections["jax"]["devices"]} | {"any"}
    if here & {"gpu", "cuda", "rocm"}:  # JAX says "gpu" of either kind
        here |= {"gpu", "cuda", "rocm"}
    for operator in sections["operators"]:
        for kernel in operator["kernels"]:
            if kernel["reason"] is None and kernel["platform"] not in here:
                kernel["reason"] = f"there is no {kernel['platform']} device"
