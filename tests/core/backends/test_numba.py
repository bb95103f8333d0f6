"""A kernel in Numba is right under JAX's transforms and from many threads, and what is wrong in it is an error."""

import math
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikax_core import BackendRefusedError, NoBackendError, ParameterError, XLACustomKernel
from spikax_core._backends.call_frame import DATA_TYPES
from spikax_core.testing import Case, check_kernel

numba = pytest.importorskip("numba")

Function = Callable[..., None]


def numba_operator(name: str, build: Callable[..., Function], shape_rule: Callable[..., Any]) -> XLACustomKernel:
    """An operator that has this kernel and no other."""
    operator = XLACustomKernel(name)
    operator.def_shape_rule(shape_rule)
    operator.def_numba_kernel(build)
    return operator


def like(x: Any, **_: Any) -> Any:
    """The shape rule of what has one result like its first operand."""
    return jax.ShapeDtypeStruct(x.shape, x.dtype)


def alike(function: Function) -> XLACustomKernel:
    """An operator from one array to another of its type."""
    return numba_operator(function.__name__, lambda *_: function, like)


# Events through weights, both ways: each is the other's transpose.


def scatter(spikes: Any, weights: Any, out: Any) -> None:
    out[:] = 0
    for i in range(len(spikes)):
        if spikes[i] != 0:
            for j in range(len(out)):
                out[j] += spikes[i] * weights[i, j]


def outer(spikes: Any, ct: Any, out: Any) -> None:
    for i in range(len(spikes)):
        for j in range(len(ct)):
            out[i, j] = spikes[i] * ct[j]


def event_product() -> XLACustomKernel:
    """``spikes @ weights``, with the gradient in both."""
    operator = numba_operator("product", lambda *_: scatter, lambda s, w: jax.ShapeDtypeStruct(w.shape[1:], w.dtype))
    gradient = numba_operator("outer", lambda *_: outer, lambda s, c: jax.ShapeDtypeStruct(s.shape + c.shape, c.dtype))
    operator.def_reference(lambda s, w: s @ w)
    operator.def_linear({0: lambda ct, s, w: operator(ct, w.T), 1: lambda ct, s, w: gradient(s, ct)})
    gradient.def_linear({0: lambda ct, s, c: operator(c, ct.T), 1: lambda ct, s, c: operator(s, ct)})
    return operator


def test_an_event_driven_product_is_the_dense_one_and_so_are_its_gradients() -> None:
    with jax.enable_x64(True):
        generator = np.random.default_rng(0)
        spikes = (generator.random(50) < 0.2).astype(float)
        weights, scale = generator.normal(size=(50, 30)), generator.normal(size=30)
        operator = event_product()

        def total(product: Callable[..., Any], spikes: Any, weights: Any) -> Any:
            return (scale * product(spikes, weights) ** 2).sum()

        def dense(spikes: Any, weights: Any) -> Any:
            return spikes @ weights

        got = jax.jit(jax.value_and_grad(lambda s, w: total(operator, s, w), argnums=(0, 1)))(spikes, weights)
        expected = jax.value_and_grad(lambda s, w: total(dense, s, w), argnums=(0, 1))(spikes, weights)
        for g, e in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(g, e, rtol=1e-12)


def test_it_conforms() -> None:
    generator = np.random.default_rng(1)
    operands = ((generator.random(4) < 0.5).astype(np.float32), generator.normal(size=(4, 3)).astype(np.float32))
    check_kernel(event_product(), [Case("small", operands)], backends=["numba"])


# Types and shapes.


def reverse(x: Any, out: Any) -> None:
    for i in range(len(x)):
        out[i] = x[-1 - i]


@pytest.mark.parametrize("dtype", DATA_TYPES)
def test_every_dtype_passes_as_it_is(dtype: str) -> None:
    values = {"b": [False, True], "i": [-100, 100], "u": [0, 200], "f": [-0.1, 1e30], "c": [1 - 2j, 1e-30j]}
    x = np.array(values[np.dtype(dtype).kind], dtype)
    with jax.enable_x64(True):
        got = alike(reverse)(x)
    assert got.dtype == x.dtype
    np.testing.assert_array_equal(got, x[::-1])


def test_arrays_of_any_rank_and_empty_ones_keep_their_order() -> None:
    def transposed(x: Any, number: Any, out: Any, sum_: Any) -> None:
        sum_[()] = number[()]
        for i in range(x.shape[0]):
            for j in range(x.shape[1]):
                for k in range(x.shape[2]):
                    out[k, j, i] = x[i, j, k]
                    sum_[()] += x[i, j, k]

    def shapes(x: Any, number: Any) -> Any:
        return {"out": jax.ShapeDtypeStruct(x.shape[::-1], x.dtype), "sum": like(number)}

    operator = numba_operator("transposed", lambda *_: transposed, shapes)
    for shape in [(2, 3, 4), (1, 1, 1), (0, 3, 4), (2, 0, 4), (2, 3, 0)]:
        x = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
        got = operator(x, np.int32(5))
        np.testing.assert_array_equal(got["out"], x.transpose())
        assert got["sum"] == 5 + x.sum()


def test_a_kernel_may_have_no_operand() -> None:
    def count(out: Any) -> None:
        for i in range(len(out)):
            out[i] = i

    operator = numba_operator("count", lambda *_: count, lambda: jax.ShapeDtypeStruct((4,), np.int32))
    assert operator().tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "int4", "float8_e5m2"])
def test_an_operand_that_numba_has_no_type_for_is_refused(dtype: str) -> None:
    with pytest.raises(NoBackendError) as caught:
        alike(scatter)(jnp.ones(3, dtype))
    assert "got (" in str(caught.value.exceptions[0])
    assert "float32, float64" in str(caught.value.exceptions[0])


def test_a_result_that_numba_has_no_type_for_is_refused() -> None:
    operator = numba_operator("halved", lambda *_: scatter, lambda x: jax.ShapeDtypeStruct(x.shape, jnp.bfloat16))
    with pytest.raises(BackendRefusedError, match=r"halved: got \(bf16\[3\]\)"):
        operator(jnp.ones(3), backend="numba")


# What is compiled, and when.


def test_an_operator_may_have_any_name() -> None:
    operator = numba_operator('Zellen / µs "x"', lambda *_: reverse, like)
    assert jax.jit(operator)(jnp.arange(3)).tolist() == [2, 1, 0]


def test_results_start_as_zeros() -> None:
    def write_nothing(x: Any, count: Any, out: Any) -> None:
        pass

    operator = XLACustomKernel("nothing")
    operator.def_shape_rule(lambda x: (jax.ShapeDtypeStruct((), jnp.int32), x))
    operator.def_numba_kernel(lambda i, o: write_nothing)
    count, out = jax.jit(lambda x: operator(jnp.sqrt(x)))(jnp.ones((100, 100)))
    assert count == 0
    assert not out.any()


def test_params_are_constants_of_the_function() -> None:
    def build(in_avals: Any, out_avals: Any, *, power: Any) -> Function:
        def function(x: Any, out: Any) -> None:
            for i in range(len(x)):
                out[i] = x[i] ** power / 2

        return function

    operator = numba_operator("power", build, like)
    x = jnp.array([2.0, 3.0])
    assert [operator(x, power=n).tolist() for n in (2, 3)] == [[2.0, 4.5], [4.0, 13.5]]


def test_params_that_python_takes_to_be_equal_have_kernels_of_their_own() -> None:
    def build(in_avals: Any, out_avals: Any, *, by: Any) -> Function:
        number = math.copysign(1, by[0]) + isinstance(by[0], float)

        def function(x: Any, out: Any) -> None:
            for i in range(len(x)):
                out[i] = number

        return function

    operator = numba_operator("constant", build, like)
    assert [operator(jnp.ones(1), by=(n,)).tolist() for n in (0, 0.0, -0.0)] == [[1.0], [2.0], [0.0]]


def test_a_function_is_compiled_once_for_all_shapes_and_lowerings() -> None:
    def copied(x: Any, out: Any) -> None:
        out[:] = x

    jitted = numba.njit(copied)
    first, second = alike(jitted), alike(jitted)
    for n in (1, 2, 3):
        x = np.arange(n, dtype=np.float32)
        for function in (first, second, jax.jit(first), jax.jit(lambda x: first(x))):
            np.testing.assert_array_equal(function(x), x)
    assert len(jitted.signatures) == 1
    assert first(jnp.arange(2)).tolist() == [0, 1]
    assert len(jitted.signatures) == 2


def test_build_is_called_once_for_the_same_types_and_params() -> None:
    calls = []

    def build(in_avals: Any, out_avals: Any, *, n: Any) -> Function:
        calls.append((in_avals[0].shape, out_avals[0].dtype.name, n))

        def plus(x: Any, out: Any) -> None:
            out[()] = x[()] + n

        return plus

    operator = numba_operator("plus", build, like)
    for _ in range(2):
        assert jax.jit(lambda x: operator(operator(x, n=1), n=1))(1.0) == 3
    assert operator(jnp.float32(1), n=1.5) == 2.5
    assert calls == [((), "float32", 1), ((), "float32", 1.5)]


def test_threads_that_compile_the_same_kernel_at_once_share_it() -> None:
    x = np.arange(3, dtype=np.float32)
    operator, start, targets, got = alike(reverse), threading.Barrier(4), set[str](), list[Any]()

    def call() -> None:
        start.wait()
        lowered = jax.jit(lambda x: operator(x)).lower(x)
        targets.update(re.findall("spikax_numba_reverse_[0-9]+", lowered.as_text()))
        got.append(lowered.compile()(x).tolist())

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [[2, 1, 0]] * 4
    assert len(targets) == 1


def test_a_jitted_function_keeps_its_options() -> None:
    def inverse(x: Any, out: Any) -> None:
        for i in range(len(x)):
            out[i] = 1 / x[i]

    assert alike(numba.njit(error_model="numpy")(inverse))(jnp.array([0.0, 4.0])).tolist() == [np.inf, 0.25]


def test_numba_is_imported_when_the_first_kernel_is_compiled() -> None:
    program = """
import sys
import jax
from spikax_core import XLACustomKernel

def double(x, out):
    out[()] = 2 * x[()]

operator = XLACustomKernel("double")
operator.def_shape_rule(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype))
operator.def_numba_kernel(lambda *_: double)
print("numba" in sys.modules, operator(2.0), "numba" in sys.modules)
"""
    assert run(program) == "False 4.0 True\n"


# Errors.


def overrun(x: Any, out: Any) -> None:
    for i in range(len(x)):
        out[i] = x[i + 1]


def divided(x: Any, out: Any) -> None:
    for i in range(len(x)):
        out[i] = 1 / (x[i] - x[i])


def refused_or_negated(x: Any, out: Any) -> None:
    for i in range(len(x)):
        if x[i] > 0:
            raise ValueError("got a positive number")
        out[i] = -x[i]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (overrun, "overrun raised IndexError: index is out of bounds; call its function"),
        (divided, "divided raised ZeroDivisionError: division by zero; call its function"),
        (refused_or_negated, "refused_or_negated raised ValueError: got a positive number; call its function"),
    ],
)
def test_an_exception_is_an_error_that_names_operator_and_exception(function: Function, message: str) -> None:
    operator = alike(function)
    program = jax.jit(lambda x: jax.lax.fori_loop(0, 3, lambda _, x: operator(x + 1), x))
    for call in (operator, program):
        with pytest.raises(Exception, match=f"INTERNAL: the Numba kernel of {message}"):
            jax.block_until_ready(call(jnp.ones(3)))


def test_after_an_error_the_kernel_runs_as_before() -> None:
    operator = alike(refused_or_negated)
    with pytest.raises(Exception, match="got a positive number"):
        jax.block_until_ready(operator(jnp.ones(3)))
    assert operator(-jnp.ones(3)).tolist() == [1, 1, 1]


def test_writing_to_an_operand_does_not_compile() -> None:
    def spoils(x: Any, out: Any) -> None:
        x[0] = 0

    with pytest.raises(numba.core.errors.TypingError, match="Cannot modify readonly array") as caught:
        alike(spoils)(jnp.ones(3))
    assert any("the Numba kernel of spoils, for (f32[3]) -> (f32[3])" in note for note in caught.value.__notes__)


def test_what_numba_cannot_compile_is_an_error_that_names_the_operator() -> None:
    def one_argument(x: Any) -> None:
        pass

    def no_number(x: Any, out: Any) -> None:
        out[0] = "one"

    for function in (one_argument, no_number):
        with pytest.raises(numba.core.errors.TypingError) as caught:
            alike(function)(jnp.ones(3))
        assert any(f"the Numba kernel of {function.__name__}" in note for note in caught.value.__notes__)


def test_a_function_that_returns_its_result_is_an_error() -> None:
    def returns(x: Any, out: Any) -> Any:
        return x + 1

    with pytest.raises(ParameterError, match="got a function that returns array"):
        alike(returns)(jnp.ones(3))


# Threads.

MANY_CALLS = """
import sys, threading
import jax, jax.numpy as jnp, numba, numpy as np
from spikax_core import XLACustomKernel

def matvec(w, x, out):
    if x[0] > 100:
        raise ValueError("large")
    for i in numba.prange(out.shape[0]):
        total = 0.0
        for j in range(w.shape[1]):
            total += w[i, j] * x[j]
        out[i] = total

function = numba.njit(parallel=True)(matvec) if sys.argv[1] == "parallel" else matvec
operator = XLACustomKernel("matvec")
operator.def_shape_rule(lambda w, x: jax.ShapeDtypeStruct(x.shape, x.dtype))
operator.def_numba_kernel(lambda *_: function)
w = np.random.default_rng(0).normal(size=(20, 20)).astype(np.float32) / 10

# Calls that follow each other, and ones that do not, so that XLA may make them at once.
@jax.jit
def program(x):
    branches = [operator(w * k, x) for k in range(20)]
    return jax.lax.fori_loop(0, 50, lambda _, x: operator(w, x), x), sum(branches)

def expected(x):
    last = x
    for _ in range(50):
        last = w @ last
    return last, 190 * (w @ x)

wrong = []

def call(seed):
    x = np.random.default_rng(seed).normal(size=20).astype(np.float32)
    for i in range(25):
        for got, right in zip(program(x), expected(x)):
            if not np.allclose(got, right, rtol=1e-3, atol=1e-3):
                wrong.append(f"thread {seed}, call {i}")
        try:
            jax.block_until_ready(operator(w, x + 1000))
            wrong.append("no error")
        except Exception as error:
            if "matvec raised ValueError: large" not in str(error):
                wrong.append(str(error))

threads = [threading.Thread(target=call, args=(seed,)) for seed in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(wrong)
"""


def run(program: str, *args: str, **environment: str) -> str:
    """What a program prints that runs in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", program, *args], capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_calls_from_many_threads_do_not_disturb_each_other() -> None:
    assert run(MANY_CALLS, "serial") == "[]\n"


@pytest.mark.parametrize("layer", ["omp", "tbb"])
def test_so_do_calls_of_a_parallel_function_where_numbas_threads_allow_it(layer: str) -> None:
    missing = subprocess.run(
        [sys.executable, "-c", "import numba; numba.njit(parallel=True)(lambda: numba.get_num_threads())()"],
        capture_output=True, text=True, env={**os.environ, "NUMBA_THREADING_LAYER": layer},
    )  # fmt: skip
    if missing.returncode:
        pytest.skip(f"Numba finds no {layer}")
    assert run(MANY_CALLS, "parallel", NUMBA_THREADING_LAYER=layer) == "[]\n"


def test_a_parallel_function_is_refused_where_they_would_end_the_process() -> None:
    program = """
import jax, numba
from spikax_core import BackendRefusedError, XLACustomKernel

@numba.njit(parallel=True)
def copied(x, out):
    for i in numba.prange(len(x)):
        out[i] = x[i]

def calls(x, out):
    copied(x, out)

for function in (copied, calls):
    operator = XLACustomKernel("copied")
    operator.def_shape_rule(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype))
    operator.def_numba_kernel(lambda *_: function)
    try:
        operator(jax.numpy.ones(3), backend="numba")
    except BackendRefusedError as error:
        print(error)
"""
    lines = run(program, NUMBA_THREADING_LAYER="workqueue").splitlines()
    message = "backend 'numba' does not serve copied: got parallel=True on Numba's threading layer 'workqueue',"
    assert [line[: len(message)] for line in lines] == [message] * 2
