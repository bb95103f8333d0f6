"""The native library: what is refused, and what an import does to JAX."""

import ctypes
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from spikax_core import running_api_version
from spikax_kernels import NativeLibraryError, _library

# An import beside a jaxlib whose FFI API is older than the library's, and then JAX on its own.
TOO_OLD = """
import sys, jax
jax.ffi.include_dir = lambda: sys.argv[1]
try:
    import spikax_kernels
except ImportError as error:
    print(type(error).__name__, error)
print(jax.jit(lambda x: x + 1)(jax.numpy.arange(4)).sum())
"""

NO_BACKEND = """
import jax
jax.config.update("jax_platforms", "none")  # to start a backend is an error now
import spikax_kernels
jax.config.update("jax_platforms", "cpu")
print(jax.devices()[0].platform)
"""


def python(program: str, *args: str) -> str:
    return subprocess.check_output([sys.executable, "-c", program, *args], text=True, timeout=60)


def headers(folder: Path, major: int, minor: int) -> Path:
    """A folder of headers as jaxlib has them, of an FFI API of this version."""
    path = folder / "xla" / "ffi" / "api" / "c_api.h"
    path.parent.mkdir(parents=True)
    path.write_text(f"#define XLA_FFI_API_MAJOR {major}\n#define XLA_FFI_API_MINOR {minor}\n")
    return folder


@pytest.mark.parametrize("change", [(0, -1), (1, 0)], ids=["older", "another major"])
def test_a_jaxlib_that_cannot_run_it_is_refused_and_goes_on_working(tmp_path: Path, change: tuple[int, int]) -> None:
    library = _library._load()
    built = library.spikax_kernels_ffi_api_major(), library.spikax_kernels_ffi_api_minor()
    running = built[0] + change[0], built[1] + change[1]
    refusal, total = python(TOO_OLD, str(headers(tmp_path, *running))).splitlines()
    assert refusal.startswith(f"NativeLibraryError spikax-kernels was built for XLA FFI API {built[0]}.{built[1]}")
    assert f"has {running[0]}.{running[1]}; upgrade JAX" in refusal
    assert total == "10"


def test_a_newer_jaxlib_is_accepted(tmp_path: Path) -> None:
    major, minor = running_api_version()
    assert python(TOO_OLD, str(headers(tmp_path, major, minor + 100))) == "10\n"


def test_the_version_of_the_running_jaxlib_is_that_of_its_headers() -> None:
    major, minor = running_api_version()
    assert (major, minor) >= (0, 2)  # jaxlib 0.9.0, the oldest that is supported


def register_from(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_library, "__file__", str(folder / "_library.py"))
    _library.register()


def test_a_missing_library_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NativeLibraryError, match=r"no native library in .*_native; install spikax-kernels"):
        register_from(tmp_path, monkeypatch)


def test_a_file_that_is_no_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "_native" / "libspikax_kernels.so"
    path.parent.mkdir()
    path.write_bytes(b"not a library")
    with pytest.raises(NativeLibraryError, match=r"cannot load .*libspikax_kernels\.so.*reinstall"):
        register_from(tmp_path, monkeypatch)


def test_the_library_of_another_version_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "_native"
    folder.mkdir()
    shutil.copy(sys.modules["_ctypes"].__file__ or "", folder / "libspikax_kernels.so")  # any library that is not ours
    with pytest.raises(NativeLibraryError, match=r"another version's: .*spikax_kernels_ffi_api_major"):
        register_from(tmp_path, monkeypatch)


def test_every_handler_is_exported_by_the_library() -> None:
    library = _library._load()
    for name in _library.HANDLERS:
        assert ctypes.cast(getattr(library, name), ctypes.c_void_p).value


def test_an_import_starts_no_backend() -> None:
    assert python(NO_BACKEND) == "cpu\n"
