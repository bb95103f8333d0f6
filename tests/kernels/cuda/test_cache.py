"""Machine code is compiled once for a user, and whatever has become of the files, it is right."""

import os
import pathlib
import pwd
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from spikax_kernels.cuda import _cache
from spikax_kernels.cuda._cache import folder, machine_code


class Compiler:
    """Stands in for NVRTC: the machine code is what it was asked for, and each time is counted."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, source: str, name: str, options: tuple[str, ...], architecture: int) -> tuple[bytes, str]:
        self.times += 1
        return repr((source, name, options, architecture)).encode(), "a warning"


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Compiler:
    made = Compiler()
    monkeypatch.setattr(_cache, "compile_source", made)
    monkeypatch.setattr(_cache, "version", lambda: "nvrtc 1")
    monkeypatch.setattr(_cache, "headers", lambda: {"a.h": "text"})
    return made


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    where = tmp_path / "new" / "folder"
    monkeypatch.setenv("SPIKAX_CACHE_DIR", str(where))
    return where


ASKED = "source", "name.cu", ("-DA=1",), 90
CODE = repr(ASKED).encode()


def in_a_new_process(*asked: object) -> bytes:
    """Machine code, as one gets it who remembers nothing."""
    machine_code.cache_clear()
    return machine_code(*asked or ASKED)


def test_code_is_compiled_once(compiler: Compiler, place: Path) -> None:
    assert [in_a_new_process() for _ in range(3)] == [CODE] * 3
    assert compiler.times == 1
    assert len(list(place.iterdir())) == 1


def test_a_process_that_has_it_reads_no_file(compiler: Compiler, place: Path) -> None:
    machine_code(*ASKED)
    for file in place.iterdir():
        file.unlink()
    assert machine_code(*ASKED) == CODE
    assert compiler.times == 1


@pytest.mark.usefixtures("nvrtc", "place")
def test_what_is_on_disk_needs_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 'extern "C" __global__ void store(int* x) { *x = 1; }', "store.cu", (), 90
    compiled = machine_code(*asked)
    assert compiled[:4] == b"\x7fELF"
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    monkeypatch.setattr(_cache, "compile_source", None)
    assert in_a_new_process(*asked) == compiled


@pytest.mark.parametrize(
    "asked",
    [
        ("another", "name.cu", ("-DA=1",), 90),
        ("source", "another.cu", ("-DA=1",), 90),
        ("source", "name.cu", ("-DA=2",), 90),
        ("source", "name.cu", ("-DA=1", "-DB"), 90),
        ("source", "name.cu", (), 90),
        ("source", "name.cu", ("-DA=1",), 80),
    ],
)
def test_other_source_options_or_architectures_are_other_code(
    compiler: Compiler, place: Path, asked: tuple[object, ...]
) -> None:
    assert in_a_new_process() == CODE
    assert in_a_new_process(*asked) == repr(asked).encode()
    assert in_a_new_process() == CODE
    assert compiler.times == len(list(place.iterdir())) == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("version", lambda: "nvrtc 2"),
        ("headers", lambda: {"a.h": "another"}),
        ("headers", lambda: {"b.h": "text"}),
        ("headers", dict),
    ],
    ids=["version", "text of a header", "name of a header", "no header"],
)
def test_another_compiler_or_header_compiles_again(
    compiler: Compiler, place: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: Callable[[], object]
) -> None:
    in_a_new_process()
    monkeypatch.setattr(_cache, name, value)
    in_a_new_process()
    assert compiler.times == len(list(place.iterdir())) == 2


def flip(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at:][1:]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:31],
        lambda content: content[:32],
        lambda content: content[:-1],
        lambda content: content + b"\0",
        lambda content: flip(content, 0),
        lambda content: flip(content, len(content) - 1),
        lambda content: bytes(len(content)),
    ],
    ids=["empty", "half", "headless", "short", "long", "sum", "code", "zeros"],
)
def test_a_damaged_file_is_compiled_again_and_replaced(
    compiler: Compiler, place: Path, damage: Callable[[bytes], bytes]
) -> None:
    in_a_new_process()
    (file,) = place.iterdir()
    good = file.read_bytes()
    file.write_bytes(damage(good))
    assert in_a_new_process() == CODE
    assert compiler.times == 2
    assert file.read_bytes() == good
    assert in_a_new_process() == CODE
    assert compiler.times == 2


def test_a_file_that_cannot_be_read_is_compiled_again(compiler: Compiler, place: Path) -> None:
    in_a_new_process()
    (file,) = place.iterdir()
    file.unlink()
    file.mkdir()
    assert in_a_new_process() == CODE
    assert list(place.iterdir()) == [file]


def test_where_a_file_is_in_the_way_nothing_is_kept(
    compiler: Compiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    occupied = tmp_path / "occupied"
    occupied.write_text("mine")
    for chosen in (occupied, occupied / "below"):
        monkeypatch.setenv("SPIKAX_CACHE_DIR", str(chosen))
        assert in_a_new_process() == CODE
    assert compiler.times == 2
    assert occupied.read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="everything is writable to root")
def test_where_nothing_may_be_written_each_process_compiles(compiler: Compiler, place: Path) -> None:
    place.mkdir(parents=True)
    place.chmod(0o500)
    assert [in_a_new_process(), in_a_new_process()] == [CODE, CODE]
    assert compiler.times == 2
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(("module", "function"), [(tempfile, "mkstemp"), (pathlib.Path, "replace")])
@pytest.mark.usefixtures("compiler")
def test_a_full_or_read_only_disk_is_no_error_and_no_file_is_left(
    place: Path, monkeypatch: pytest.MonkeyPatch, module: object, function: str
) -> None:
    def fail(*args: object, **_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, function, fail)
    assert in_a_new_process() == CODE
    assert list(place.iterdir()) == []


@pytest.mark.usefixtures("compiler")
def test_an_interrupt_while_a_file_is_written_leaves_none(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pathlib.Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        in_a_new_process()
    assert list(place.iterdir()) == []


def test_an_error_of_the_compiler_is_not_kept(compiler: Compiler, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bytes:
        raise ValueError("no")

    with monkeypatch.context() as failing:
        failing.setattr(_cache, "compile_source", fail)
        for _ in range(2):
            with pytest.raises(ValueError, match="no"):
                machine_code(*ASKED)
    assert not place.exists()
    assert machine_code(*ASKED) == CODE


def test_the_folder_is_the_one_that_is_named(place: Path) -> None:
    assert folder() == place


def test_an_empty_name_keeps_nothing_on_disk(
    compiler: Compiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPIKAX_CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert folder() is None
    assert in_a_new_process() == CODE
    assert machine_code(*ASKED) == CODE
    assert compiler.times == 1
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def unnamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPIKAX_CACHE_DIR")


@pytest.mark.usefixtures("unnamed")
def test_without_a_name_it_is_in_the_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert folder() == Path("/home/somebody/.cache/spikax")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert folder() == Path("/home/somebody/.cache/spikax")
    monkeypatch.setenv("XDG_CACHE_HOME", "/scratch/somebody")
    assert folder() == Path("/scratch/somebody/spikax")


@pytest.mark.usefixtures("unnamed")
def test_a_user_without_a_home_keeps_nothing(compiler: Compiler, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_: int) -> None:
        raise KeyError("uid not found")

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert folder() is None
    assert in_a_new_process() == CODE
    monkeypatch.setenv("XDG_CACHE_HOME", "/scratch")
    assert folder() == Path("/scratch/spikax")


# Takes each file away as soon as it is there, so that both are always reading, compiling and writing one; at last, not.
HASTY = """
import sys
from spikax_kernels.cuda import _cache

_cache.compile_source = lambda *asked: (repr(asked).encode() * 10_000, '')
_cache.version = lambda: "nvrtc 1"
asked = "source", "name", (), 90
for turns in (300, 1):
    print("ready", flush=True)
    sys.stdin.readline()
    for turn in range(turns):
        _cache.machine_code.cache_clear()
        assert _cache.machine_code(*asked) == repr(asked).encode() * 10_000
        for file in _cache.folder().glob("*.cubin") if turns > 1 else []:
            file.unlink(missing_ok=True)
"""


def test_two_processes_at_once_leave_one_good_file(place: Path) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", HASTY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for _ in range(2):
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    (file,) = place.iterdir()
    assert file.suffix == ".cubin"
    assert _cache._read(file) == repr(("source", "name", (), 90)).encode() * 10_000
