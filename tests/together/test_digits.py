"""The example that reads digits: it learns, and its States are those that its class names."""

import importlib.util
import pathlib
import re
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import pytest

EXAMPLE = pathlib.Path(__file__).parents[2] / "docs" / "examples" / "digits.py"


@pytest.fixture(scope="module")
def digits() -> Any:
    """The module ``docs/examples/digits.py``."""
    mpl.use("agg")
    spec = importlib.util.spec_from_file_location("digits", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_network_is_its_equations(digits: Any, key: jax.Array) -> None:
    net = digits.Network(key)
    images = np.asarray(jax.random.uniform(key, (3, digits.PIXELS)))
    outputs, spikes = net.show(jnp.asarray(images))
    w = {name: np.asarray(value, float) for name, value in net.w.value.items()}
    v, fired, out = np.zeros((3, digits.NEURONS)), np.zeros((3, digits.NEURONS)), np.zeros((3, 10))
    for step in range(digits.STEPS):
        v = np.exp(-1 / 10) * v * (1 - fired) + images @ w["pixels"] + fired @ w["recurrent"]
        fired = (v >= 1).astype(float)
        out = np.exp(-1 / 20) * out + (1 - np.exp(-1 / 20)) * fired @ w["outputs"]
        np.testing.assert_array_equal(spikes[step], fired)
        np.testing.assert_allclose(outputs[step], out, rtol=1e-4, atol=1e-5)
    assert 0 < spikes.mean() < 0.5


def test_it_reads_nine_of_ten_unseen_digits(digits: Any, tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with jax.numpy_dtype_promotion("standard"):  # which optax relies on
        assert digits.main(["--epochs", "4", "--plot", str(tmp_path / "digits.png")]) == 0
    printed = capsys.readouterr().out
    read = re.search(r"accuracy +([\d.]+)% of 450 unseen digits", printed)
    assert read is not None
    assert float(read[1]) >= 90
    assert (tmp_path / "digits.png").stat().st_size > 20_000
