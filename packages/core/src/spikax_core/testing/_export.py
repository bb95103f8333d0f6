"""Export: a kernel that says it can leave the process gives the same when it is called back from what was exported."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
from jax import export

from spikax_core._export import disabled_checks
from spikax_core._extras import missing

from ._compare import Check
from ._subject import Subject


def export_round_trip(subject: Subject) -> Iterator[Check]:
    """The exported program, serialised where the extra is there that does so, gives the kernel's values."""
    entry = subject.kernel._kernels.entry(jax.default_backend(), subject.backend)
    if entry is not None and entry.exportable:
        yield Check("exported program", lambda: _round_trip(subject), lambda: subject.call(*subject.args))


def _round_trip(subject: Subject) -> Any:
    function = jax.jit(subject.call)
    exported = export.export(function, disabled_checks=disabled_checks())(*subject.args)
    if missing("testing") is None:
        exported = export.deserialize(exported.serialize())
    return exported.call(*subject.args)
