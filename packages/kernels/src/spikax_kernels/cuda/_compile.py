"""CUDA C++ becomes machine code through NVRTC, which needs neither a GPU nor nvcc nor a host compiler."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Sequence
from typing import Any

from spikax_kernels._errors import CudaCompileError, MissingExtraError

HEADERS = pathlib.Path(__file__).parent.parent / "include"
"""What a source may include by its name alone."""


@functools.cache
def headers() -> dict[str, str]:
    """The text of each header, by its name."""
    return {path.name: path.read_text() for path in sorted(HEADERS.iterdir()) if path.suffix in (".h", ".cuh")}


@functools.cache
def version() -> str:
    """The version of NVRTC that compiles here, found without loading it.

    Raises:
        MissingExtraError: There is none.
    """
    import importlib.metadata  # takes a while, and most programs need it not at all

    # The distribution of CUDA 13 has no number in its name.
    for name in ("nvidia-cuda-nvrtc", "nvidia-cuda-nvrtc-cu12"):
        try:
            return f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    major, minor = _call("nvrtcVersion")
    return f"nvrtc {major}.{minor}"


def compile_source(source: str, name: str, options: Sequence[str], architecture: int) -> tuple[bytes, str]:
    """Compile CUDA C++ to machine code (a cubin, which also an older driver of the same major version loads).

    Args:
        source: The text.
        name: What messages call it.
        options: Options of NVRTC, such as ``"-DWEIGHT=float"``.
        architecture: The compute capability, 90 for 9.0.

    Returns:
        The machine code, and what the compiler says of it.

    Raises:
        CudaCompileError: It does not compile; the message has the compiler's.
        MissingExtraError: There is no NVRTC.
    """
    included = headers()
    (program,) = _call(
        "nvrtcCreateProgram",
        source.encode(),
        name.encode(),
        len(included),
        [text.encode() for text in included.values()],
        [name.encode() for name in included],
    )
    try:
        arguments = [f"--gpu-architecture=sm_{architecture}", "--std=c++17", *options]
        nvrtc = _nvrtc()
        (result,) = nvrtc.nvrtcCompileProgram(program, len(arguments), [option.encode() for option in arguments])
        log = _read(program, "ProgramLog").decode(errors="replace").rstrip("\0\n")
        if result != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            raise CudaCompileError(f"{name} does not compile for sm_{architecture} with {arguments[1:]}:\n{log}")
        return _read(program, "CUBIN"), log
    finally:
        _call("nvrtcDestroyProgram", program)


def _read(program: Any, what: str) -> bytes:
    (size,) = _call(f"nvrtcGet{what}Size", program)
    content = bytearray(size)
    _call(f"nvrtcGet{what}", program, content)
    return bytes(content)


@functools.cache
def _nvrtc() -> Any:
    try:
        from cuda.bindings import nvrtc  # an extra, and it takes a while to import

        nvrtc.nvrtcVersion()  # opens the library
    except (ImportError, RuntimeError) as error:
        raise MissingExtraError(
            f"CUDA kernels are compiled by NVRTC, which is not installed ({error}); "
            'pip install "spikax-kernels[cuda13]", or "spikax-kernels[cuda12]" for a driver of CUDA 12'
        ) from error
    return nvrtc


def _call(function: str, *args: Any) -> tuple[Any, ...]:
    nvrtc = _nvrtc()
    result, *values = getattr(nvrtc, function)(*args)
    if result != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        raise CudaCompileError(f"{function} failed: {result.name}")
    return tuple(values)
