"""A kernel in Warp is right under JAX's transforms and from many threads, and what does not fit it is an error."""

# mypy: allow-untyped-decorators

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikax_core import BackendRefusedError, NoBackendError, ParameterError, XLACustomKernel
from spikax_core.testing import Case, check_kernel
from tests.core.operators import same

pytest.importorskip("warp")

import warp as wp

SPIKES = np.array([True, False, True, True])
W = np.arange(8, dtype=np.float32).reshape(4, 2)


@wp.kernel
def rows_kernel(spikes: wp.array[bool], w: wp.array2d[Any], out: wp.array[Any]) -> None:
    i, j = wp.tid()
    if spikes[i]:
        wp.atomic_add(out, j, w[i, j])


@wp.kernel
def outer_kernel(spikes: wp.array[bool], ct: wp.array[wp.Float], out: wp.array2d[wp.Float]) -> None:
    i, j = wp.tid()
    if spikes[i]:
        out[i, j] = ct[j]


@wp.kernel
def affine_kernel(x: wp.array[float], by: float, out: wp.array[float], plus: wp.int32) -> None:
    i = wp.tid()
    out[i] = x[i] * by + float(plus)


def rows(spikes: jax.Array, w: jax.Array) -> jax.Array:
    """The reference: the sum of the rows of ``w: f32[pre, post]`` whose event in ``spikes: bool[pre]`` is active."""
    return jnp.where(spikes[:, None], w, jnp.zeros_like(w)).sum(0)


def outer(spikes: jax.Array, ct: jax.Array) -> jax.Array:
    """The transpose of ``rows`` in ``w``."""
    return jnp.where(spikes[:, None], ct, jnp.zeros_like(ct))


def event_rows(build: Callable[..., Any] | None = None) -> XLACustomKernel:
    """``rows`` and, as its gradient in the weights, ``outer``, both with a kernel in Warp."""
    operator, transposed = XLACustomKernel("rows", reference=rows), XLACustomKernel("outer", reference=outer)
    operator.def_shape_rule(lambda spikes, w: jax.ShapeDtypeStruct(w.shape[1:], w.dtype))
    operator.def_warp_kernel(build or (lambda in_avals, _: (rows_kernel, in_avals[1].shape)))
    operator.def_linear({1: lambda ct, spikes, _: transposed(spikes, ct)})
    transposed.def_shape_rule(lambda spikes, ct: jax.ShapeDtypeStruct((*spikes.shape, *ct.shape), ct.dtype))
    transposed.def_warp_kernel(lambda _, out_avals: (outer_kernel, out_avals[0].shape))
    transposed.def_linear({1: lambda ct, spikes, _: operator(spikes, ct)})
    return operator


def alike(build: Callable[..., Any]) -> XLACustomKernel:
    """An operator from one array to another of its type, and no other kernel."""
    operator = XLACustomKernel("alike")
    operator.def_shape_rule(lambda x, **_: jax.ShapeDtypeStruct(x.shape, x.dtype))
    operator.def_warp_kernel(build)
    return operator


def affine() -> XLACustomKernel:
    return alike(lambda in_avals, _, *, by, plus: (affine_kernel, in_avals[0].size))


# JAX's transforms.


def test_it_conforms() -> None:
    cases = [Case("f32", (SPIKES, W)), Case("f64", (SPIKES, W.astype(np.float64)))]
    check_kernel(event_rows(), cases, backends=["warp"])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "int32", "uint32"])
def test_a_generic_kernel_takes_the_dtypes_of_its_arrays(dtype: str) -> None:
    expected = (SPIKES.astype(np.float32) @ W).astype(dtype)
    same(event_rows()(SPIKES, W.astype(dtype), backend="warp"), jnp.asarray(expected))


def test_calls_in_one_program_have_results_of_their_own() -> None:
    operator = event_rows()
    program = jax.jit(lambda spikes, w: operator(spikes, w) + operator(spikes, 2 * w))
    expected = jnp.asarray(3 * (SPIKES.astype(np.float32) @ W))
    for _ in range(3):
        same(program(SPIKES, W), expected)


# What the user gives.


def test_scalars_get_the_params_of_their_name() -> None:
    operator = affine()
    x = np.array([1.0, 2.0], np.float32)
    same(operator(x, by=0.5, plus=3), jnp.asarray(x / 2 + 3))
    same(operator(x, by=0.5, plus=-1), jnp.asarray(x / 2 - 1))
    same(operator(x, by=np.float64(4), plus=np.int64(1)), jnp.asarray(4 * x + 1))


def test_an_array_of_rank_zero_has_one_element() -> None:
    same(affine()(jnp.float32(3.0), by=2.0, plus=1), jnp.float32(7.0))


def test_a_kernel_is_made_for_each_shape_and_param() -> None:
    def build(in_avals: Any, _: Any, *, power: int) -> Any:
        @wp.kernel
        def kernel(x: wp.array[float], out: wp.array[float]) -> None:
            i = wp.tid()
            product = x[i]
            for _ in range(1, power):
                product *= x[i]
            out[i] = product

        return kernel, in_avals[0].shape

    operator = alike(build)
    for size in (1, 3):
        x = np.arange(1, 1 + size, dtype=np.float32)
        for power in (2, 3, 2):
            same(operator(x, power=power), jnp.asarray(x**power))


def test_what_a_kernel_does_not_write_is_zero() -> None:
    operator = alike(lambda in_avals, _, *, by, plus: (affine_kernel, 1))
    for x in np.ones((3, 1000), np.float32):  # the memory of an earlier result is there to be used again
        same(operator(x, by=5.0, plus=0), jnp.zeros(1000).at[0].set(5))


def test_several_results_come_in_their_order() -> None:
    @wp.kernel
    def kernel(x: wp.array[float], count: wp.array[int], above: wp.array[bool]) -> None:
        i = wp.tid()
        above[i] = x[i] > 0.0
        if x[i] > 0.0:
            wp.atomic_add(count, 0, 1)

    operator = XLACustomKernel("count")
    operator.def_shape_rule(
        lambda x: (jax.ShapeDtypeStruct((), jnp.int32), jax.ShapeDtypeStruct(x.shape, bool)),
    )
    operator.def_warp_kernel(lambda in_avals, _: (kernel, in_avals[0].shape))
    x = np.array([-1, 2, 0, 3], np.float32)
    same(operator(x), (jnp.int32(2), jnp.asarray(x > 0)))


def test_a_launch_over_nothing_gives_zeros() -> None:
    same(event_rows()(SPIKES[:0], W[:0], backend="warp"), jnp.zeros(2))
    same(event_rows()(SPIKES, W[:, :0], backend="warp"), jnp.zeros(0))


def test_a_launch_without_one_of_its_arrays_is_refused() -> None:
    operator = event_rows(lambda in_avals, _: (rows_kernel, (1, 2)))
    same(operator(SPIKES[:0], W[:0]), jnp.zeros(2))
    with pytest.raises(BackendRefusedError, match=r"launched over \(1, 2\), but an array is bool\[0\]"):
        operator(SPIKES[:0], W[:0], backend="warp")


# What does not fit.


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda *_: rows_kernel, r"rows: build returned .*; expected a pair \(wp.kernel, launch dimensions\)"),
        (lambda *_: (affine_kernel, 1), r"of rows: got the arrays \(x, by, out, plus\); expected 2 for the inputs"),
        (lambda *_: (outer_kernel, 1), "array argument 'ct', expected 1 dimensions, got 2"),
        (lambda *_: (rows_kernel, (1,) * 5), "Launch dimensions must have at most 4 dimensions"),
        (lambda *_: (rows_kernel, (-1, 2)), "Launch dimensions must be non-negative"),
        (lambda *_: (rows_kernel, "many"), "cannot be interpreted as an integer"),
    ],
)
def test_a_build_that_does_not_fit_the_operator_is_an_error(build: Callable[..., Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        event_rows(build)(SPIKES, W)


def test_a_kernel_for_another_dtype_is_an_error() -> None:
    with pytest.raises(ParameterError, match=r"array argument 'x', expected .*float32.*, got int32"):
        affine()(np.arange(2, dtype=np.int32), by=1.0, plus=0)


def test_a_mistake_in_the_kernel_names_its_line() -> None:
    @wp.kernel
    def kernel(x: wp.array[float], out: wp.array[float]) -> None:
        out[0] = x[0] + unheard_of  # type: ignore[name-defined] # noqa: F821

    with pytest.raises(Exception, match=r"(?s)x\[0\] \+ unheard_of.*Referencing undefined symbol: unheard_of"):
        alike(lambda *_: (kernel, 1))(W)


def test_dtypes_that_warp_does_not_have_are_refused() -> None:
    operator = event_rows()
    same(operator(SPIKES, W.astype(np.complex64)), jnp.asarray(SPIKES.astype(np.complex64) @ W))
    with pytest.raises(BackendRefusedError, match=r"Warp has no arrays such as c64\[4,2\]"):
        operator(SPIKES, W.astype(np.complex64), backend="warp")
    widened = XLACustomKernel("widened", reference=lambda x: jax.lax.complex(x, jnp.ones_like(x)))
    widened.def_shape_rule(lambda x: jax.ShapeDtypeStruct(x.shape, jnp.complex64))
    widened.def_warp_kernel(lambda *_: (affine_kernel, 1))
    same(widened(W), jnp.asarray(W + 1j, jnp.complex64))
    with pytest.raises(BackendRefusedError, match=r"Warp has no arrays such as c64"):
        widened(W, backend="warp")


def test_a_platform_without_warp_is_an_error() -> None:
    with pytest.raises(ParameterError, match="got a Warp kernel on 'tpu'; expected one on 'cpu' or 'cuda'"):
        event_rows().def_warp_kernel(lambda *_: (rows_kernel, 1), "tpu")


def test_a_kernel_for_cuda_does_not_serve_the_cpu() -> None:
    operator = XLACustomKernel("elsewhere")
    operator.def_shape_rule(lambda spikes, w: jax.ShapeDtypeStruct(w.shape[1:], w.dtype))
    operator.def_warp_kernel(lambda in_avals, _: (rows_kernel, in_avals[1].shape), "cuda")
    with pytest.raises(NoBackendError):
        operator(SPIKES, W)
    lowered = jax.jit(operator).trace(SPIKES, W).lower(lowering_platforms=("cuda",)).as_text()
    assert "rows_kernel" in lowered


# The process around it.


def test_nothing_is_printed_and_the_log_level_stays(capfd: pytest.CaptureFixture[str]) -> None:
    level = wp.config.log_level
    same(affine()(jnp.ones(3), by=2.0, plus=0), jnp.full(3, 2.0))
    assert wp.config.log_level == level
    assert capfd.readouterr().out == ""


THREADS = """
import sys
import threading

import jax
import numpy as np
import warp as wp
from spikax_core import XLACustomKernel

sys.setswitchinterval(1e-6)  # seconds: threads get in each other's way wherever they can

@wp.kernel
def ones(x: wp.array[float], out: wp.array[float]):
    out[wp.tid()] = 1.0

def build_rows(in_avals, out_avals, *, by):
    @wp.kernel
    def rows(spikes: wp.array[bool], w: wp.array2d[float], out: wp.array[float]):
        j = wp.tid()
        for i in range(w.shape[0]):
            if spikes[i]:
                out[j] += w[i, j] * float(wp.static(by))
    return rows, in_avals[1].shape[1]

head = XLACustomKernel("head")
head.def_shape_rule(lambda x, *, n: x)
head.def_warp_kernel(lambda in_avals, out_avals, *, n: (ones, n))
rows = XLACustomKernel("rows")
rows.def_shape_rule(lambda spikes, w, *, by: jax.ShapeDtypeStruct(w.shape[1:], w.dtype))
rows.def_warp_kernel(build_rows)
together, right = threading.Barrier(8), []

def work(seed):
    rng, x = np.random.default_rng(seed), np.zeros(64, np.float32)
    together.wait()
    for n in range(8 * seed, 8 * seed + 8):
        np.testing.assert_array_equal(head(x, n=n), np.arange(64) < n)
        right.append(n)
    for by in range(1, 4):
        pre, post = rng.integers(1, 9, 2)
        program = jax.jit(lambda spikes, w: rows(spikes, w, by=by))
        for _ in range(5):
            spikes, w = rng.random(pre) < 0.5, rng.integers(0, 9, (pre, post)).astype(np.float32)
            np.testing.assert_array_equal(program(spikes, w), by * (spikes.astype(np.float32) @ w))
            right.append(by)

threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(len(right))
"""


def test_threads_may_compile_and_launch_at_once(tmp_path: Any) -> None:
    program = tmp_path / "threads.py"  # a file, because Warp reads a kernel's source
    program.write_text(THREADS)
    environment = {**os.environ, "WARP_CACHE_PATH": str(tmp_path / "cache")}  # empty, so that each kernel is compiled
    command = [sys.executable, str(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, timeout=280)
    assert done.stdout == f"{8 * (8 + 3 * 5)}\n", done.stderr
