"""Time all backends of an operator on named data, and check that their results agree."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import functools
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from platform import platform as operating_system
from platform import python_version
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jaxlib.version import __version__ as jaxlib_version

from ._benchmark_result import BenchmarkRecord, BenchmarkResult
from ._compat import Array
from ._context import REFERENCE
from ._errors import BackendRefusedError, BenchmarkMismatchError, ParameterError

if TYPE_CHECKING:
    from ._kernel import XLACustomKernel

SAMPLE = 200e-6
"""Least length of a sample in seconds: the clock and the loop around a call take a thousandth of it."""


@dataclasses.dataclass(frozen=True, eq=False)
class BenchmarkConfig:
    """A named call of an operator, to be timed.

    Attributes:
        name: What results call it.
        args: The operands, arrays of NumPy or JAX; 64-bit types are enabled where one of them has such a dtype.
        params: The static parameters, by name.
        outs: The types of the results, for an operator without a shape rule.
        tolerance: The largest difference between backends, relative to the largest magnitude of a result, in the place
            of that of its dtype.

    Raises:
        ParameterError: The name is empty, or an operand is not an array.

    Example:
        >>> import jax.numpy as jnp
        >>> from spikax_core import BenchmarkConfig
        >>> BenchmarkConfig("three", (jnp.ones(3),), {"by": 2.0}).name
        'three'
    """

    name: str
    args: Sequence[Any]
    params: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    outs: Any = None
    tolerance: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ParameterError(f"name of a configuration: got {self.name!r}; expected some text")
        for i, arg in enumerate(self.args):
            if not (hasattr(arg, "shape") and hasattr(arg, "dtype")):
                raise ParameterError(
                    f"configuration {self.name!r}, argument {i}: got {type(arg).__name__}; expected an array"
                )


def run(
    kernel: XLACustomKernel,
    data: Callable[..., Iterable[BenchmarkConfig]],
    *,
    platform: str | None = None,
    backends: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    repeats: int = 20,
    warmup: int = 3,
) -> BenchmarkResult:
    """Time backends of an operator on what ``data(platform=...)`` gives: :meth:`XLACustomKernel.benchmark`.

    Raises:
        BenchmarkMismatchError: A backend's results are wrong.
        ParameterError: There is no such backend or configuration, or two of one name; a number is not positive.
    """
    for name, number in (("repeats", repeats), ("warmup", warmup)):
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise ParameterError(f"{name}: got {number!r}; expected a positive integer")
    platform = jax.default_backend() if platform is None else platform
    available = kernel.available_backends(platform)
    chosen = available if backends is None else tuple(backends)
    if not chosen or not set(chosen) <= set(available):
        message = f"backends of {kernel.name} on {platform}: got {list(chosen)}; expected some of {list(available)}"
        raise ParameterError(message)
    configs = _select(kernel.name, tuple(data(platform=platform)), names)
    device = jax.local_devices(backend=platform)[0]
    baseline = REFERENCE if REFERENCE in chosen else chosen[0]
    records: list[BenchmarkRecord] = []
    with jax.default_device(device):
        for config in configs:
            with _widths(config):
                trial = _Trial(kernel, config, jax.device_put(tuple(config.args), device))
                records.extend(_measure(trial, platform, chosen, baseline, repeats, warmup))
    return BenchmarkResult(kernel.name, tuple(records), baseline, _machine(device))


@dataclasses.dataclass(frozen=True, eq=False)
class _Trial:
    """An operator, and a configuration whose operands are on the device."""

    kernel: XLACustomKernel
    config: BenchmarkConfig
    args: tuple[Array, ...]

    @property
    def label(self) -> str:
        """What messages call it."""
        return f"{self.kernel.name}, configuration {self.config.name!r}"

    def program(self, backend: str) -> Callable[[], Any]:
        """A call of the operator that waits for the results; the first one compiles."""
        config = self.config
        compiled = jax.jit(functools.partial(self.kernel, outs=config.outs, backend=backend, **config.params))
        return lambda: jax.block_until_ready(compiled(*self.args))

    def attempt(self, program: Callable[[], Any], backend: str) -> Any:
        """The first results; an error other than a refusal says what was run."""
        try:
            return program()
        except BackendRefusedError:
            raise
        except Exception as error:
            error.add_note(f"in the benchmark of {self.label}, backend {backend!r}")
            raise

    def check(self, backend: str, got: Any, expected: Any) -> None:
        """Compare results.

        Raises:
            BenchmarkMismatchError: They differ.
        """
        from .testing._compare import Check  # here, as the kit is not needed before

        check = Check(f"{self.label}, backend {backend!r}", lambda: got, lambda: expected)
        problem = check.problem(self.config.tolerance)
        if problem is not None:
            raise BenchmarkMismatchError(f"{problem}; mend the backend, or give the configuration a tolerance")


def _measure(
    trial: _Trial, platform: str, backends: Sequence[str], baseline: str, repeats: int, warmup: int
) -> list[BenchmarkRecord]:
    """The records of one configuration, in the order of ``backends``."""
    first = [REFERENCE] if REFERENCE in trial.kernel.available_backends(platform) else []
    programs: dict[str, Callable[[], Any]] = {}
    refusals: dict[str, str] = {}
    expected: Any = None
    for backend in dict.fromkeys([*first, *backends]):
        program = trial.program(backend)
        try:
            got = trial.attempt(program, backend)
        except BackendRefusedError as error:
            refusals[backend] = str(error)
            continue
        if not programs:
            expected = got
        programs[backend] = program
        trial.check(backend, got, expected)
    timed = {backend: programs[backend] for backend in backends if backend in programs}
    calls = {backend: _calls(program, warmup) for backend, program in timed.items()}
    samples = _rounds(timed, calls, repeats)
    for backend, program in timed.items():
        # Once more, as a kernel that leaves something behind in its buffers is right the first time.
        trial.check(backend, program(), expected)
    return [
        BenchmarkRecord(
            config=trial.config.name,
            backend=backend,
            platform=platform,
            seconds=samples.get(backend, ()),
            calls=calls.get(backend, 1),
            ratio=_ratio(samples, backend, baseline),
            refusal=refusals.get(backend),
        )
        for backend in backends
    ]


def _rounds(
    programs: Mapping[str, Callable[[], Any]], calls: Mapping[str, int], repeats: int
) -> dict[str, tuple[float, ...]]:
    """The samples of each program, one in each round."""
    rounds = [{name: _sample(program, calls[name]) for name, program in programs.items()} for _ in range(repeats)]
    return {name: tuple(samples[name] for samples in rounds) for name in programs}


def _calls(program: Callable[[], Any], warmup: int) -> int:
    """How many calls make a sample, from calls that do not count."""
    return max(1, math.ceil(SAMPLE / min(_sample(program, 1) for _ in range(warmup))))


def _sample(program: Callable[[], Any], calls: int) -> float:
    """The mean time of a call, in seconds."""
    start = time.perf_counter()
    for _ in range(calls):
        program()
    return (time.perf_counter() - start) / calls


def _ratio(samples: Mapping[str, Sequence[float]], backend: str, baseline: str) -> float | None:
    if backend not in samples or baseline not in samples:
        return None
    return float(np.median(samples[backend]) / np.median(samples[baseline]))


def _select(operator: str, configs: tuple[BenchmarkConfig, ...], names: Sequence[str] | None) -> list[BenchmarkConfig]:
    """The configurations asked for, in their order.

    Raises:
        ParameterError: There are none, two have one name, or one that was asked for is not there.
    """
    known = [config.name for config in configs]
    if not known or len(set(known)) != len(known):
        message = f"configurations named {known}; expected at least one, each with a name of its own"
        raise ParameterError(f"benchmark data of {operator}: got {message}")
    if names is not None and (not names or not set(names) <= set(known)):
        raise ParameterError(f"names: got {list(names)}; expected some of {known}, the configurations of {operator}")
    return [config for config in configs if names is None or config.name in names]


def _widths(config: BenchmarkConfig) -> contextlib.AbstractContextManager[object]:
    """64-bit types where an operand has one, as in the conformance kit."""
    from .testing._check import WIDE

    wide = any(str(arg.dtype) in WIDE for arg in config.args)
    return jax.enable_x64(True) if wide else contextlib.nullcontext()


def _machine(device: jax.Device) -> dict[str, str]:
    """Where and when a benchmark was run."""
    from . import __version__

    return {
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "spikax_core": __version__,
        "jax": jax.__version__,
        "jaxlib": jaxlib_version,
        "numpy": np.__version__,
        "python": python_version(),
        "system": operating_system(),
        "cpus": str(os.cpu_count()),
        "device": device.device_kind,
    }
