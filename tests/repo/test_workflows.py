import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.repo.workspace import PACKAGES, ROOT, pyproject

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
SESSIONS = set(re.findall(r"^@nox\.session.*?^def (\w+)", (ROOT / "noxfile.py").read_text(), re.MULTILINE | re.DOTALL))


@pytest.fixture(params=WORKFLOWS, ids=lambda path: path.stem)
def workflow(request: pytest.FixtureRequest) -> Path:
    path = request.param
    assert isinstance(path, Path)
    return path


def parsed(name: str) -> dict[Any, Any]:
    content = yaml.safe_load((ROOT / ".github/workflows" / f"{name}.yml").read_text())
    assert isinstance(content, dict)
    return content


def test_there_is_one_for_each_purpose() -> None:
    assert {path.stem for path in WORKFLOWS} == {"tests", "wheels", "docs", "release"}


def test_actions_of_others_are_pinned_by_hash_beside_their_version(workflow: Path) -> None:
    used = re.findall(r"uses: (?!\./)(.*)", workflow.read_text())
    assert [line for line in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)] == []


def test_an_action_has_one_version_everywhere() -> None:
    used = {line for path in WORKFLOWS for line in re.findall(r"uses: ([\w/-]+@.*)", path.read_text())}
    assert len({line.split("@")[0] for line in used}) == len(used)


def test_a_workflow_may_only_read_but_for_the_job_that_publishes(workflow: Path) -> None:
    content = parsed(workflow.stem)
    assert content["permissions"] == {"contents": "read"}
    assert {name for name, job in content["jobs"].items() if "permissions" in job} <= {"publish"}


def test_every_job_does_something_somewhere(workflow: Path) -> None:
    content = parsed(workflow.stem)
    for job in content["jobs"].values():
        assert "uses" in job or {"runs-on", "steps"} <= job.keys()
        assert (
            set(job.get("needs", []))
            if isinstance(job.get("needs"), list)
            else {job.get("needs", "")} <= {"", *content["jobs"]}
        )


def test_sessions_that_are_asked_for_exist() -> None:
    files = [*WORKFLOWS, ROOT / ".ci/run", ROOT / "CONTRIBUTING.md", ROOT / "README.md"]
    commands = re.findall(r"nox (?:-R )?-s ([^\n`#;)(-]+)", "\n".join(path.read_text() for path in files))
    assert {name for command in commands for name in re.findall(r"[a-z]+", command)} <= SESSIONS


def test_every_supported_python_is_tested() -> None:
    matrix = parsed("tests")["jobs"]["together"]["strategy"]["matrix"]
    for package in PACKAGES:
        classifiers = pyproject(package)["project"]["classifiers"]
        assert [line.split()[-1] for line in classifiers if "Python :: 3." in line] == matrix["python"]


def test_a_tag_releases_each_package_from_its_own_environment() -> None:
    release = parsed("release")
    assert release[True]["push"]["tags"] == [f"{package}-v*" for package in PACKAGES]  # YAML reads `on` as true
    assert release["jobs"]["publish"]["environment"]["name"].startswith("spikax-")
    assert release["jobs"]["publish"]["permissions"] == {"id-token": "write"}


def test_ci_ends_with_the_test_command_of_the_readme() -> None:
    readme, script = (ROOT / "README.md").read_text(), (ROOT / ".ci/run").read_text()
    (command,) = re.findall(r"^## Test it\n+```\w*\n(.*?)\n```", readme, re.MULTILINE | re.DOTALL)
    assert command in script[script.index("nox -s lint") :]


def test_the_workspace_has_no_distribution_of_its_own() -> None:
    assert "project" not in tomllib.loads((ROOT / "pyproject.toml").read_text())
