"""A benchmark times what it says, and compares before and after."""

import csv
import dataclasses
import importlib.util
import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikax_core import (
    BenchmarkConfig,
    BenchmarkMismatchError,
    BenchmarkRecord,
    BenchmarkResult,
    MissingExtraError,
    ParameterError,
    XLACustomKernel,
)
from tests.core.operators import kernel

X = np.linspace(-1, 1, 5, dtype=np.float32)
SMALL = BenchmarkConfig("small", (X,))


def data(*configs: BenchmarkConfig) -> Callable[..., tuple[BenchmarkConfig, ...]]:
    return lambda *, platform: configs or (SMALL,)


def run(operator: XLACustomKernel, data: Callable[..., Any], **options: Any) -> BenchmarkResult:
    operator.def_benchmark_data(data)
    return operator.benchmark(**options)


def double(**backends: Callable[..., Any]) -> XLACustomKernel:
    """An operator with a kernel on the CPU for each function."""
    operator = kernel("double", lambda x: 2 * x)
    for name, function in backends.items():
        operator.def_kernel(name, "cpu", lambda _, __, function=function: function)
    return operator


def called_back(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A kernel that calls ``function`` of an array each time it runs."""
    return lambda x: jax.pure_callback(function, jax.ShapeDtypeStruct(x.shape, x.dtype), x)


def by_backend(result: BenchmarkResult) -> dict[str, BenchmarkRecord]:
    return {record.backend: record for record in result.records}


# What is timed.


def test_all_backends_and_the_reference_are_timed_on_all_data() -> None:
    large = BenchmarkConfig("large", (np.ones((3, 4), np.float32),))
    result = run(double(plus=lambda x: x + x), data(SMALL, large), repeats=4)
    assert [(r.config, r.backend, r.platform, len(r.seconds)) for r in result.records] == [
        (config, backend, "cpu", 4) for config in ("small", "large") for backend in ("plus", "reference")
    ]
    assert all(record.best is not None and record.best > 0 for record in result.records)
    assert (result.operator, result.baseline) == ("double", "reference")


def test_a_call_takes_at_least_as_long_as_its_kernel_and_compilation_does_not_count() -> None:
    def sleep(x: Any) -> Any:
        time.sleep(0.01)
        return 2 * x

    def compiled_slowly(x: Any) -> Any:
        time.sleep(0.5)  # while it is traced
        return x + x

    operator = double(sleeps=called_back(sleep), compiled_slowly=compiled_slowly)
    records = by_backend(run(operator, data(), repeats=3))
    assert records["sleeps"].best is not None
    assert records["sleeps"].best >= 0.01
    assert max(records["compiled_slowly"].seconds) < 0.5


def test_backends_take_turns_sample_by_sample_after_the_warm_up() -> None:
    ran: list[str] = []

    def slow(name: str) -> Callable[[Any], Any]:
        def note(x: Any) -> Any:
            ran.append(name)
            time.sleep(0.001)  # longer than a sample has to be, so that it is one call
            return 2 * x

        return called_back(note)

    run(double(a=slow("a"), b=slow("b")), data(), backends=["a", "b"], repeats=5, warmup=2)
    first, warm, rounds, last = ["a", "b"], ["a", "a", "b", "b"], ["a", "b"] * 5, ["a", "b"]
    assert ran == first + warm + rounds + last


def test_a_short_call_is_repeated_until_a_sample_takes_200_microseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count()
    monkeypatch.setattr(time, "perf_counter", lambda: 60e-6 * next(ticks))  # whatever is timed takes 60 µs
    (record,) = run(double(), data(), repeats=2).records
    assert record.calls == 4
    assert record.seconds == pytest.approx((15e-6, 15e-6))


def test_ratios_are_those_of_medians() -> None:
    records = by_backend(run(double(plus=lambda x: x + x), data(), repeats=5))
    medians = {name: np.median(record.seconds) for name, record in records.items()}
    assert records["plus"].ratio == pytest.approx(medians["plus"] / medians["reference"])
    assert records["reference"].ratio == 1


def test_without_the_reference_ratios_are_relative_to_the_first_backend() -> None:
    operator = double(one=lambda x: x + x, two=lambda x: x * 2)
    result = run(operator, data(), backends=["two", "one"], repeats=2)
    assert result.baseline == "two"
    assert [record.ratio == 1 for record in result.records] == [True, False]


def test_what_a_backend_refuses_is_recorded_with_the_reason() -> None:
    operator = double()
    operator.def_kernel("odd", "cpu", lambda *_: lambda x: x + x, supports=lambda a: a[0].shape[0] % 2 == 1 or "even")
    even = BenchmarkConfig("even", (X[:4],))
    records = run(operator, data(even, SMALL), backends=["odd"], repeats=2).records
    assert [(r.config, len(r.seconds), r.median, r.best, r.quartiles) for r in records[:1]] == [
        ("even", 0, None, None, None)
    ]
    assert records[0].refusal is not None
    assert "even" in records[0].refusal
    assert (records[1].refusal, len(records[1].seconds)) == (None, 2)


def test_only_the_data_and_backends_asked_for_are_timed() -> None:
    configs = [BenchmarkConfig(name, (X,)) for name in ("one", "two", "three")]
    operator = double(a=lambda x: x + x, b=lambda x: x + x)
    result = run(operator, data(*configs), backends=["b"], names=["three", "one"], repeats=1)
    assert [(record.config, record.backend) for record in result.records] == [("one", "b"), ("three", "b")]


def test_data_are_made_for_the_platform_and_moved_to_it() -> None:
    asked: list[str] = []

    def make(*, platform: str) -> tuple[BenchmarkConfig]:
        asked.append(platform)
        return (BenchmarkConfig("elsewhere", (jax.device_put(X, jax.devices()[1]),)),)

    assert run(double(), make, repeats=1).records[0].platform == "cpu"
    assert run(double(), make, platform="cpu", repeats=1).records[0].platform == "cpu"
    assert asked == ["cpu", "cpu"]


def test_params_declared_results_and_64_bits_are_those_of_the_configuration() -> None:
    seen: list[Any] = []
    scale = XLACustomKernel("scale", reference=lambda x, *, by, outs: by * x)

    def build(in_avals: Any, out_avals: Any, *, by: float) -> Callable[..., Any]:
        seen.append((in_avals[0].dtype, out_avals[0].dtype, by))
        return lambda x: by * x

    scale.def_kernel("times", "cpu", build)
    wide = BenchmarkConfig("wide", (X.astype(np.float64),), {"by": 3.0}, jax.ShapeDtypeStruct(X.shape, np.float64))
    run(scale, data(wide), repeats=1)
    assert set(seen) == {(np.dtype(np.float64), np.dtype(np.float64), 3.0)}


# What is compared.


def test_a_wrong_result_raises_with_configuration_backend_got_and_expected() -> None:
    with pytest.raises(BenchmarkMismatchError) as caught:
        run(double(right=lambda x: x + x, wrong=lambda x: 3 * x), data(BenchmarkConfig("two", (2 * X[-1:],))))
    assert str(caught.value).startswith("double, configuration 'two', backend 'wrong': got 6; expected 4 at (0,)")


def test_results_are_compared_with_the_reference_when_it_is_not_timed() -> None:
    with pytest.raises(BenchmarkMismatchError, match="backend 'wrong'"):
        run(double(wrong=lambda x: 3 * x), data(), backends=["wrong"])


def test_results_are_compared_with_the_first_backend_where_there_is_no_reference() -> None:
    operator = XLACustomKernel("bare")
    operator.def_shape_rule(lambda x: x)
    operator.def_kernel("first", "cpu", lambda *_: lambda x: 3 * x)
    operator.def_kernel("second", "cpu", lambda *_: lambda x: 2 * x)
    with pytest.raises(BenchmarkMismatchError, match="backend 'second': got 2; expected 3"):
        run(operator, data(BenchmarkConfig("one", (X[-1:],))))


def test_a_kernel_that_is_right_only_at_first_is_found() -> None:
    ran = itertools.count()
    stale = called_back(lambda x: 2 * x if next(ran) == 0 else 3 * x)
    with pytest.raises(BenchmarkMismatchError, match="backend 'stale'"):
        run(double(stale=stale), data(), repeats=1)


def test_a_tolerance_of_the_configuration_replaces_that_of_the_dtype() -> None:
    operator = double(rough=lambda x: 2.01 * x)
    rough = dataclasses.replace(SMALL, tolerance=0.02)
    assert run(operator, data(rough), repeats=1).records
    with pytest.raises(BenchmarkMismatchError):
        run(operator, data(SMALL), repeats=1)


def test_another_error_of_a_kernel_says_what_was_run() -> None:
    def broken(x: Any) -> Any:
        raise ZeroDivisionError("broken")

    with pytest.raises(ZeroDivisionError) as caught:
        run(double(broken=broken), data())
    assert "in the benchmark of double, configuration 'small', backend 'broken'" in caught.value.__notes__


# What is refused.


@pytest.mark.parametrize(
    ("configs", "options", "message"),
    [
        ([SMALL, SMALL], {}, r"got configurations named \['small', 'small'\]; expected at least one, each with a name"),
        ([SMALL], {"names": ["large"]}, r"names: got \['large'\]; expected some of \['small'\]"),
        ([SMALL], {"names": []}, r"names: got \[\]; expected some of \['small'\]"),
        ([SMALL], {"backends": ["cuda"]}, r"on cpu: got \['cuda'\]; expected some of \['reference'\]"),
        ([SMALL], {"backends": []}, r"on cpu: got \[\]; expected some of \['reference'\]"),
        ([SMALL], {"repeats": 0}, "repeats: got 0; expected a positive integer"),
        ([SMALL], {"warmup": True}, "warmup: got True; expected a positive integer"),
    ],
)
def test_a_wrong_argument_is_named(configs: Any, options: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        run(double(), data(*configs), **options)


def test_an_operator_without_data_says_how_to_declare_them() -> None:
    with pytest.raises(ParameterError, match="double has no benchmark data; declare it with def_benchmark_data"):
        double().benchmark()


def test_data_hold_a_configuration() -> None:
    with pytest.raises(ParameterError, match=r"got configurations named \[\]; expected at least one"):
        run(double(), lambda *, platform: [])


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("", (X,), "got ''; expected some text"),
        (3, (X,), "got 3; expected some text"),
        ("list", (X, [1.0]), "configuration 'list', argument 1: got list; expected an array"),
    ],
)
def test_a_configuration_is_checked_where_it_is_made(name: Any, args: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        BenchmarkConfig(name, args)


# What is made of it.

TIMES = (5e-6, 4e-6, 7e-6, 6e-6)
RECORDS = (
    BenchmarkRecord("small", "cpp", "cpu", TIMES, calls=40, ratio=0.5),
    BenchmarkRecord("small", "reference", "cpu", tuple(2 * t for t in TIMES), calls=20, ratio=1.0),
    BenchmarkRecord("a larger one", "cpp", "cpu", refusal="too large; split it"),
    BenchmarkRecord("a larger one", "reference", "cpu", (0.9, 1.5, 1.2), ratio=1.0),
)
RESULT = BenchmarkResult("scatter", RECORDS, "reference", {"date": "2024-02-29T12:00:00+00:00", "device": "cpu"})


def test_a_record_has_the_quantiles_of_its_samples() -> None:
    record = RECORDS[0]
    assert (record.median, record.best) == (np.median(TIMES), 4e-6)
    assert record.quartiles == tuple(np.quantile(TIMES, (0.25, 0.75)))


def test_the_table_is_aligned_and_ends_with_the_reasons_of_refusals() -> None:
    assert str(RESULT) == (
        "config        backend     median      IQR  x reference\n"
        "small         cpp        5.50 µs  1.50 µs         0.50\n"
        "small         reference  11.0 µs  3.00 µs         1.00\n"
        "a larger one  cpp        refused        -            -\n"
        "a larger one  reference   1.20 s   300 ms         1.00\n"
        "\n"
        "a larger one, cpp: too large; split it"
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(9.994e-10, "1.00 ns"), (9.996e-6, "10.0 µs"), (9.996e-4, "1.00 ms"), (0.5, "500 ms"), (61.0, "61.0 s")],
)
def test_a_time_has_three_digits_in_the_unit_that_fits(seconds: float, text: str) -> None:
    result = BenchmarkResult("one", (BenchmarkRecord("c", "b", "cpu", (seconds,)),), "b", {})
    assert text in result.table()


@pytest.mark.parametrize("path", [str, Path])
def test_json_keeps_everything(tmp_path: Path, path: Callable[[Path], Any]) -> None:
    file = path(tmp_path / "scatter.json")
    RESULT.save(file)
    assert BenchmarkResult.load(file) == RESULT


def test_a_measurement_says_where_and_when_it_was_made() -> None:
    machine = run(double(), data(), repeats=1).machine
    assert machine["jax"] == jax.__version__
    assert machine["device"] == jax.devices()[0].device_kind
    year, _, clock = machine["date"].partition("-")
    assert int(year) >= 2024
    assert clock.endswith("+00:00")


def test_csv_has_a_row_for_each_record(tmp_path: Path) -> None:
    RESULT.save(tmp_path / "scatter.csv")
    with (tmp_path / "scatter.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["config"], row["backend"]) for row in rows] == [(r.config, r.backend) for r in RECORDS]
    first = {name: float(rows[0][name]) for name in ("median", "q1", "q3", "best", "samples", "calls", "ratio")}
    q1, median, q3 = np.quantile(TIMES, (0.25, 0.5, 0.75))
    assert first == {"median": median, "q1": q1, "q3": q3, "best": 4e-6, "samples": 4, "calls": 40, "ratio": 0.5}
    assert (rows[2]["median"], rows[2]["refusal"]) == ("", "too large; split it")


def test_another_suffix_is_refused_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"scatter\.txt'; expected a name that ends in \.json or \.csv"):
        RESULT.save(tmp_path / "scatter.txt")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"records": [{"seconds": []}]}', '{"records": 3}', "config,backend"])
def test_a_file_that_is_no_benchmark_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "other.json"
    file.write_text(text)
    with pytest.raises(ParameterError, match="which is no benchmark"):
        BenchmarkResult.load(file)


def test_the_plot_has_the_medians_on_a_logarithmic_axis_and_a_colour_for_each_backend() -> None:
    ax = RESULT.plot()
    lines = {str(line.get_label()): line for line in ax.lines}
    assert np.asarray(lines["cpp"].get_xdata()).tolist() == [5.5e-6]
    assert np.asarray(lines["reference"].get_xdata()).tolist() == [1.1e-5, 1.2]
    assert len({line.get_color() for line in lines.values()}) == 2
    assert ax.get_xscale() == "log"
    assert [label.get_text() for label in ax.get_yticklabels()] == ["small", "a larger one"]
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["cpp", "reference"]


def test_the_plot_goes_into_the_axes_that_are_given() -> None:
    ax = RESULT.plot()
    assert RESULT.plot(ax) is ax


def test_without_matplotlib_a_plot_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r'pip install "spikax-core\[plot\]"'):
        RESULT.plot()


def test_operands_stay_as_they_were() -> None:
    x = jnp.asarray(X)
    run(double(plus=lambda x: x + x), data(BenchmarkConfig("kept", (x,))), repeats=1)
    np.testing.assert_array_equal(x, X)
