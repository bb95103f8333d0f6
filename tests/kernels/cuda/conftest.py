"""What is remembered from one compilation to the next is forgotten from one test to the next."""

from collections.abc import Iterator

import pytest

from spikax_kernels.cuda import _cache, _compile


def forget() -> None:
    for remembered in (_cache.machine_code, _compile.headers, _compile.version, _compile._nvrtc):
        remembered.cache_clear()


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing remembered, nothing on disk, and nothing set by the person who runs the tests."""
    for variable in ("SPIKAX_CUDA_ARCH", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("SPIKAX_CACHE_DIR", "")
    forget()
    yield
    monkeypatch.undo()
    forget()


@pytest.fixture
def nvrtc() -> None:
    """For tests that compile."""
    pytest.importorskip("cuda.bindings", reason="compiles CUDA C++")
