"""The example of online learning: its gradients against backpropagation in plain JAX, and the program as it is run."""

import importlib.util
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import pytest

from spikax_kernels import spike
from spikax_transform import jacfwd, jacrev, jit

EXAMPLE = pathlib.Path(__file__).parents[2] / "docs" / "examples" / "eligibility.py"


@pytest.fixture(scope="module")
def eligibility() -> Any:
    """The module ``docs/examples/eligibility.py``."""
    mpl.use("agg")
    spec = importlib.util.spec_from_file_location("eligibility", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def backpropagation(net: Any, xs: jax.Array, targets: jax.Array) -> Any:
    """The same network and its gradient without States."""

    def total(w: Any) -> Any:
        def step(h: Any, given: Any) -> Any:
            x, target = given
            fired = spike(h[0] - 1)
            v = np.float32(np.exp(-1 / 20)) * h[0] - fired + x @ w["input"] + fired @ w["recurrent"]
            filtered = np.float32(np.exp(-1 / 30)) * h[1] + np.float32(10 * (1 - np.exp(-1 / 30))) * fired
            return (v, filtered), (filtered @ net.readout - target) ** 2 / 2

        return jax.lax.scan(step, (jnp.zeros(net.readout.shape),) * 2, (xs, targets))[1].sum()

    return jax.grad(total)(net.w.value)


def test_traces_and_both_modes_give_the_gradient_of_backpropagation(eligibility: Any) -> None:
    net = eligibility.Network(jax.random.key(0))
    xs, targets = (whole[:50] for whole in eligibility.task(jax.random.key(1)))
    wanted = backpropagation(net, xs, targets)
    assert all(jnp.abs(gradient).max() > 1 for gradient in wanted.values())
    found = [jit(lambda: eligibility.bptt(net, xs, targets))()]
    found += [jit(lambda mode=mode: eligibility.online(net, xs, targets, mode))() for mode in (jacrev, jacfwd)]
    for gradients in found:
        for name, gradient in wanted.items():
            np.testing.assert_allclose(gradients[name], gradient, rtol=1e-4, atol=1e-5 * float(jnp.abs(gradient).max()))


def test_the_weights_learn_while_the_network_runs(eligibility: Any) -> None:
    net = eligibility.Network(jax.random.key(0))
    errors = eligibility.learn(net, *eligibility.task(jax.random.key(1)), 8)
    assert errors[-1] < errors[0] / 3


def test_the_program_prints_and_draws(
    eligibility: Any, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert eligibility.main(["--epochs", "2", "--plot", str(tmp_path / "traces.png")]) == 0
    assert "relative difference" in capsys.readouterr().out
    assert (tmp_path / "traces.png").stat().st_size > 10_000
