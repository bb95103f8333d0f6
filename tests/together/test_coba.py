"""The demo: its network against the same equations in NumPy, and the program as a person runs it."""

import importlib.util
import pathlib
import re
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest

from spikax_transform import for_loop, jit

EXAMPLE = pathlib.Path(__file__).parents[2] / "docs" / "examples" / "coba.py"


@pytest.fixture(scope="module")
def coba() -> Any:
    """The module ``docs/examples/coba.py``."""
    mpl.use("agg")
    spec = importlib.util.spec_from_file_location("coba", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def published_equations(net: Any, steps: int) -> np.ndarray:
    """Who fires in each step: double precision, and the exact solution for the conductances of a step."""
    indptr, targets = np.asarray(net.synapses.indptr), np.asarray(net.synapses.indices)
    v, ready = np.array(net.v.value, float), np.zeros(net.n, int)
    g = np.zeros((2, net.n))
    fired = []
    for step in range(steps):
        spikes = v >= -50
        v[spikes], ready[spikes] = -60, step + 50  # 5 ms
        arrived = np.zeros(2 * net.n)
        for pre in np.flatnonzero(spikes):
            np.add.at(arrived, targets[indptr[pre] : indptr[pre + 1]], 0.6 if pre < net.n_exc else 6.7)
        g = g * np.exp([[-0.1 / 5], [-0.1 / 10]]) + arrived.reshape(2, -1)
        total = 1 + g.sum(0)
        settled = (-60 + 20 - 80 * g[1]) / total
        free = ready <= step
        v[free] = (settled + (v - settled) * np.exp(-0.1 / 20 * total))[free]
        fired.append(spikes)
    return np.array(fired)


def test_the_network_fires_as_its_equations_say(coba: Any) -> None:
    net = coba.Network(scale=1, seed=3)
    expected = published_equations(net, steps=300)
    fired = np.asarray(jit(lambda: for_loop(net.update, length=300))())
    # Single neurons part ways in the end, as the network is chaotic; its first spikes and its rate do not.
    np.testing.assert_array_equal(fired[:20], expected[:20])
    assert fired.sum() == pytest.approx(expected.sum(), rel=0.03)
    np.testing.assert_array_equal(net.spike_counts.value, fired.sum(0))


def test_each_pair_is_connected_with_the_same_probability_to_the_receptor_of_its_kind(coba: Any) -> None:
    net = coba.Network(scale=1, seed=0)
    pre = np.repeat(np.arange(net.n), np.diff(net.synapses.indptr))
    receptor, post = np.divmod(np.asarray(net.synapses.indices), net.n)
    np.testing.assert_array_equal(receptor, pre >= net.n_exc)
    # The number of connections is binomial: 320,000 with a standard deviation of 560.
    assert net.synapses.nse == pytest.approx(320_000, abs=5 * 560)
    assert np.bincount(post, minlength=net.n).std() == pytest.approx(80**0.5, rel=0.1)
    assert len(np.unique(pre * net.n + post)) == net.synapses.nse


def test_the_demo_reports_and_draws(coba: Any, capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path) -> None:
    picture = tmp_path / "coba.png"
    assert coba.main(["--seconds", "0.1", "--plot", str(picture)]) == 0
    report = dict(re.findall(r"^ *([a-z -]+?)  +([\d,.]+)", capsys.readouterr().out, re.MULTILINE))
    assert report["neurons"] == "4,000"
    spikes, events = (int(report[name].replace(",", "")) for name in ("spikes", "synaptic events"))
    assert 0.1 * 4000 * 15 < spikes < 0.1 * 4000 * 35
    assert events == pytest.approx(80 * spikes, rel=0.05)
    assert float(report["mean rate"]) == pytest.approx(spikes / 4000 / 0.1, abs=0.06)
    assert picture.stat().st_size > 10_000


def test_the_demo_fails_where_the_rate_is_not_the_published_one(
    coba: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(coba.Network, "threshold", 0.0)
    assert coba.main(["--plot", str(tmp_path / "coba.png")]) == 1
    assert "is not between 18 and 24 Hz" in capsys.readouterr().err
