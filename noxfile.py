"""The checks of this repository: `nox -l` names them, `nox -s NAME` runs one, a bare `nox` runs lint, types and tests.

Every session builds what it installs from this folder, into an environment of its own.
"""

import os
import shutil
import subprocess
from pathlib import Path

import nox

nox.needs_version = ">=2025.5.1"
nox.options.sessions = ["lint", "types", "tests"]
nox.options.default_venv_backend = "uv|virtualenv"  # uv where it is there: the same environments, sooner
nox.options.download_python = "never"  # a check uses the interpreters of this machine
nox.options.error_on_missing_interpreters = False
nox.options.stop_on_first_error = True

PROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(nox.project.load_toml("packages/core/pyproject.toml"))
PACKAGES = ["core", "kernels", "transform"]
SOURCES = [f"packages/{package}/src" for package in PACKAGES]
WORKFLOWS = sorted(Path(".github/workflows").glob("*.yml"))
DIST = Path("dist").absolute()
# Of the C++ code, part of which CUDA sources include, too.
HEADERS = ["-Ipackages/kernels/native", "-Ipackages/kernels/src/spikax_kernels/include"]
BENCHMARKS = ["products", "table", "coba", "core", "transform"]

# What the tests of a suite run beside: of this repository what its package declares, and what they need themselves.
CORE = "core[numba,plot,testing,warp]"
ALL = [CORE, "kernels[plot]", "transform[progress,units]"]
SUITES = {
    "core": ([CORE], "test"),
    "transform": (["transform[progress,units]"], "test-transform"),
    "kernels": (["core", "kernels[plot]"], "test-kernels"),
    "together": (ALL, "test-repo"),
}
# The oldest JAX that the packages accept, whose headers the kernels are built with, and one that is older still.
JAX = {"floor": ["jax==0.9.0", "jaxlib==0.9.0"], "newest": ["jax", "jaxlib"]}
JAX_TOO_OLD = ["jax==0.8.0", "jaxlib==0.8.0"]


def group(*names: str) -> list[str]:
    """The requirements of these dependency groups of pyproject.toml."""
    return [requirement for name in names for requirement in nox.project.dependency_groups(PROJECT, name)]


def install(session: nox.Session, packages: list[str], *requirements: str, env: dict[str, str] | None = None) -> None:
    """Install these packages of the workspace as a person would get them: built, not editable."""
    session.install(*[f"./packages/{package}" for package in packages], *requirements, env=env)


def pytest(session: nox.Session, suite: str, *args: str, env: dict[str, str] | None = None) -> None:
    """Run the tests of a suite, and the examples in the docstrings of the package that it belongs to."""
    paths = ["tests/together", "tests/repo"] if suite == "together" else [f"tests/{suite}", f"spikax_{suite}"]
    session.run("pytest", "--numprocesses=auto", "--pyargs", "--doctest-modules", *paths, *args, env=env)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, mistakes and layering: ruff and import-linter; the workflows' form and what they may do: zizmor."""
    session.install(*group("lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("lint-imports", env={"PYTHONPATH": os.pathsep.join(SOURCES)})
    session.run("check-jsonschema", "--builtin-schema=vendor.github-workflows", *map(str, WORKFLOWS))
    session.run("zizmor", "--offline", "--min-severity=medium", *map(str, WORKFLOWS))


@nox.session
def types(session: nox.Session) -> None:
    """Static types: mypy on sources and tests, pyright on what clients see, tests/typing with both."""
    install(session, ALL, *group("types", "test-repo"))
    session.run("mypy")
    session.run("pyright", "tests/typing")
    for package in PACKAGES:
        session.run("pyright", "--ignoreexternal", "--verifytypes", f"spikax_{package}")


@nox.session
@nox.parametrize("suite", [nox.param(suite, id=suite) for suite in SUITES])
def tests(session: nox.Session, suite: str) -> None:
    """The tests of each package beside only what it declares, then of all together; `-- ARGS` are for pytest."""
    packages, requirements = SUITES[suite]
    install(session, packages, *group(requirements))
    pytest(session, suite, *session.posargs)


@nox.session(python=PYTHONS)
@nox.parametrize("jax", [nox.param(jax, id=jax) for jax in JAX])
def jax(session: nox.Session, jax: str) -> None:
    """All tests on the oldest and the newest JAX, on every interpreter that is found."""
    install(session, ALL, *JAX[jax], *group("test-repo"))
    session.run("python", "-c", "import jax; print('JAX', jax.__version__)")
    for suite in SUITES:
        pytest(session, suite, *session.posargs)


@nox.session(default=False)
def build(session: nox.Session) -> None:
    """Build into dist/ each package's source archive, and from it the wheel. A compiler's warning is an error here."""
    shutil.rmtree(DIST, ignore_errors=True)
    session.install("build[uv]")
    for package in PACKAGES:
        session.run(
            "python", "-m", "build", "--installer=uv", f"--outdir={DIST}", f"packages/{package}",
            env={"CMAKE_ARGS": "-DCMAKE_COMPILE_WARNING_AS_ERROR=ON"},
        )  # fmt: skip


@nox.session(python=PYTHONS, requires=["build"])
@nox.parametrize("jax", [nox.param(jax, id=jax) for jax in JAX])
def wheels(session: nox.Session, jax: str) -> None:
    """The wheels in a clean environment: used with the oldest and the newest JAX, and refused by one too old."""
    wheels = sorted(map(str, DIST.glob("*.whl")))
    session.install(*wheels, *JAX[jax])
    session.run("python", "tests/wheels/smoke.py")
    session.run("python", "tests/wheels/import_time.py")
    if jax == "floor":
        session.install("--no-deps", *JAX_TOO_OLD)
        session.run("python", "tests/wheels/too_old.py")


@nox.session
def sanitize(session: nox.Session) -> None:
    """The kernels' tests with the C++ code under AddressSanitizer and UBSan; Linux with GCC."""
    flags = "-DSPIKAX_SANITIZE=ON -DCMAKE_COMPILE_WARNING_AS_ERROR=ON"
    packages, requirements = SUITES["kernels"]
    install(session, packages, *group(requirements), env={"CMAKE_ARGS": flags, "CXX": "g++"})
    # Python is not instrumented, so the runtime has to be there before it, and libstdc++ for ASan to intercept throw.
    runtimes = [
        subprocess.check_output(["g++", f"-print-file-name={name}"], text=True).strip()
        for name in ("libasan.so", "libstdc++.so.6")
    ]
    env = {
        "LD_PRELOAD": ":".join(runtimes),
        "ASAN_OPTIONS": "detect_leaks=0",  # Python frees little of what it allocates at exit
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    pytest(session, "kernels", *session.posargs, env=env)
    drive(session)


def drive(session: nox.Session) -> None:
    """Call the kernels' handlers from a program that ThreadSanitizer can watch, as it cannot watch Python."""
    headers = session.run("python", "-c", "import jax; print(jax.ffi.include_dir())", silent=True)
    sources = ["tests/kernels/native/driver.cc", *map(str, Path("packages/kernels/src").glob("**/cpu.cc"))]
    flags = ["-std=c++17", "-O1", "-g1", "-pthread", "-ffp-contract=off", "-fno-sanitize-recover=all"]
    driver = f"{session.create_tmp()}/driver"
    for sanitizers in ("address,undefined", "thread"):
        includes = [*HEADERS, "-isystem", str(headers).strip()]
        session.run("g++", *flags, f"-fsanitize={sanitizers}", *includes, *sources, "-o", driver, external=True)
        session.run(driver, external=True)


@nox.session
def cuda(session: nox.Session) -> None:
    """Compile the CUDA kernels for four architectures and check the machine code; on a GPU, test and time them, too."""
    gpu = shutil.which("nvidia-smi") is not None
    kernels = "kernels[cuda13,plot]" if gpu else "kernels[plot]"
    install(session, ["core", kernels], *group("test-kernels", "cuda"))
    session.run("python", "-m", "tests.cuda.machine_code")
    session.run("pytest", "tests/kernels/cuda")
    if not gpu:
        return
    memory = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}  # the tests' processes share it
    pytest(session, "kernels", env=memory)
    session.run("python", "-m", "tests.cuda.graphs")
    session.install("nvidia-cuda-sanitizer-api")
    (sanitizer,) = Path(session.virtualenv.location).glob("lib/python*/site-packages/nvidia/**/compute-sanitizer")
    session.run(
        str(sanitizer), "--error-exitcode=1", "python", "-m", "tests.cuda.hostile",
        env={"XLA_PYTHON_CLIENT_ALLOCATOR": "platform"}, external=True,
    )  # fmt: skip
    install(session, ["transform[progress]"], *group("bench-gpu"))
    session.run("python", "-m", "tests.benchmarks.gpu")


@nox.session
def bench(session: nox.Session) -> None:
    """Time products, the demo's network, core and transform beside others; `-- coba --help` says how one can vary.

    Tables and pictures go into build/benchmarks.
    """
    install(session, ALL, *group("bench"))
    where = Path("build/benchmarks")
    where.mkdir(parents=True, exist_ok=True)
    name, *args = session.posargs or [""]
    for benchmark in [name] if name else BENCHMARKS:
        session.run("python", "-m", f"tests.benchmarks.{benchmark}", *args)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation into docs/_build and run all that it shows; a warning is an error."""
    install(session, ALL, *group("docs", "test-repo"))
    session.run("sphinx-build", "--fail-on-warning", "--keep-going", "--nitpicky", "docs", "docs/_build/html")
    examples = [f"spikax_{package}" for package in PACKAGES]
    session.run("pytest", "--pyargs", "--doctest-modules", "tests/repo/test_pages.py", *examples)


@nox.session
def demo(session: nox.Session) -> None:
    """Simulate a published spiking network; `-- --help` lists what can be varied."""
    session.install("./packages/core", "./packages/kernels[plot]", "./packages/transform[progress]")
    session.run("python", "docs/examples/coba.py", *session.posargs)
