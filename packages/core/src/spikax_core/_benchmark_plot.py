"""The plot of a benchmark: medians and quartiles, grouped by configuration (extra ``plot``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._errors import MissingExtraError
from ._extras import missing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ._benchmark_result import BenchmarkResult

# Okabe and Ito's colours, which the colour-blind can tell apart (https://jfly.uni-koeln.de/color/), without yellow,
# which is faint on white; what the others are compared with is grey.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_BASELINE = "#808080"


def draw(result: BenchmarkResult, ax: Axes | None) -> Axes:
    """Draw into ``ax``, or new axes, and return them.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    absent = missing("plot")
    if absent is not None:
        raise MissingExtraError(f"plot of a benchmark: {absent}")
    configs = list(dict.fromkeys(record.config for record in result.records))
    backends = list(dict.fromkeys(record.backend for record in result.records))
    ax = _new_axes(len(configs) * len(backends)) if ax is None else ax
    others = iter(_COLOURS * len(backends))
    for i, backend in enumerate(backends):
        colour = _BASELINE if backend == result.baseline else next(others)
        timed = [record for record in result.records if record.backend == backend and record.seconds]
        at = [configs.index(record.config) + 0.6 * ((i + 0.5) / len(backends) - 0.5) for record in timed]
        spans = [record.quartiles or (0.0, 0.0) for record in timed]
        ax.hlines(at, [low for low, _ in spans], [high for _, high in spans], color=colour, linewidth=2)
        ax.plot([record.median or 0.0 for record in timed], at, "o", color=colour, markersize=5, label=backend)
    _label_times(ax, [end for record in result.records for end in record.quartiles or ()])
    ax.set(yticks=range(len(configs)), yticklabels=configs, ylim=(len(configs) - 0.5, -0.5))
    ax.tick_params(axis="y", length=0)
    ax.set_title(result.operator, loc="left")
    ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    ax.spines[["top", "right", "left"]].set_visible(False)
    return ax


def _label_times(ax: Axes, seconds: list[float]) -> None:
    """A logarithmic axis for these times; a factor of two is free at its ends, so that no noise fills it."""
    from matplotlib.ticker import EngFormatter, LogLocator, NullLocator

    low, high = min(seconds, default=1.0) / 2, max(seconds, default=1.0) * 2
    ax.set(xscale="log", xlim=(low, high), xlabel="Time per call")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    ax.xaxis.set_major_formatter(EngFormatter(unit="s"))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.grid(axis="x", color="0.9")
    ax.set_axisbelow(True)


def _new_axes(rows: int) -> Axes:
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(6.4, 1.0 + 0.2 * rows), layout="constrained")[1]
