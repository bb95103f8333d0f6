"""What a benchmark measured: one record for each backend on each configuration, as a table, a file or a plot."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ._errors import ParameterError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
_COLUMNS = ("config", "backend", "platform", "median", "q1", "q3", "best", "samples", "calls", "ratio", "refusal")


@dataclasses.dataclass(frozen=True)
class BenchmarkRecord:
    """What one backend took on one configuration.

    Attributes:
        config: The name of the configuration.
        backend: The name of the backend.
        platform: The platform it ran on.
        seconds: The samples, in seconds per call; none if it refused.
        calls: How many calls each sample is the mean of.
        ratio: Its median in multiples of the baseline's on the same configuration; ``None`` where either has none.
        refusal: Why the backend does not serve the configuration; ``None`` if it does.

    Example:
        >>> from spikax_core import BenchmarkRecord
        >>> record = BenchmarkRecord("small", "cpp", "cpu", seconds=(3e-6, 1e-6, 2e-6, 5e-6, 4e-6))
        >>> record.median, record.quartiles, record.best
        (3e-06, (2e-06, 4e-06), 1e-06)
    """

    config: str
    backend: str
    platform: str
    seconds: tuple[float, ...] = ()
    calls: int = 1
    ratio: float | None = None
    refusal: str | None = None

    @property
    def median(self) -> float | None:
        """The median of the samples, in seconds; ``None`` if there are none."""
        return float(np.median(self.seconds)) if self.seconds else None

    @property
    def best(self) -> float | None:
        """The least of the samples, in seconds; ``None`` if there are none."""
        return min(self.seconds, default=None)

    @property
    def quartiles(self) -> tuple[float, float] | None:
        """The first and the third quartile of the samples, in seconds; ``None`` if there are none."""
        if not self.seconds:
            return None
        low, high = np.percentile(self.seconds, (25, 75))
        return float(low), float(high)


@dataclasses.dataclass(frozen=True)
class BenchmarkResult:
    """What all backends of an operator took. Printed, it is a table.

    Attributes:
        operator: The operator's name.
        records: A record for each configuration and backend, in the order in which they were run.
        baseline: The backend that ratios are relative to: the reference, or the first one if that was not timed.
        machine: Where and when it was measured: versions, system, device and an ISO 8601 date.

    Example:
        >>> from spikax_core import BenchmarkRecord, BenchmarkResult
        >>> records = (
        ...     BenchmarkRecord("small", "cpp", "cpu", seconds=(4e-6, 5e-6, 6e-6), ratio=0.25),
        ...     BenchmarkRecord("small", "reference", "cpu", seconds=(1.9e-5, 2e-5, 2.1e-5), ratio=1.0),
        ... )
        >>> print(BenchmarkResult("leaky", records, baseline="reference", machine={}))
        config  backend     median      IQR  x reference
        small   cpp        5.00 µs  1.00 µs         0.25
        small   reference  20.0 µs  1.00 µs         1.00
    """

    operator: str
    records: tuple[BenchmarkRecord, ...]
    baseline: str
    machine: Mapping[str, str]

    def __str__(self) -> str:
        return self.table()

    def table(self) -> str:
        """The medians and the widths between quartiles, aligned; why backends refused stands below."""
        rows = [("config", "backend", "median", "IQR", f"x {self.baseline}"), *map(_row, self.records)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) if i < 2 else cell.rjust(width) for i, (cell, width) in enumerate(cells))
            for cells in (zip(row, widths, strict=True) for row in rows)
        ]
        refusals = [f"{r.config}, {r.backend}: {r.refusal}" for r in self.records if r.refusal is not None]
        return "\n".join([*lines, *([""] if refusals else []), *refusals])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a file, in the place of one that is there.

        Args:
            path: Ends in ``.json`` (everything; :meth:`load` reads it) or ``.csv`` (a row for each record, with times
                in seconds).

        Raises:
            ParameterError: ``path`` ends in something else.

        Example:
            >>> import pathlib, tempfile
            >>> from spikax_core import BenchmarkRecord, BenchmarkResult
            >>> records = (BenchmarkRecord("small", "cpp", "cpu", seconds=(4e-6, 5e-6, 6e-6)),)
            >>> result = BenchmarkResult("leaky", records, baseline="cpp", machine={"device": "cpu"})
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     path = pathlib.Path(folder, "leaky.json")
            ...     result.save(path)
            ...     BenchmarkResult.load(path) == result
            True
        """
        path = pathlib.Path(path)
        if path.suffix == ".json":
            path.write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n", encoding="utf-8")
        elif path.suffix == ".csv":
            with path.open("w", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows([_COLUMNS, *map(_csv_row, self.records)])
        else:
            raise ParameterError(f"save: got {str(path)!r}; expected a name that ends in .json or .csv")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> BenchmarkResult:
        """The result that :meth:`save` wrote to a ``.json`` file.

        Args:
            path: The file.

        Raises:
            ParameterError: It is not such a file.
        """
        try:
            content = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
            rows = content.pop("records")
            records = tuple(BenchmarkRecord(**{**row, "seconds": tuple(row["seconds"])}) for row in rows)
            return cls(records=records, **content)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            message = f"load: got {str(path)!r}, which is no benchmark ({error}); expected a .json file written by save"
            raise ParameterError(message) from error

    def plot(self, ax: Axes | None = None) -> Axes:
        """A dot for each median over a line between the quartiles, by configuration, on a logarithmic axis.

        Args:
            ax: The axes to draw into; new ones if left out.

        Returns:
            The axes.

        Raises:
            MissingExtraError: matplotlib is not installed: ``pip install "spikax-core[plot]"``.
        """
        from ._benchmark_plot import draw

        return draw(self, ax)


def _row(record: BenchmarkRecord) -> tuple[str, str, str, str, str]:
    """A record as it stands in the table."""
    if record.median is None or record.quartiles is None:
        return record.config, record.backend, "refused", "-", "-"
    low, high = record.quartiles
    ratio = "-" if record.ratio is None else f"{record.ratio:.2f}"
    return record.config, record.backend, _time(record.median), _time(high - low), ratio


def _time(seconds: float) -> str:
    """A time to three digits, in the unit that fits it."""
    rounded = float(f"{seconds:.2e}")
    scale, unit = next(((s, u) for s, u in _UNITS if rounded >= s), _UNITS[-1])
    value = float(f"{rounded / scale:.3g}")
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"


def _csv_row(record: BenchmarkRecord) -> tuple[object, ...]:
    """A record as it stands in a ``.csv`` file."""
    low, high = record.quartiles or (None, None)
    times = (record.median, low, high, record.best, len(record.seconds), record.calls)
    return (record.config, record.backend, record.platform, *times, record.ratio, record.refusal)
