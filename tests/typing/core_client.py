"""A client of spikax_core as a type checker sees it; checked by mypy and pyright, never run."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, assert_type

import jax.numpy as jnp
import numpy as np
from jax import Array, ShapeDtypeStruct, export
from jax.core import ShapedArray

import spikax_core
from spikax_core import (
    BackendFallbackWarning,
    BackendRefusedError,
    BenchmarkConfig,
    BenchmarkMismatchError,
    BenchmarkRecord,
    BenchmarkResult,
    KernelEntry,
    MissingExtraError,
    NoBackendError,
    NoRuleError,
    NotAPrimitiveError,
    OutputMismatchError,
    ParameterError,
    RuleCountError,
    RuleOutputError,
    SpikaxError,
    UnknownBackendError,
    XLACustomKernel,
    defjvp,
    disabled_checks,
    general_batching_rule,
    running_api_version,
    use_backend,
)


def build(in_avals: Sequence[ShapedArray], out_avals: Sequence[ShapedArray], *, by: float) -> Callable[[Array], Array]:
    return lambda x: x * by


def supports(in_avals: Sequence[ShapedArray], *, by: float) -> bool | str:
    return by != 0 or "by is 0"


# Kernels.

scale = XLACustomKernel("scale", reference=lambda x, *, by: x * by)
scale.def_reference(lambda x, *, by: by * x)
scale.def_shape_rule(lambda x, *, by: x)
scale.def_kernel("fast", "cpu", build, supports=supports, exportable=True)
scale.def_ffi_kernel("a_target", "cuda", backend="native", supports=supports, exportable=False)


def numba_build(
    in_avals: Sequence[ShapedArray], out_avals: Sequence[ShapedArray], *, by: float
) -> Callable[[np.ndarray[Any, Any], np.ndarray[Any, Any]], None]:
    def function(x: np.ndarray[Any, Any], out: np.ndarray[Any, Any]) -> None:
        out[...] = x * by

    return function


def warp_build(
    in_avals: Sequence[ShapedArray], out_avals: Sequence[ShapedArray], *, by: float
) -> tuple[Callable[..., None], int]:
    return lambda x, out: None, in_avals[0].size


def pallas_body(x: Any, out: Any, *, by: float) -> None:
    out[...] = x[...] * by


scale.def_numba_kernel(numba_build, backend="numba")
scale.def_warp_kernel(warp_build, "cuda", backend="warp")
scale.def_pallas_kernel(pallas_body, "tpu", options={"grid": (1,)}, backend="pallas")
scale.def_pallas_kernel(pallas_body, "cuda", options=lambda in_avals, out_avals, *, by: {"grid": (1,)})

# Rules.

defjvp(scale, lambda t, x, *, by: scale(t, by=by))
defjvp(scale.primitive, None)
scale.def_jvp_rule(lambda primals, tangents, *, by: (scale(*primals, by=by), scale(*tangents, by=by)))
scale.def_jvp_rule2(None)
scale.def_transpose_rule(lambda ct, x, *, by: (scale(ct, by=by),))
scale.def_linear({0: lambda ct, x, *, by: scale(ct, by=by)})
scale.def_linear(lambda x, *, by: {0: lambda ct, x, *, by: scale(ct, by=by)})
scale.def_batching_rule(lambda size, args, axes, *, by: (scale(args[0], by=by), axes[0]))
scale.register_general_batching(chunk=2, independent=(0,))
scale.def_fold(0, scale)
scale.def_fold((0,), lambda x, *, by: x * by)
scale.def_partition("i -> i")
scale.def_partition(lambda x, *, by: "i -> i", reduce="sum", compute=lambda x, *, by: x * by)
scale.def_partition("i ->", reduce=lambda out, axes: out)

# Calls and choices.

assert_type(scale, XLACustomKernel)
assert_type(scale.name, str)
assert_type(scale(jnp.ones(3), by=2.0), Any)
assert_type(scale(jnp.ones(3), outs=ShapeDtypeStruct((3,), jnp.float32), backend="fast", by=2.0), Any)
assert_type(scale.available_backends("cpu"), tuple[str, ...])
assert_type(scale.kernels, tuple[KernelEntry, ...])
assert_type(scale.defaults, Mapping[str, str])
scale.set_default("cpu", "fast")
scale.set_default("cpu", None)
scale.def_tags("dense", "example")
assert_type(scale.tags, frozenset[str])
assert_type(general_batching_rule(scale, [jnp.ones((2, 3))], [0], chunk=2, by=2.0), tuple[Any, Any])
assert_type(general_batching_rule(jnp.dot, [jnp.eye(2), jnp.ones(2)], [0, None], independent=()), tuple[Any, Any])

entry = KernelEntry("fast", "cpu", build, supports, exportable=True, requires="numba", target="a_target")
assert_type(entry.runs_on("gpu"), bool)
assert_type((entry.backend, entry.platform, entry.exportable), tuple[str, str, bool])
assert_type((entry.requires, entry.target), tuple[str | None, str | None])

context: AbstractContextManager[None] = use_backend("fast")
with use_backend("fast") as nothing:
    assert_type(nothing, None)


@use_backend("fast")
def decorated(x: Array) -> Array:
    return x


assert_type(decorated(jnp.ones(3)), Array)
assert_type(disabled_checks(), list[export.DisabledSafetyCheck])
assert_type(running_api_version(), tuple[int, int])
assert_type(spikax_core.__version__, str)

# Benchmarks.

config = BenchmarkConfig("three", (jnp.ones(3),), {"by": 2.0}, outs=None, tolerance=1e-3)
assert_type((config.name, config.tolerance), tuple[str, float | None])


def data(*, platform: str) -> list[BenchmarkConfig]:
    return [config]


scale.def_benchmark_data(data)
result = scale.benchmark(platform="cpu", backends=["fast"], names=["three"], repeats=3, warmup=1)
assert_type(result, BenchmarkResult)
assert_type(result.records, tuple[BenchmarkRecord, ...])
assert_type(result.table(), str)
assert_type(result.machine, Mapping[str, str])
assert_type(BenchmarkResult.load(Path("scale.json")), BenchmarkResult)
result.save("scale.csv")
result.plot()
record = BenchmarkRecord("three", "fast", "cpu", (1e-6,), calls=2, ratio=1.0, refusal=None)
assert_type((record.median, record.best), tuple[float | None, float | None])
assert_type(record.quartiles, tuple[float, float] | None)

# Errors.

FITTING: list[type[TypeError] | type[ValueError] | type[ImportError] | type[NotImplementedError]] = [
    NotAPrimitiveError,
    ParameterError,
    RuleOutputError,
    OutputMismatchError,
    RuleCountError,
    UnknownBackendError,
    MissingExtraError,
    NoRuleError,
    BackendRefusedError,
]
failed: list[type[AssertionError]] = [NotAPrimitiveError, BenchmarkMismatchError]
warning: type[UserWarning] = BackendFallbackWarning

try:
    scale(jnp.ones(3), by=2.0, backend="fast")
except NoBackendError as group:
    assert_type(group.exceptions, tuple[Exception | ExceptionGroup[Exception], ...])
except SpikaxError as error:
    raise SystemExit(str(error)) from error
