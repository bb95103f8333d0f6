"""Uses the installed wheels as a newcomer would, beside nothing but what they declare: run by `nox -s wheels`."""

import importlib.metadata
import importlib.resources
import json
import subprocess
import sys

import jax
import jax.numpy as jnp

jax.config.update("jax_platforms", "none")  # to start a backend now is an error: importing the packages must not
import spikax_core
import spikax_kernels
import spikax_transform

jax.config.update("jax_platforms", "cpu")

for package in (spikax_core, spikax_kernels, spikax_transform):
    files = importlib.resources.files(package)
    assert files.joinpath("py.typed").is_file()
    assert package.__version__ == importlib.metadata.version(package.__name__)
wheel = importlib.metadata.distribution("spikax-kernels")
assert "Tag: py3-none-" in (wheel.read_text("WHEEL") or "")
endings = [path.suffix for path in wheel.files or ()]
assert ".cc" not in endings  # compiled
assert {".cu", ".cuh", ".h"} <= set(endings)  # to be compiled on a machine with a GPU

weights = spikax_kernels.CSR(jnp.array([0.5, 1.0, 2.0]), jnp.array([0, 1, 1]), jnp.array([0, 2, 2, 3]), shape=(3, 2))
assert (jnp.array([True, True, True]) @ weights).tolist() == [0.5, 3.0]
assert (jnp.array([False, True, False]) @ weights).tolist() == [0.0, 0.0]

doctor = subprocess.run([sys.executable, "-m", "spikax_core", "doctor", "--json"], check=True, capture_output=True)
report = json.loads(doctor.stdout)
assert report["ok"]

total = spikax_transform.State(jnp.zeros(()))


@spikax_transform.jit
def add(x: jax.Array) -> None:
    total.value = total.value + x


add(jnp.ones(()))
add(jnp.ones(()))
assert float(total.value) == 2.0
print(f"spikax {spikax_core.__version__} works with JAX {jax.__version__}")
