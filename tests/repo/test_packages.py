import re

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.repo.workspace import PACKAGES, ROOT, folder, pyproject, sources, version

# Fields that must not differ between the packages.
SHARED = ("requires-python", "license", "license-files", "readme", "authors", "dynamic")
SIBLINGS = {f"spikax-{package}": package for package in PACKAGES}


@pytest.fixture(params=PACKAGES)
def package(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def requirements(package: str) -> dict[str, Requirement]:
    return {parsed.name: parsed for parsed in map(Requirement, pyproject(package)["project"]["dependencies"])}


def floor(requirement: Requirement) -> Version:
    (lowest,) = (Version(part.version) for part in requirement.specifier if part.operator == ">=")
    return lowest


def test_packages_agree_on_what_they_share(package: str) -> None:
    ours, core = pyproject(package)["project"], pyproject("core")["project"]
    assert ours["name"] == f"spikax-{package}"
    assert {field: ours[field] for field in SHARED} == {field: core[field] for field in SHARED}
    assert "Typing :: Typed" in ours["classifiers"]


def test_a_package_is_typed_and_carries_its_licence(package: str) -> None:
    assert (folder(package) / f"src/spikax_{package}/py.typed").is_file()
    assert (folder(package) / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_the_changelog_begins_with_the_current_version(package: str) -> None:
    changelog = (folder(package) / "CHANGELOG.md").read_text()
    newest = re.search(r"^## (\S+) \((unreleased|\d{4}-\d\d-\d\d)\)$", changelog, re.MULTILINE)
    assert newest is not None
    assert newest[1] == version(package)


def test_siblings_are_asked_for_by_a_range_that_holds_their_current_version(package: str) -> None:
    for name, requirement in requirements(package).items():
        if name in SIBLINGS:
            assert requirement.specifier.contains(version(SIBLINGS[name]))
            assert {part.operator for part in requirement.specifier} == {">=", "<"}


def test_only_jax_numpy_and_siblings_are_needed_at_run_time(package: str) -> None:
    assert requirements(package).keys() <= {"jax", "numpy", "spikax-core"}
    assert package != "transform" or requirements(package).keys() == {"jax"}


def test_extras_are_those_that_error_messages_name(package: str) -> None:
    text = "".join(path.read_text() for path in sources(package))
    named = set(re.findall(rf"spikax-{package}\[(\w+)\]", text))
    assert named == pyproject(package)["project"].get("optional-dependencies", {}).keys()


def test_one_jax_is_the_oldest_everywhere() -> None:
    (built_with,) = (
        Version(str(parsed.specifier).removeprefix("=="))
        for parsed in map(Requirement, pyproject("kernels")["build-system"]["requires"])
        if parsed.name == "jaxlib"
    )
    assert {floor(requirements(package)["jax"]) for package in PACKAGES} == {Version("0.9")}
    assert built_with == Version("0.9")
    assert f'"floor": ["jax=={built_with}", "jaxlib=={built_with}"]' in (ROOT / "noxfile.py").read_text()
