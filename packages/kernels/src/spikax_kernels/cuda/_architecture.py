"""For which GPUs a program is compiled: those that JAX sees, or those that the environment names."""

from __future__ import annotations

import os

import jax

from spikax_core import BackendRefusedError
from spikax_kernels._errors import ArchitectureError

VARIABLE = "SPIKAX_CUDA_ARCH"
"""The environment variable that names compute capabilities, such as ``"80,90"``."""


def parse(text: str) -> tuple[int, ...]:
    """The compute capabilities in a list such as ``"80,90"``, in order.

    Raises:
        ArchitectureError: It is no such list.

    Example:
        >>> from spikax_kernels.cuda._architecture import parse
        >>> parse("90, 80")
        (80, 90)
    """
    numbers = [part.strip() for part in text.split(",")]
    if not all(number.isdecimal() and 50 <= int(number) < 1000 for number in numbers):  # sm_50 is CUDA's oldest
        raise ArchitectureError(f"got architectures {text!r}; expected compute capabilities such as '80,90'")
    return tuple(sorted({int(number) for number in numbers}))


def architectures() -> tuple[int, ...]:
    """The compute capabilities to compile for, in order: 90 for 9.0.

    Raises:
        ArchitectureError: The environment names something else.
        BackendRefusedError: It names none, and there is no GPU.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return parse(named)
    try:
        devices = jax.local_devices(backend="cuda")
    except RuntimeError as error:
        raise BackendRefusedError(
            f"there is no CUDA device to compile for ({error}); set {VARIABLE}, to 90 say, to compile for others"
        ) from error
    capabilities = {str(device.compute_capability) for device in devices}
    return tuple(sorted(int(capability.replace(".", "")) for capability in capabilities))
