"""``jax.export``: what is exported runs in another process that has imported the package."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikax_core import use_backend
from spikax_kernels import CSR
from tests.kernels._oracle import OPERATORS, assert_close, matrix, small, spikes

ELSEWHERE = """
import sys, pathlib
import jax, numpy as np
import spikax_kernels
exported = jax.export.deserialize(bytearray(pathlib.Path(sys.argv[1]).read_bytes()))
arguments = np.load(sys.argv[2])
np.savez(sys.argv[3], *exported.call(*(arguments[name] for name in arguments.files)))
"""


def loss(data: Any, indices: Any, indptr: Any, x: Any) -> jax.Array:
    A = CSR(data, indices, indptr, shape=(6, 5))
    return jnp.sum((A @ (x @ A)) ** 2)


@pytest.mark.parametrize("backend", ["cpp", "reference"])
def test_a_gradient_runs_in_another_process(tmp_path: Path, backend: str) -> None:
    pytest.importorskip("flatbuffers", reason="JAX writes what it exports with flatbuffers")
    arguments = (*small(), spikes(6))
    checks = [jax.export.DisabledSafetyCheck.custom_call(operator.target) for operator in OPERATORS]
    with use_backend(backend):
        function = jax.jit(jax.value_and_grad(loss))
        exported = jax.export.export(function, disabled_checks=checks)(*arguments)
    assert ("spikax_scatter_cpu" in exported.mlir_module()) == (backend == "cpp")
    (tmp_path / "exported").write_bytes(exported.serialize())
    np.savez(tmp_path / "arguments.npz", *arguments)
    paths = [str(tmp_path / name) for name in ("exported", "arguments.npz", "results.npz")]
    subprocess.run([sys.executable, "-c", ELSEWHERE, *paths], check=True, timeout=120)

    results = np.load(paths[2])
    dense = matrix(*arguments[:3], 5).toarray()
    assert_close(results["arr_0"], np.sum((dense @ (arguments[3] @ dense)) ** 2))
    assert_close(results["arr_1"], jax.grad(loss)(*arguments))
