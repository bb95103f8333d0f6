"""``def_ffi_kernel``: an operator calls what is registered with XLA under a name."""

import ctypes
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikax_core import XLACustomKernel, running_api_version
from spikax_core._backends.call_frame import EXECUTE, METADATA, CallFrame, Extension, MetadataExtension, arrays
from spikax_core.testing import Case, check_kernel
from tests.core.operators import kernel, same

CALLS: list[int] = []


def differences(pointer: Any) -> None:
    """A handler in Python, of two results: the difference of its operands, and which is larger."""
    frame = pointer.contents
    if frame.extension_start and Extension.from_address(frame.extension_start).type == METADATA:
        metadata = MetadataExtension.from_address(frame.extension_start).metadata.contents
        metadata.api_version.major_version, metadata.api_version.minor_version = running_api_version()
        metadata.traits = 0
    elif frame.stage == EXECUTE:
        (x, y), (difference, larger) = arrays(frame)
        CALLS.append(x.size)
        np.subtract(x, y, out=difference)
        np.greater(x, y, out=larger)


HANDLER = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.POINTER(CallFrame))(differences)


@pytest.fixture(scope="module")
def operator() -> XLACustomKernel:
    jax.ffi.register_ffi_target("tests_core_differences", jax.ffi.pycapsule(HANDLER), platform="cpu")
    made = kernel("differences", lambda x, y: (x - y, x > y))
    made.def_ffi_kernel("tests_core_differences", "cpu")
    made.def_jvp_rule2(lambda t, x, y: (t, None), lambda t, x, y: (-t, None))
    return made


def test_it_runs_the_target_on_the_operands(operator: XLACustomKernel) -> None:
    x, y = jnp.array([[3.0, 1.0], [0.5, 2.0]]), jnp.array([[1.0, 2.0], [0.5, 0.0]])
    CALLS.clear()
    for run in (operator, jax.jit(operator)):
        same(run(x, y), (jnp.array([[2.0, -1.0], [0.0, 2.0]]), jnp.array([[True, False], [False, True]])))
    assert CALLS == [4, 4]
    assert operator.available_backends("cpu") == ("ffi", "reference")


def test_it_conforms(operator: XLACustomKernel) -> None:
    x = np.linspace(-1, 2, 6, dtype=np.float32).reshape(2, 3)
    check_kernel(operator, [Case("six", (x, x[::-1]))], backends=["ffi"])
