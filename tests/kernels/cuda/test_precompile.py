"""``python -m spikax_kernels precompile``: all machine code on disk, on a machine without a GPU."""

from pathlib import Path
from typing import Any

import pytest

from spikax_kernels import MissingExtraError, __main__
from spikax_kernels.cuda import _cache, _steps
from spikax_kernels.ops import _instances
from tests.kernels.cuda._calls import lowered


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPIKAX_CACHE_DIR", str(tmp_path))
    return tmp_path


def compiled(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The name and architecture of what the compiler, which is none, is asked for."""
    asked: list[tuple[str, int]] = []

    def compile_source(source: str, name: str, options: Any, architecture: int) -> tuple[bytes, str]:
        asked.append((name, architecture))
        return repr((name, options, architecture)).encode(), ""

    monkeypatch.setattr(_cache, "compile_source", compile_source)
    monkeypatch.setattr(_cache, "version", lambda: "nvrtc 1")
    return asked


def test_every_program_is_kept_for_each_architecture(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = compiled(monkeypatch)
    assert __main__.main(["precompile", "--arch", "90,80"]) == 0
    count = sum(1 for architecture in (80, 90) for _ in _instances.programs(architecture))
    assert len(asked) == len(list(place.iterdir())) == count
    assert {architecture for _, architecture in asked} == {80, 90}
    assert capsys.readouterr().out == f"{count} programs for sm_80, sm_90 in {place}\n"


def test_what_is_there_is_not_compiled_again(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = compiled(monkeypatch)
    __main__.main(["precompile", "--arch", "80"])
    asked.clear()
    _cache.machine_code.cache_clear()
    assert __main__.main(["precompile", "--arch", "80"]) == 0
    assert asked == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--arch", "sm_90"], "got architectures 'sm_90'; expected compute capabilities such as '80,90'"),
        ([], "the following arguments are required: --arch"),
    ],
)
def test_a_mistake_is_told(arguments: list[str], said: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        __main__.main(["precompile", *arguments])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
    assert list(place.iterdir()) == []


def test_without_a_folder_there_is_nothing_to_do_it_for(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        __main__.main(["precompile", "--arch", "90"])
    assert ended.value.code == 2
    assert "SPIKAX_CACHE_DIR is empty, so nothing is kept on disk" in capsys.readouterr().err


def test_without_a_compiler_it_names_the_extra_once(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*asked: Any) -> Any:
        raise MissingExtraError("install it")

    monkeypatch.setattr(__main__, "machine_code", refuse)
    with pytest.raises(SystemExit) as ended:
        __main__.main(["precompile", "--arch", "90"])
    assert ended.value.code == 1
    assert capsys.readouterr().err == "install it\n"


@pytest.mark.parametrize("backend", ["cuda", "cuda_deterministic"])
@pytest.mark.parametrize("architecture", [80, 90])
def test_whatever_an_operator_asks_for_was_compiled(
    architecture: int, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: set[tuple[str, ...]] = set()

    def machine_code(source: str, name: str, options: tuple[str, ...], architecture: int) -> bytes:
        asked.add((name, *options))
        return b"machine code"

    monkeypatch.setattr(_steps, "machine_code", machine_code)
    monkeypatch.setenv("SPIKAX_CUDA_ARCH", str(architecture))
    for name, text in lowered(backend):
        assert "@spikax_cuda(" in text, name
    compiled = {(program.name, *program.options) for program in _instances.programs(architecture)}
    assert len(asked) > len(compiled) / 4
    assert asked <= compiled
