import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from spikax_kernels import CSR, Dense, FixedNumPerPost, FixedNumPerPre, ShapeError, plot

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("agg")

import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402

SPIKES = np.array([[1, 0, 0], [0, 0, 0], [0, 1, 1], [0, 0, 1]], bool)


@pytest.fixture
def ax() -> Iterator[Axes]:
    figure, axes = plt.subplots()
    yield axes
    plt.close(figure)


def test_raster_has_a_dot_for_each_spike(ax: Axes) -> None:
    assert plot.raster(SPIKES, dt=0.5, ax=ax, color="red") is ax
    (line,) = ax.lines
    np.testing.assert_array_equal(line.get_xdata(), [0, 1, 1, 1.5])
    np.testing.assert_array_equal(line.get_ydata(), [0, 1, 2, 2])
    assert (line.get_color(), line.get_linestyle()) == ("red", "None")
    assert ax.get_xlim() == (0, 2)
    with pytest.raises(ShapeError, match=r"\(3,\); expected \[steps, neurons\]"):
        plot.raster(SPIKES[0], dt=0.5, ax=ax)


@pytest.mark.parametrize("counts", [SPIKES.sum(1), SPIKES, 2.5 * SPIKES], ids=["counts", "spikes", "valued"])
def test_population_rate_is_the_mean_of_each_bin(
    ax: Axes, counts: np.ndarray[tuple[int, ...], np.dtype[np.float64]]
) -> None:
    assert plot.population_rate(counts, dt=0.5, neurons=3, bin=1.0, ax=ax) is ax
    values, edges, _ = ax.patches[0].get_data()  # type: ignore[attr-defined]
    np.testing.assert_allclose(values, [1e3 / 3, 3e3 / 3])  # 1 and 3 spikes of 3 neurons in 1 ms each
    np.testing.assert_array_equal(edges, [0, 1, 2])
    with pytest.raises(ShapeError, match="counts: got shape"):
        plot.population_rate(np.zeros((2, 2, 2)), dt=0.5, neurons=3, ax=ax)


def test_what_is_left_of_the_last_bin_is_not_shown(ax: Axes) -> None:
    plot.population_rate(np.array([1, 1, 1, 1, 9]), dt=0.5, neurons=1, bin=1.0, ax=ax)
    np.testing.assert_array_equal(ax.patches[0].get_data().values, [2000, 2000])  # type: ignore[attr-defined]


DENSE = np.array([[0, 1, 0, 0], [0, 0, 0, 0], [2, 0, 3, 0]], np.float32)
COMPRESSED = scipy.sparse.csr_array(DENSE)


@pytest.mark.parametrize(
    "matrix",
    [
        CSR.from_dense(DENSE),
        CSR.from_dense(DENSE).tocsc(),
        CSR.from_dense(DENSE).tocoo(),
        FixedNumPerPre(1.0, np.array([[1, 4], [4, 4], [2, 0]]), shape=DENSE.shape, check=False),
        FixedNumPerPost(1.0, np.array([[2], [0], [2], [3]]), shape=DENSE.shape, check=False),
        Dense(DENSE),
        scipy.sparse.csr_array(DENSE),
        scipy.sparse.csc_array(DENSE),
        scipy.sparse.coo_array(DENSE),
        SimpleNamespace(indices=COMPRESSED.indices, indptr=COMPRESSED.indptr, shape=DENSE.shape),
        DENSE,
    ],
    ids=[
        *("CSR", "CSC", "COO", "FixedNumPerPre", "FixedNumPerPost", "Dense"),
        *("SciPy's csr", "SciPy's csc", "SciPy's coo", "bare arrays", "array"),
    ],
)
def test_spy_has_a_dot_for_each_entry_of_any_format(ax: Axes, matrix: Any) -> None:
    assert plot.spy(matrix, ax=ax) is ax
    (line,) = ax.lines
    assert sorted(map(tuple, np.asarray(line.get_xydata()).tolist())) == [(0, 2), (1, 0), (2, 2)]
    assert (ax.get_xlim(), ax.get_ylim()) == ((-0.5, 3.5), (2.5, -0.5))


def test_spy_shows_no_padding(ax: Axes) -> None:
    A = CSR(np.float32(1), np.array([1, 4, -1, 9], np.int32), np.array([0, 3, 3], np.int32), shape=(2, 4), check=False)
    plot.spy(A, ax=ax)
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), [[1, 0]])


def test_spy_of_something_else_than_a_matrix_is_an_error(ax: Axes) -> None:
    with pytest.raises(ShapeError, match=r"matrix: got shape \(3,\); expected \(n_pre, n_post\)"):
        plot.spy(np.ones(3), ax=ax)


def test_axes_are_made_where_none_are_given() -> None:
    axes = plot.raster(SPIKES, dt=0.5)
    assert axes.figure is not None
    plt.close("all")


def test_without_matplotlib_the_message_names_the_extra() -> None:
    program = """
import sys
sys.modules["matplotlib"] = None
from spikax_kernels import plot
try:
    plot.raster([[1]], dt=1)
except ImportError as error:
    print(type(error).__name__, error)
"""
    output = subprocess.check_output([sys.executable, "-c", program], text=True)
    assert output == 'MissingExtraError plots need matplotlib: pip install "spikax-kernels[plot]"\n'
