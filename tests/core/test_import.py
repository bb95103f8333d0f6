"""Importing the package is cheap: it starts no backend."""

import subprocess
import sys

PROGRAM = """
import jax

jax.config.update("jax_platforms", "none")  # to start a backend now is an error
import spikax_core

try:
    jax.devices()
except RuntimeError:
    print("no backend")
"""


def test_importing_starts_no_backend() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout == "no backend\n"
