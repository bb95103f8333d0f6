"""The version of XLA's foreign function interface that the installed jaxlib speaks."""

from __future__ import annotations

import functools
import pathlib
import re

import jax

_API = re.compile(rb"#define XLA_FFI_API_(MAJOR|MINOR) (\d+)")


@functools.cache
def running_api_version() -> tuple[int, int]:
    """The (major, minor) version of the XLA FFI API that the installed jaxlib speaks, as its own headers say.

    XLA refuses a handler of a newer version, and then its whole platform does not start. So compare the version that a
    library was built with before you register what is in it.

    Example:
        >>> from spikax_core import running_api_version
        >>> running_api_version() >= (0, 1)
        True
    """
    header = pathlib.Path(jax.ffi.include_dir()) / "xla" / "ffi" / "api" / "c_api.h"
    found = {name: int(number) for name, number in _API.findall(header.read_bytes())}
    return found[b"MAJOR"], found[b"MINOR"]
