"""Export: a kernel that says it can leave the process gives the same when it is called back from what was exported."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from typing import Any

import jax
from jax import export

from spikax_core._call import Backend

from ._compare import Check
from ._subject import Subject


def export_round_trip(subject: Subject) -> Iterator[Check]:
    """The exported program, serialised where ``flatbuffers`` is there to do so, gives the kernel's values."""
    asked, avals = Backend(subject.backend, strict=True), list(map(jax.typeof, subject.args))
    kernel = subject.kernel._kernels.choose(jax.default_backend(), asked, avals, subject.case.params)
    if kernel.exportable:
        yield Check("exported program", lambda: _round_trip(subject), lambda: subject.call(*subject.args))


def _round_trip(subject: Subject) -> Any:
    function = jax.jit(subject.call)
    # JAX exports no custom call that it does not know, unless told by name that this is meant.
    targets = set(re.findall(r'custom_call @"?([\w.$-]+)', function.lower(*subject.args).as_text()))
    exported = export.export(function, disabled_checks=list(map(export.DisabledSafetyCheck.custom_call, targets)))(
        *subject.args
    )
    if importlib.util.find_spec("flatbuffers"):
        exported = export.deserialize(exported.serialize())
    return exported.call(*subject.args)
