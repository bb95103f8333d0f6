"""Machine code on disk: compiled once for a user, shared by processes, never trusted blindly.

A file is named after all that its content depends on, and begins with a checksum, so that one that was cut off or
damaged is compiled again. Files are put in place whole, by a rename; where nothing can be written, each process
compiles for itself.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import pathlib
import tempfile
from collections.abc import Sequence

from ._compile import compile_source, headers, version

FOLDER_VARIABLE = "SPIKAX_CACHE_DIR"
"""The environment variable that names the folder; empty, and nothing is kept on disk."""

_CHECKSUM = hashlib.sha256().digest_size


def folder() -> pathlib.Path | None:
    """Where machine code is kept, ``None`` if nowhere."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    if chosen is not None:
        return pathlib.Path(chosen) if chosen else None
    try:
        home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    except RuntimeError:  # a user without a home
        return None
    return pathlib.Path(home) / "spikax"


@functools.lru_cache(maxsize=1024)
def machine_code(source: str, name: str, options: Sequence[str], architecture: int) -> bytes:
    """The machine code of :func:`compile_source`, from this process's memory or from disk if it is there."""
    place = folder()
    path = None if place is None else place / f"{_digest(source, name, options, architecture)}.cubin"
    content = None if path is None else _read(path)
    if content is None:
        content, _ = compile_source(source, name, options, architecture)
        if path is not None:
            _write(path, content)
    return content


def _digest(source: str, name: str, options: Sequence[str], architecture: int) -> str:
    parts = [source, name, *options, str(architecture), version(), *(f"{k}\n{text}" for k, text in headers().items())]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _read(path: pathlib.Path) -> bytes | None:
    try:
        stored = path.read_bytes()
    except OSError:
        return None
    checksum, content = stored[:_CHECKSUM], stored[_CHECKSUM:]
    return content if content and hashlib.sha256(content).digest() == checksum else None


def _write(path: pathlib.Path, content: bytes) -> None:
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem[:16]}")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(hashlib.sha256(content).digest() + content)
            pathlib.Path(temporary).replace(path)
        finally:
            pathlib.Path(temporary).unlink(missing_ok=True)  # still there after a full disk or an interrupt
