"""Plots of spikes and matrices (extra ``plot``): each draws into axes that it is given or makes, and returns them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ._errors import MissingExtraError, ShapeError
from .formats.dense import Dense

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

_DOTS: dict[str, Any] = {"linestyle": "none", "marker": ".", "markersize": 1.5, "color": "black"}


def _axes(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise MissingExtraError('plots need matplotlib: pip install "spikax-kernels[plot]"') from error
    return plt.subplots(layout="constrained")[1]


def _steps_by_neurons(spikes: ArrayLike) -> np.ndarray[Any, Any]:
    array = np.asarray(spikes)
    if array.ndim != 2:
        raise ShapeError(f"spikes: got shape {array.shape}; expected [steps, neurons]")
    return array.astype(bool)


def raster(spikes: ArrayLike, dt: float, *, ax: Axes | None = None, **marker: Any) -> Axes:
    """A dot for each spike, time against neuron.

    Args:
        spikes: ``[steps, neurons]``, active where a neuron fired.
        dt: The length of a step in ms.
        ax: The axes to draw into; new ones if left out.
        **marker: Passed to ``Axes.plot``, such as ``color`` and ``markersize``.

    Returns:
        The axes.

    Raises:
        ShapeError: ``spikes`` is not of rank 2.
        MissingExtraError: matplotlib is not installed.

    Example:
        >>> import numpy as np
        >>> from spikax_kernels import plot
        >>> ax = plot.raster(np.eye(3, dtype=bool), dt=0.1)
        >>> ax.get_xlabel(), ax.get_ylabel()
        ('Time (ms)', 'Neuron')
    """
    active = _steps_by_neurons(spikes)
    step, neuron = np.nonzero(active)
    ax = _axes(ax)
    ax.plot(step * dt, neuron, **(_DOTS | marker))
    ax.set(xlabel="Time (ms)", ylabel="Neuron", xlim=(0, active.shape[0] * dt), ylim=(-0.5, active.shape[1] - 0.5))
    return ax


def population_rate(
    counts: ArrayLike,
    dt: float,
    *,
    neurons: int,
    bin: float = 1.0,  # noqa: A002  (the word for it)
    ax: Axes | None = None,
    **line: Any,
) -> Axes:
    """The mean rate of a population over time, in bins.

    Args:
        counts: ``[steps]``, the number of spikes in each step, or ``[steps, neurons]`` spikes.
        dt: The length of a step in ms.
        neurons: The number of neurons that were counted.
        bin: The length of a bin in ms; what is left at the end is not shown.
        ax: The axes to draw into; new ones if left out.
        **line: Passed to ``Axes.stairs``, such as ``color`` and ``label``.

    Returns:
        The axes.

    Raises:
        ShapeError: ``counts`` is not of rank 1 or 2.
        MissingExtraError: matplotlib is not installed.

    Example:
        >>> import numpy as np
        >>> from spikax_kernels import plot
        >>> ax = plot.population_rate(np.array([0, 4, 2, 2]), dt=0.5, neurons=100)
        >>> ax.patches[0].get_data().values  # 4 spikes of 100 neurons in each bin of 1 ms
        array([40., 40.])
    """
    array = np.asarray(counts)
    if array.ndim == 2:
        array = _steps_by_neurons(array).sum(1)
    if array.ndim != 1:
        raise ShapeError(f"counts: got shape {array.shape}; expected [steps] or [steps, neurons]")
    steps = max(round(bin / dt), 1)
    bins = array.shape[0] // steps
    rate = array[: bins * steps].reshape(bins, steps).sum(1) / (neurons * steps * dt * 1e-3)
    ax = _axes(ax)
    ax.stairs(rate, np.arange(bins + 1) * steps * dt, **{"color": "black", "baseline": None} | line)
    ax.set(xlabel="Time (ms)", ylabel="Rate (Hz)", xlim=(0, bins * steps * dt), ylim=(0, None))
    return ax


def _coordinates(matrix: Any) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The row and the column of each stored entry that is in range."""
    if isinstance(matrix, Dense):
        matrix = matrix.data  # it stores its zeros, too
    if hasattr(matrix, "tocoo"):
        coo = matrix.tocoo()
        row, column = np.asarray(coo.row), np.asarray(coo.col)
    elif hasattr(matrix, "indptr"):
        indptr = np.asarray(matrix.indptr)
        row = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
        column = np.asarray(matrix.indices)[: len(row)]
    else:
        row, column = np.nonzero(np.asarray(matrix))
    inside = (row >= 0) & (row < matrix.shape[0]) & (column >= 0) & (column < matrix.shape[1])
    return row[inside], column[inside]


def spy(matrix: Any, *, ax: Axes | None = None, **marker: Any) -> Axes:
    """A dot for each stored entry, presynaptic neuron against postsynaptic.

    Args:
        matrix: A sparse matrix ``(n_pre, n_post)`` of any format, of ours or of SciPy; or an array or a ``Dense``, of
            which the nonzero entries are shown.
        ax: The axes to draw into; new ones if left out.
        **marker: Passed to ``Axes.plot``, such as ``color`` and ``markersize``.

    Returns:
        The axes.

    Raises:
        ShapeError: ``matrix`` is not of rank 2.
        MissingExtraError: matplotlib is not installed.

    Example:
        >>> import numpy as np
        >>> from spikax_kernels import CSR, plot
        >>> plot.spy(CSR.from_dense(np.eye(3, dtype=np.float32))).get_xlabel()
        'Postsynaptic neuron'
    """
    if len(matrix.shape) != 2:
        raise ShapeError(f"matrix: got shape {matrix.shape}; expected (n_pre, n_post)")
    pre, post = _coordinates(matrix)
    ax = _axes(ax)
    ax.plot(post, pre, **(_DOTS | marker))
    ax.set(xlabel="Postsynaptic neuron", ylabel="Presynaptic neuron")
    ax.set(xlim=(-0.5, matrix.shape[1] - 0.5), ylim=(matrix.shape[0] - 0.5, -0.5), aspect="equal")
    return ax
