"""What importing each package adds to importing JAX, best of five, against its budget: run by `nox -s wheels`."""

import subprocess
import sys

MILLISECONDS = {"spikax_core": 60, "spikax_kernels": 150, "spikax_transform": 60}
# Frozen, what JAX has made is not searched for garbage. Python does that after so many allocations, whoever's they are,
# and it takes 35 ms of the import that happens to reach that number.
MEASURE = (
    "import gc, jax, time; gc.freeze(); start = time.perf_counter(); "
    "import {}; print(1e3 * (time.perf_counter() - start))"
)


def added(package: str) -> float:
    """Milliseconds for one import in a process of its own."""
    return float(subprocess.check_output([sys.executable, "-c", MEASURE.format(package)]))


for package, budget in MILLISECONDS.items():
    spent = min(added(package) for _ in range(5))
    print(f"import {package}: {spent:.0f} ms of {budget} ms beyond JAX")
    assert spent <= budget
