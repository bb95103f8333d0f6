"""CUDA C++ becomes machine code, or an error that says why not."""

import importlib.metadata
import struct
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from spikax_kernels import MissingExtraError
from spikax_kernels._errors import CudaCompileError
from spikax_kernels.cuda import _compile
from spikax_kernels.cuda._compile import compile_source, headers, version

KERNEL = 'extern "C" __global__ void store(int* x) { *x = SIZE; }'


def architecture(cubin: bytes) -> int:
    """What the header of an ELF file says of the code in it."""
    assert cubin[:4] == b"\x7fELF"
    version_of_abi, flags = cubin[8], struct.unpack_from("<I", cubin, 48)[0]
    return int(flags >> 8 & 0xFF if version_of_abi >= 8 else flags & 0xFF)  # CUDA 13 moved it


@pytest.mark.usefixtures("nvrtc")
@pytest.mark.parametrize("capability", [80, 90, 100, 120])
def test_code_is_for_the_architecture_that_was_asked_for(capability: int) -> None:
    cubin, _ = compile_source(KERNEL, "store.cu", ["-DSIZE=3"], capability)
    assert architecture(cubin) == capability
    assert b"store" in cubin


@pytest.mark.usefixtures("nvrtc")
def test_options_reach_the_compiler() -> None:
    three, four = (compile_source(KERNEL, "store.cu", [f"-DSIZE={size}"], 90)[0] for size in (3, 4))
    assert three != four
    assert three == compile_source(KERNEL, "store.cu", ["-DSIZE=3"], 90)[0]


@pytest.mark.usefixtures("nvrtc")
def test_a_warning_comes_with_the_code() -> None:
    code, log = compile_source("__device__ void f() { int unused; }", "mine.cu", [], 90)
    assert code[:4] == b"\x7fELF"
    assert log.startswith("mine.cu(1): warning")
    assert compile_source(KERNEL, "store.cu", ["-DSIZE=3"], 90)[1] == ""


@pytest.mark.usefixtures("nvrtc")
def test_every_header_is_found_by_its_name() -> None:
    names = headers()
    assert {"target.h", "compressed.h", "operands.cuh"} <= set(names)
    source = "".join(f'#include "{name}"\n' for name in ["target.h", *names])
    compile_source(source + KERNEL, "store.cu", ["-DSIZE=3", "-DWEIGHT=float"], 90)


@pytest.mark.usefixtures("nvrtc")
def test_an_error_has_the_name_the_architecture_the_options_and_what_the_compiler_says() -> None:
    with pytest.raises(CudaCompileError) as caught:
        compile_source("\n__device__ int f() { return unknown; }", "mine/kernel.cu", ["-DWEIGHT=float"], 90)
    first, *log = str(caught.value).splitlines()
    assert first == "mine/kernel.cu does not compile for sm_90 with ['--std=c++17', '-DWEIGHT=float']:"
    assert log[0] == 'mine/kernel.cu(2): error: identifier "unknown" is undefined'
    assert "\0" not in str(caught.value)


@pytest.mark.usefixtures("nvrtc")
@pytest.mark.parametrize(
    ("source", "option", "capability", "said"),
    [
        ('#include "nowhere.h"', "-DA", 90, r'cannot open source file "nowhere\.h"'),
        ("", "--nonsense", 90, "unrecognized option --nonsense"),
        ("", "-DA", 999, r"sm_999[\s\S]*invalid value for --gpu-architecture"),
        ("// \N{GREEK SMALL LETTER ALPHA}\n#error \N{GREEK SMALL LETTER ALPHA}", "-DA", 90, "#error"),
    ],
    ids=["a header", "an option", "an architecture", "text beyond ASCII"],
)
def test_what_the_compiler_does_not_take_is_told(source: str, option: str, capability: int, said: str) -> None:
    with pytest.raises(CudaCompileError, match=said):
        compile_source(source, "name.cu", [option], capability)


class FailingNvrtc:
    """NVRTC of which one function fails; it counts the programs that are not destroyed."""

    def __init__(self, failing: str) -> None:
        self.nvrtcResult = SimpleNamespace(NVRTC_SUCCESS=0)
        self.failing = failing
        self.programs = 0

    def __getattr__(self, function: str) -> Any:
        def call(*args: Any) -> tuple[Any, ...]:
            if function == self.failing:
                return (SimpleNamespace(name="NVRTC_ERROR_OUT_OF_MEMORY"), None)
            self.programs += {"nvrtcCreateProgram": 1, "nvrtcDestroyProgram": -1}.get(function, 0)
            return (0, 4) if function == "nvrtcCreateProgram" or function.endswith("Size") else (0,)

        return call


@pytest.mark.parametrize("function", ["nvrtcCreateProgram", "nvrtcGetCUBINSize", "nvrtcGetCUBIN"])
def test_a_function_of_the_compiler_that_fails_is_named(monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    failing = FailingNvrtc(function)
    monkeypatch.setattr(_compile, "_nvrtc", lambda: failing)
    with pytest.raises(CudaCompileError, match=rf"^{function} failed: NVRTC_ERROR_OUT_OF_MEMORY$"):
        compile_source(KERNEL, "store.cu", [], 90)
    assert failing.programs == 0


EXTRA = r'not installed \(.+\); pip install "spikax-kernels\[cuda13\]", or "spikax-kernels\[cuda12\]" for a driver.*12$'


def test_without_the_bindings_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(MissingExtraError, match=EXTRA):
        compile_source(KERNEL, "store.cu", [], 90)


def test_bindings_without_the_compiler_get_the_same_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def nvrtc_version() -> None:
        raise RuntimeError("Failure finding libnvrtc.so")

    bindings = SimpleNamespace(nvrtc=SimpleNamespace(nvrtcVersion=nvrtc_version))
    monkeypatch.setitem(sys.modules, "cuda", SimpleNamespace(bindings=bindings))
    monkeypatch.setitem(sys.modules, "cuda.bindings", bindings)
    with pytest.raises(MissingExtraError, match=r"\(Failure finding libnvrtc\.so\)"):
        compile_source(KERNEL, "store.cu", [], 90)


def install(monkeypatch: pytest.MonkeyPatch, **versions: str) -> None:
    def find(name: str) -> str:
        if name.replace("-", "_") in versions:
            return versions[name.replace("-", "_")]
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", find)


@pytest.mark.parametrize("name", ["nvidia-cuda-nvrtc", "nvidia-cuda-nvrtc-cu12"])
def test_the_version_is_that_of_the_distribution_which_is_not_loaded(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    install(monkeypatch, **{name.replace("-", "_"): "12.9.86"})
    assert version() == f"{name} 12.9.86"


def test_the_version_of_a_compiler_that_is_no_distribution_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    found = SimpleNamespace(nvrtcResult=SimpleNamespace(NVRTC_SUCCESS=0), nvrtcVersion=lambda: (0, 12, 8))
    monkeypatch.setattr(_compile, "_nvrtc", lambda: found)
    assert version() == "nvrtc 12.8"


def test_without_any_compiler_there_is_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(MissingExtraError, match=EXTRA):
        version()
