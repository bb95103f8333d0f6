"""A user's own CUDA C++: compiled as it is, called with what it says, refused where CUDA would not take it."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikax_core import XLACustomKernel
from spikax_kernels import CudaCompileError, LaunchError, cuda_kernel
from spikax_kernels.cuda import _steps
from tests.kernels.cuda._decode import decode

SOURCE = """
#include "target.h"

extern "C" __global__ void scale(const float* x, float* y, float by, int32_t size) {
  int32_t i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < size) y[i] = by * x[i] + ADDEND;
}
"""
OUT = jax.ShapeDtypeStruct((300,), jnp.float32)


@pytest.fixture(autouse=True)
def architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKAX_CUDA_ARCH", "90")


def make(**changed: Any) -> Any:
    given: dict[str, Any] = {
        "grid": 3,
        "block": 128,
        "scalars": [np.float32(2), np.int32(300)],
        "options": ["-DADDEND=1"],
        **changed,
    }
    return cuda_kernel(SOURCE, "scale", [OUT], **given)


def attributes(function: Any, monkeypatch: pytest.MonkeyPatch, *operands: Any) -> dict[str, Any]:
    """What the native library would get from a call."""
    got: list[dict[str, Any]] = []

    def ffi_call(target: str, results: Any) -> Any:
        assert target == "spikax_cuda"

        def run(*operands: Any, **attributes: Any) -> Any:
            got.append(attributes)
            return [jnp.zeros(result.shape, result.dtype) for result in results]

        return run

    with monkeypatch.context() as patch:
        patch.setattr(jax.ffi, "ffi_call", ffi_call)
        function(*operands)
    (only,) = got
    return only


def steps(function: Any, monkeypatch: pytest.MonkeyPatch, *operands: Any) -> list[tuple[Any, ...]]:
    got = attributes(function, monkeypatch, *operands)
    return list(decode(got["steps"], got["values"], got["functions"]))


@pytest.fixture
def without_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_steps, "machine_code", lambda *args: b"machine code")


@pytest.mark.usefixtures("without_compiler")
def test_a_kernel_gets_operands_results_and_scalars_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = [0, 1, np.float32(2).tobytes(), np.int32(300).tobytes()]
    expected = ("launch", "scale", (3, 1, 1), (128, 1, 1), 0, False, arguments)
    assert steps(make(), monkeypatch, jnp.ones(300)) == [expected]


@pytest.mark.usefixtures("without_compiler")
def test_results_are_zeros_only_if_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    function = make(zeros=True, grid=(1, 2, 3), block=(4, 5), shared=99, scalars=[])
    expected = ("launch", "scale", (1, 2, 3), (4, 5, 1), 99, False, [0, 1, 2])
    assert steps(function, monkeypatch, jnp.ones(3), jnp.ones(4)) == [("fill", 2, 0), expected]


@pytest.mark.usefixtures("without_compiler")
def test_there_may_be_nothing_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    ((_, _, grid, *_),) = steps(make(grid=0), monkeypatch, jnp.ones(0))
    assert grid == (0, 1, 1)


@pytest.mark.usefixtures("nvrtc")
def test_it_is_compiled_with_its_options_for_each_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKAX_CUDA_ARCH", "80,90")
    got = attributes(make(), monkeypatch, jnp.ones(300))
    assert got["architectures"].tolist() == [80, 90]
    assert got["functions"] == "scale"
    assert got["images"].tobytes()[:4] == b"\x7fELF"
    other = attributes(make(options=["-DADDEND=2"]), monkeypatch, jnp.ones(300))
    assert got["images"].tobytes() != other["images"].tobytes()


@pytest.mark.usefixtures("nvrtc")
def test_what_does_not_compile_is_told_with_the_line() -> None:
    with pytest.raises(CudaCompileError, match=re.escape('scale(6): error: identifier "ADDEND" is undefined')):
        make(options=[])(jnp.ones(300))


@pytest.mark.usefixtures("nvrtc")
def test_an_operator_has_it_in_a_program_for_a_gpu_and_the_reference_elsewhere() -> None:
    scale = XLACustomKernel("scaled", reference=lambda x, *, by: by * x + 1)
    scale.def_shape_rule(lambda x, *, by: x)

    def build(in_avals: Any, out_avals: Any, *, by: float) -> Any:
        scalars = np.float32(by), np.int32(in_avals[0].size)
        return cuda_kernel(SOURCE, "scale", out_avals, grid=3, block=128, scalars=scalars, options=["-DADDEND=1"])

    scale.def_kernel("cuda", "gpu", build)
    function = jax.jit(lambda x: scale(x, by=2.0))
    text = function.trace(jnp.ones(300)).lower(lowering_platforms=("cuda",)).as_text()
    assert "@spikax_cuda(%" in text
    assert "(tensor<300xf32>) -> tensor<300xf32>" in text
    if jax.default_backend() == "cpu":
        assert "spikax_cuda" not in function.lower(jnp.ones(300)).as_text()
    assert np.array_equal(function(jnp.ones(300)), np.full(300, 3.0))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"grid": -1}, "grid: got -1; expected one to three integers of at least 0"),
        ({"grid": (1, 2, 3, 4)}, "grid: got (1, 2, 3, 4); expected one to three"),
        ({"grid": 2.0}, "grid: got 2.0; expected"),
        ({"grid": (1, 2**16)}, "grid: got (1, 65536, 1); expected at most (2147483647, 65535, 65535)"),
        ({"block": 0}, "block: got 0; expected one to three integers of at least 1"),
        ({"block": (32, 33)}, "block: got 1056 threads; expected at most 1024"),
        ({"scalars": [3]}, "scalars: got 3; expected NumPy scalars, such as np.int32(3)"),
    ],
)
def test_what_cuda_does_not_take_is_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(LaunchError, match=re.escape(said)):
        make(**changed)
