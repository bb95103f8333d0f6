"""What the doctor finds out in a process of its own, as what is broken may end that process.

``python -m spikax_core._doctor_probe SECTION ...`` writes one line of JSON for each section as soon as it is known.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

Section: TypeAlias = Any
"""What can be written as JSON; a mapping with the key ``"error"`` says why there is nothing else."""

GROUP = "spikax_core.doctor"
"""The group of entry points by which other packages report about themselves, and register their operators."""


def gathered(find: Callable[[], Section]) -> Section:
    """What ``find`` returns, or the error that it raises, with its place."""
    try:
        return find()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever is broken is what the doctor is asked about
        frame = traceback.extract_tb(error.__traceback__)[-1]
        said = f"{type(error).__name__}: {error}".rstrip(": ")
        return {"error": f"{said} ({frame.filename}:{frame.lineno})"}


def ffi() -> Section:
    """The version of XLA's foreign function interface that the installed jaxlib speaks."""
    from ._ffi import running_api_version

    return {"jaxlib": ".".join(map(str, running_api_version()))}


def packages() -> Section:
    """What each package that has an entry point says of itself."""
    return {
        point.name: gathered(functools.partial(_report, point))
        for point in importlib.metadata.entry_points(group=GROUP)
    }


def _report(point: importlib.metadata.EntryPoint) -> Section:
    from . import _kernel  # noqa: F401 - what is wrong with this package is not the other one's error

    report = point.load()()
    if not isinstance(report, Mapping):
        raise TypeError(f"entry point {point.value}: got {type(report).__name__}; expected a mapping")
    return json.loads(json.dumps(dict(report)))  # here, so that what is no JSON is the error of its package


def operators() -> Section:
    """The operators of this package and of those that have reported, with their kernels."""
    from ._kernel import operators as all_operators

    return [
        {"name": operator.name, "tags": sorted(operator.tags), "kernels": _kernels(operator)}
        for operator in all_operators()
    ]


def _kernels(operator: Any) -> list[Section]:
    from ._context import REFERENCE
    from ._extras import missing

    found = [(entry.backend, entry.platform, entry.exportable, entry.requires) for entry in operator.kernels]
    if REFERENCE in operator.available_backends("cpu"):
        found.append((REFERENCE, "any", True, None))
    return [
        {"backend": backend, "platform": platform, "exportable": exportable, "reason": requires and missing(requires)}
        for backend, platform, exportable, requires in found
    ]


def jax() -> Section:
    """The devices, for which JAX starts its backends."""
    import jax

    return {
        "default_backend": jax.default_backend(),
        "devices": [{"id": d.id, "platform": d.platform, "kind": d.device_kind} for d in jax.devices()],
    }


SECTIONS: Mapping[str, Callable[[], Section]] = {
    "ffi": ffi,
    "packages": packages,
    "operators": operators,
    "jax": jax,  # last, as XLA ends the process for a flag that it does not know
}


def main(sections: list[str]) -> None:
    """Write the answers to what is the standard output now; what others print goes to the standard error."""
    with os.fdopen(os.dup(1), "w", encoding="ascii") as answers:
        os.dup2(2, 1)
        for name in sections:
            answers.write(json.dumps({name: gathered(SECTIONS[name])}) + "\n")
            answers.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
