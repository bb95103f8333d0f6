"""The doctor answers whatever is broken, and says what."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from spikax_core import XLACustomKernel, _doctor
from spikax_core.__main__ import main
from spikax_core._doctor_probe import operators
from spikax_core._doctor_text import text
from spikax_core._ffi import running_api_version

SECTIONS = ["versions", "environment", "extras", "ffi", "packages", "operators", "jax"]

# A package that reports, registers operators and prints at import; the others are broken, each in another way.
MODULES = {
    "whole": """
        print("whole is imported")
        from spikax_core import XLACustomKernel
        tripled = XLACustomKernel("tripled", reference=lambda x: 3 * x)
        tripled.def_kernel("fast", "cpu", lambda *_: lambda x: 3 * x, exportable=True)
        tripled.def_kernel("fast", "tpu", lambda *_: lambda x: 3 * x)
        tripled.def_tags("elementwise", "example")
        def report(): return {"built_for": "0.3", "threads": 4}
    """,
    "raises": "raise ZeroDivisionError('no kernels today')",
    "exits": "import sys; sys.exit('gone')",
    "number": "def report(): return 3",
    "strange": "def report(): return {'set': {1}}",
    "nothing": "",
}


def site(folder: Path, modules: dict[str, str]) -> Path:
    """A folder with modules, each of an installed distribution with an entry point."""
    for name, code in modules.items():
        lines = code.splitlines()
        margin = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
        (folder / f"{name}.py").write_text("\n".join(line[margin:] for line in lines))
        info = folder / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[spikax_core.doctor]\n{name} = {name}:report\n")
    return folder


def python(*arguments: str, before: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Python in a process of its own, with a folder before all others from which it imports."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "XLA_"))}
    path = [str(before)] if before else []
    path += [part for part in [variables.get("PYTHONPATH")] if part]
    return subprocess.run(
        [sys.executable, *arguments],
        env={**variables, "JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(path), **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def doctor(*arguments: str, before: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    done = python("-m", "spikax_core", "doctor", *arguments, before=before, **environment)
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, dict[str, Any]]:
    """The exit status and the report beside packages most of which are broken."""
    done = doctor("--json", before=site(tmp_path_factory.mktemp("site"), MODULES), JAX_EXAMPLE="caf\u00e9")
    return done.returncode, json.loads(done.stdout)


# What it says.


def test_all_is_well_where_nothing_is_broken(tmp_path: Path) -> None:
    done = doctor(before=site(tmp_path, {"whole": MODULES["whole"]}))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("\nall is well\n")
    assert [line for line in done.stdout.splitlines() if line and not line.startswith(" ")][:-1] == SECTIONS


def test_it_says_what_runs(others: tuple[int, dict[str, Any]]) -> None:
    _, report = others
    assert list(report) == ["ok", *SECTIONS]
    assert report["versions"]["jax"] == jax.__version__
    assert report["versions"]["numpy"] == np.__version__
    assert report["ffi"] == {"jaxlib": "{}.{}".format(*running_api_version())}
    assert report["jax"]["default_backend"] == "cpu"
    assert report["jax"]["devices"][0] == {"id": 0, "platform": "cpu", "kind": "cpu"}
    assert report["environment"]["JAX_EXAMPLE"] == "caf\u00e9"


def test_a_package_reports_itself_and_its_operators(others: tuple[int, dict[str, Any]]) -> None:
    _, report = others
    assert report["packages"]["whole"] == {"built_for": "0.3", "threads": 4}
    (tripled,) = (operator for operator in report["operators"] if operator["name"] == "tripled")
    assert tripled["tags"] == ["elementwise", "example"]
    assert [(k["backend"], k["platform"], k["exportable"], k["reason"]) for k in tripled["kernels"]] == [
        ("fast", "cpu", True, None),
        ("fast", "tpu", False, "there is no tpu device"),
        ("reference", "any", True, None),
    ]


@pytest.mark.parametrize(
    ("package", "message"),
    [
        ("raises", "ZeroDivisionError: no kernels today"),
        ("exits", "SystemExit: gone"),
        ("number", "TypeError: entry point number:report: got int; expected a mapping"),
        ("strange", "TypeError: Object of type set is not JSON serializable"),
        ("nothing", "AttributeError: module 'nothing' has no attribute 'report'"),
    ],
)
def test_a_broken_package_is_an_error_of_its_own(
    others: tuple[int, dict[str, Any]], package: str, message: str
) -> None:
    status, report = others
    assert report["packages"][package]["error"].startswith(message)
    assert (status, report["ok"]) == (1, False)


def test_a_kernel_whose_extra_is_missing_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    operator = XLACustomKernel("needs numba", reference=lambda x: x)
    operator.def_kernel("numba", "cpu", lambda *_: lambda x: x, requires="numba")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    (found,) = (one for one in operators() if one["name"] == "needs numba")
    assert 'pip install "spikax-core[numba]"' in found["kernels"][0]["reason"]


def test_an_extra_of_which_something_is_missing_has_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "spikax_core-9.0.dist-info"
    info.mkdir()
    requirements = [
        "jax>=0.9",
        "numpy; extra == 'there'",
        'numpy>=1; extra == "half"',
        'no-such.package[x]>=1; python_version > "3" and extra == "half"',
    ]
    metadata = ["Metadata-Version: 2.1", "Name: spikax-core", "Version: 9.0"]
    (info / "METADATA").write_text("\n".join([*metadata, *(f"Requires-Dist: {line}" for line in requirements), ""]))
    monkeypatch.syspath_prepend(tmp_path)
    extras = {name: command for name, command in _doctor._extras().items() if name.startswith("spikax-core")}
    assert extras == {"spikax-core[there]": None, "spikax-core[half]": 'pip install "spikax-core[half]"'}


def test_the_text_is_aligned_and_plain_ascii() -> None:
    kernels = [
        {"backend": "cpp", "platform": "cpu", "exportable": True, "reason": None},
        {"backend": "numba", "platform": "cpu", "exportable": False, "reason": "not installed"},
    ]
    report: dict[str, Any] = {
        "ok": False,
        "versions": {"python": "3.13", "numba": None},
        "environment": {"JAX_NAME": "caf\u00e9"},
        "extras": {"a[b]": None, "c[d]": 'pip install "c[d]"'},
        "packages": {"whole": {"built_for": "0.3", "threads": 4}, "half": {"error": "TypeError: no\nreally"}},
        "operators": [{"name": "scatter", "tags": ["sparse", "event"], "kernels": kernels}],
        "jax": {"default_backend": "cpu", "devices": [{"id": i, "platform": "cpu", "kind": "x86"} for i in (0, 1)]},
        "ffi": {"error": "ImportError: no jaxlib"},
    }
    assert text(report) == (
        "versions\n  python  3.13\n  numba   not installed\n\n"
        "environment\n  JAX_NAME  caf\\xe9\n\n"
        'extras\n  a[b]  installed\n  c[d]  pip install "c[d]"\n\n'
        "packages\n"
        "  whole  built for: 0.3\n         threads: 4\n"
        "  half   error: TypeError: no\n         really\n\n"
        "operators\n"
        "  scatter  cpp on cpu, exportable\n           numba on cpu: not installed\n           tags: sparse, event\n\n"
        "jax\n  default backend  cpu\n  devices          cpu:0 (x86)\n                   cpu:1 (x86)\n\n"
        "ffi\n  error:  ImportError: no jaxlib\n\n"
        "errors: packages, ffi"
    )


# What is broken.


@pytest.mark.parametrize("error", ["ImportError('no jaxlib')", "RuntimeError('no jaxlib')"])
def test_a_jax_that_cannot_be_imported_is_an_error_of_what_needs_it(tmp_path: Path, error: str) -> None:
    (tmp_path / "jax").mkdir()
    (tmp_path / "jax/__init__.py").write_text(f"raise {error}")
    done = doctor("--json", before=site(tmp_path, {"whole": MODULES["whole"]}))
    report = json.loads(done.stdout)
    assert done.returncode == 1
    assert report["versions"]["jax"] == jax.__version__
    for said in (report["ffi"], report["packages"]["whole"], report["operators"], report["jax"]):
        assert "Error: no jaxlib" in said["error"]
    imported = python("-c", "import spikax_core", before=tmp_path)
    assert (imported.returncode, imported.stderr.splitlines()[-1]) == (1, error.replace("('", ": ").strip("')"))


ENDS = {
    "exits": ("raise SystemExit('no jax here')", "SystemExit: no jax here"),
    "is killed": ("import os; os.abort()", "SIGABRT"),  # as where jaxlib has instructions that the processor lacks
}


@pytest.mark.parametrize("name", ENDS)
@pytest.mark.parametrize("module", [["-m", "spikax_core"], ["-mspikax_core"]], ids=len)
def test_a_jax_that_ends_the_process_that_imports_it_does_not_end_the_doctor(
    tmp_path: Path, name: str, module: list[str]
) -> None:
    code, said = ENDS[name]
    (tmp_path / "jax.py").write_text(code)
    done = python(*module, "doctor", "--json", before=site(tmp_path, {"whole": MODULES["whole"]}))
    report = json.loads(done.stdout)
    assert done.returncode == 1
    assert report["versions"]["jax"] == jax.__version__
    packages = report["packages"].get("whole", report["packages"])
    for section in (report["ffi"], packages, report["operators"], report["jax"]):
        assert said in section["error"]


def test_a_program_that_is_not_the_doctor_is_told_that_jax_is_broken(tmp_path: Path) -> None:
    (tmp_path / "jax.py").write_text("raise ImportError('no jaxlib')")
    (tmp_path / "program.py").write_text("import spikax_core; print('imported')")
    done = python("-m", "program", before=tmp_path)
    assert (done.stdout, done.stderr.splitlines()[-1]) == ("", "ImportError: no jaxlib")


def test_a_core_that_does_not_fit_its_jax_leaves_the_devices_known(tmp_path: Path) -> None:
    # It prints, too, as what starts with Python may.
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['spikax_core._jvp'] = None; print('[]')")
    done = doctor("--json", before=tmp_path)
    report = json.loads(done.stdout.removeprefix("[]\n"))
    assert done.returncode == 1
    assert "spikax_core._jvp" in report["operators"]["error"]
    assert report["jax"]["default_backend"] == "cpu"


def test_a_backend_that_cannot_start_is_an_error_of_the_devices_alone() -> None:
    report = json.loads(doctor("--json", JAX_PLATFORMS="nowhere").stdout)
    assert "nowhere" in report["jax"]["error"]
    assert [name for name in SECTIONS if "error" in report[name]] == ["jax"]


def test_a_flag_for_which_xla_ends_the_process_is_named() -> None:
    done = doctor(XLA_FLAGS="--xla_no_such_flag=1")
    assert done.returncode == 1
    assert "Unknown flag in XLA_FLAGS: --xla_no_such_flag=1" in done.stdout
    assert done.stdout.endswith("\nerrors: jax\n")


def test_a_package_that_ends_the_process_leaves_the_sections_behind_it(tmp_path: Path) -> None:
    done = doctor("--json", before=site(tmp_path, {"dies": "import os; os.abort()"}))
    report = json.loads(done.stdout)
    assert done.returncode == 1
    assert "SIGABRT" in report["packages"]["error"]
    assert [name for name in SECTIONS if "error" in report[name]] == ["packages"]


def test_a_section_that_takes_too_long_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def run(command: list[str], **_: Any) -> Any:
        sections = command[3:]
        asked.append(sections)
        answers = b"".join(json.dumps({name: {}}).encode() + b"\n" for name in sections if name != "packages")
        if "packages" not in sections:
            return subprocess.CompletedProcess(command, 0, answers, b"")
        raise subprocess.TimeoutExpired(command, 120, answers.splitlines(keepends=True)[0])

    monkeypatch.setattr(subprocess, "run", run)
    answers = _doctor._ask(["ffi", "packages", "operators"])
    assert answers == {"ffi": {}, "packages": {"error": "no answer within 120 seconds"}, "operators": {}}
    assert asked == [["ffi", "packages", "operators"], ["operators"]]


@pytest.mark.parametrize("executable", ["/no/such/python", "", None])
def test_no_other_process_is_an_error_of_each_section(monkeypatch: pytest.MonkeyPatch, executable: str | None) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    report = _doctor.examine()
    assert [name for name in SECTIONS if "error" in report[name]] == ["ffi", "packages", "operators", "jax"]
    assert report["versions"]["jax"] == jax.__version__


@pytest.mark.parametrize("output", ["reader, writer = os.pipe(); os.close(reader); os.dup2(writer, 1)", "os.close(1)"])
def test_nobody_who_reads_is_no_error(output: str) -> None:
    code = (
        f"import os, subprocess, sys; {output}\n"
        "done = subprocess.run([sys.executable, '-m', 'spikax_core', 'doctor'], stderr=subprocess.PIPE)\n"
        "print(done.returncode, done.stderr, file=sys.stderr)\n"
    )
    assert python("-c", code).stderr == "0 b''\n"


# How it is called.


@pytest.mark.parametrize("arguments", [[], ["nurse"], ["doctor", "--fast"]])
def test_a_wrong_command_shows_the_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("usage: python -m spikax_core")


def test_the_help_says_what_the_exit_status_means(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["doctor", "--help"])
    assert caught.value.code == 0
    assert "exit status is 0 if all is well" in capsys.readouterr().out
