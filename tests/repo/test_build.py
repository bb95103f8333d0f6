import os
import subprocess
import sys
from pathlib import Path

from tests.repo.workspace import folder


def test_without_a_compiler_one_sentence_says_what_to_install(tmp_path: Path) -> None:
    build = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)],
        cwd=folder("kernels"),
        env=os.environ | {"CXX": str(tmp_path / "no-compiler")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert build.returncode != 0
    (sentence,) = build.stderr.splitlines()
    assert sentence.startswith("spikax-kernels needs a C++17 compiler")
    assert "apt install g++" in sentence
