"""The native library: found, checked against the running jaxlib, and only then registered with XLA."""

from __future__ import annotations

import ctypes
import pathlib
from typing import Any

import jax
from jaxlib.version import __version__ as jaxlib_version

from spikax_core import running_api_version

from ._errors import MissingExtraError, NativeLibraryError
from .cuda._cache import FOLDER_VARIABLE, folder
from .cuda._compile import version
from .cuda._steps import TARGET as CUDA_TARGET

HANDLERS = (
    "spikax_scatter_cpu",
    "spikax_gather_cpu",
    "spikax_sddmm_cpu",
    "spikax_coo_cpu",
    "spikax_dense_cpu",
    "spikax_random_columns_cpu",
)
"""The CPU handlers; each is registered with XLA under its own name, which is stable across versions."""

CUDA_STAGES = {"initialize": "spikax_cuda_initialize", "execute": "spikax_cuda_execute"}
"""The stages of the handler that launches CUDA kernels, all under one name."""


def register() -> None:
    """Load the library and register its handlers.

    Raises:
        NativeLibraryError: There is no library, or it is another version's, or its FFI API is newer than the running
            jaxlib's. Nothing has been registered then: a handler that the runtime rejects would keep JAX's CPU backend
            from starting.
    """
    library = _load()
    built = _built_api_version(library)
    running = running_api_version()
    if built[0] != running[0] or built[1] > running[1]:
        raise NativeLibraryError(
            f"spikax-kernels was built for XLA FFI API {built[0]}.{built[1]}, but jaxlib {jaxlib_version} has "
            f"{running[0]}.{running[1]}; upgrade JAX: pip install -U 'jax>=0.9'"
        )
    handlers = [_symbol(library, name) for name in HANDLERS]
    for name, handler in zip(HANDLERS, handlers, strict=True):
        jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(handler), platform="cpu")
    stages = {stage: jax.ffi.pycapsule(_symbol(library, name)) for stage, name in CUDA_STAGES.items()}
    jax.ffi.register_ffi_target(CUDA_TARGET, stages, platform="CUDA")


def report() -> dict[str, str]:
    """What ``python -m spikax_core doctor`` says of the library, and of what compiles the CUDA kernels.

    Raises:
        NativeLibraryError: There is none, or it is another version's.
    """
    library = _load()
    return {
        "native_library": str(library._name),
        "built_for_ffi_api": ".".join(map(str, _built_api_version(library))),
        "handlers": ", ".join([*HANDLERS, CUDA_TARGET]),
        "cuda_compiler": _cuda_compiler(),
        "cuda_cache": str(folder() or f"none, as {FOLDER_VARIABLE} is empty"),
    }


def _cuda_compiler() -> str:
    try:
        return version()
    except MissingExtraError as error:
        return str(error)


def _built_api_version(library: ctypes.CDLL) -> tuple[int, int]:
    major, minor = (int(_symbol(library, f"spikax_kernels_ffi_api_{part}")()) for part in ("major", "minor"))
    return major, minor


def _load() -> ctypes.CDLL:
    folder = pathlib.Path(__file__).parent / "_native"
    # The platform decides the suffix: .so on Linux, .dylib on macOS.
    paths = sorted(folder.glob("libspikax_kernels.*"))
    if not paths:
        raise NativeLibraryError(
            f"no native library in {folder}; install spikax-kernels, in a checkout by `pip install packages/kernels`"
        )
    try:
        return ctypes.CDLL(str(paths[0]))
    except OSError as error:
        raise NativeLibraryError(f"cannot load {paths[0]}: {error}; reinstall spikax-kernels") from error


def _symbol(library: ctypes.CDLL, name: str) -> Any:
    try:
        return getattr(library, name)
    except AttributeError as error:
        raise NativeLibraryError(
            f"the native library is another version's: {error}; reinstall spikax-kernels"
        ) from error
