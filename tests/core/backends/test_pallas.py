"""A kernel in Pallas is right under JAX's transforms, and what Pallas does not take is refused."""

import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import pallas as pl

from spikax_core import BackendRefusedError, NoBackendError, ParameterError, XLACustomKernel
from spikax_core._backends.pallas import pallas_kernel
from spikax_core.testing import Case, check_kernel
from tests.core.operators import Function, same

SPIKES = np.array([True, False, True, True])
W = np.arange(8, dtype=np.float32).reshape(4, 2)


def rows(spikes: jax.Array, w: jax.Array) -> jax.Array:
    """The reference: the sum of the rows of ``w: f32[pre, post]`` whose event in ``spikes: bool[pre]`` is active."""
    return jnp.where(spikes[:, None], w, jnp.zeros_like(w)).sum(0)


def rows_body(spikes: Any, w: Any, out: Any) -> None:
    """Visits only the active rows of one block of columns."""
    out[...] = jnp.zeros_like(out)

    @pl.loop(0, spikes.shape[0])
    def _(i: Any) -> None:
        @pl.when(spikes[i])
        def _() -> None:
            out[...] += w[i, :]


def columns(in_avals: Any, _: Any) -> dict[str, Any]:
    """One program for each column."""
    pre, post = in_avals[1].shape
    weights = pl.BlockSpec((pre, 1), lambda j: (0, j))
    events, out = pl.BlockSpec((pre,), lambda j: (0,)), pl.BlockSpec((1,), lambda j: (j,))
    return {"grid": (post,), "in_specs": [events, weights], "out_specs": out}


def event_rows(options: Any = columns, body: Function = rows_body) -> XLACustomKernel:
    """``rows`` with a kernel in Pallas, and its gradient in the weights."""
    operator = XLACustomKernel("rows", reference=rows)
    operator.def_shape_rule(lambda spikes, w: jax.ShapeDtypeStruct(w.shape[1:], w.dtype))
    operator.def_pallas_kernel(body, "cpu", options=options)
    outer = XLACustomKernel("outer", reference=lambda spikes, ct: jnp.where(spikes[:, None], ct, jnp.zeros_like(ct)))
    outer.def_shape_rule(lambda spikes, ct: jax.ShapeDtypeStruct((*spikes.shape, *ct.shape), ct.dtype))
    operator.def_linear({1: lambda ct, spikes, _: outer(spikes, ct)})
    outer.def_linear({1: lambda ct, spikes, _: operator(spikes, ct)})
    return operator


def alike(body: Function, **options: Any) -> XLACustomKernel:
    """An operator from one array to another of its type, and no other kernel."""
    operator = XLACustomKernel("alike")
    operator.def_shape_rule(lambda x, **_: jax.ShapeDtypeStruct(x.shape, x.dtype))
    operator.def_pallas_kernel(body, "cpu", **options)
    return operator


def double(x: Any, out: Any) -> None:
    out[...] = x[...] + x[...]


# JAX's transforms.


def test_it_conforms() -> None:
    arrays = {"f32": W, "f64": W.astype(np.float64)}
    cases = [Case(name, (SPIKES, w)) for name, w in arrays.items()]
    check_kernel(event_rows(), cases, backends=["pallas"])


def test_a_batch_of_size_zero_is_empty() -> None:
    operator = event_rows()
    batch = jax.vmap(lambda spikes: operator(spikes, W, backend="pallas"))(jnp.zeros((0, 4), bool))
    same(batch, jnp.zeros((0, 2)))


@pytest.mark.parametrize("dtype", ["bool", "int8", "int32", "uint16", "float16", "bfloat16", "float32"])
def test_it_takes_arrays_of_any_real_dtype(dtype: str) -> None:
    x = np.array([0, 1, 1]).astype(dtype)
    same(alike(lambda x, out: out.__setitem__(..., x[...][::-1]))(x), jnp.asarray(x)[::-1])


def test_it_takes_a_scalar() -> None:
    same(alike(double)(jnp.float32(1.5)), jnp.float32(3.0))


# What the user gives.


def test_options_are_a_mapping_or_a_function_of_the_types_and_params() -> None:
    def body(x: Any, out: Any, *, by: float, blocks: int) -> None:
        out[...] = x[...] * by + pl.program_id(0).astype(jnp.float32)

    def grid(in_avals: Any, out_avals: Any, *, by: float, blocks: int) -> dict[str, Any]:
        spec = pl.BlockSpec((in_avals[0].shape[0] // blocks,), lambda i: (i,))
        return {"grid": (blocks,), "in_specs": [spec], "out_specs": spec}

    x = np.arange(4, dtype=np.float32)
    by_function = alike(body, options=grid)
    same(by_function(x, by=2.0, blocks=2), jnp.array([0.0, 2.0, 5.0, 7.0]))
    same(by_function(x, by=3.0, blocks=4), jnp.array([0.0, 4.0, 8.0, 12.0]))
    spec = pl.BlockSpec((2,), lambda i: (i,))
    by_mapping = alike(body, options={"grid": (2,), "in_specs": [spec], "out_specs": spec})
    same(by_mapping(x, by=2.0, blocks=2), jnp.array([0.0, 2.0, 5.0, 7.0]))


def test_several_results_have_a_spec_each() -> None:
    def body(x: Any, total: Any, last: Any) -> None:
        total[...] = jnp.sum(x[...], keepdims=True)
        last[...] = x[-1:] > 0

    operator = XLACustomKernel("two")
    operator.def_shape_rule(lambda x: (jax.ShapeDtypeStruct((2,), x.dtype), jax.ShapeDtypeStruct((2,), bool)))
    block, one = pl.BlockSpec((3,), lambda i: (i,)), pl.BlockSpec((1,), lambda i: (i,))
    operator.def_pallas_kernel(body, "cpu", options={"grid": (2,), "in_specs": [block], "out_specs": [one, one]})
    x = np.array([1, 2, -3, 4, 5, 6], np.float32)
    same(operator(x), (jnp.array([0.0, 15.0]), jnp.array([False, True])))


def test_an_operand_whose_buffer_the_result_takes_keeps_its_value() -> None:
    def body(_: Any, out: Any) -> None:
        out[0] = out[0] + 1

    x = jnp.zeros(2)
    same(alike(body, options={"input_output_aliases": {0: 0}})(x), jnp.array([1.0, 0.0]))
    same(x, jnp.zeros(2))


@pytest.mark.parametrize("options", [{"out_shape": None}, lambda *_: {"out_shape": None}, [("grid", (1,))]])
def test_options_that_pallas_call_does_not_take_from_here_are_an_error(options: Any) -> None:
    with pytest.raises(ParameterError, match=r"options: got .*; expected keyword arguments of pallas_call"):
        alike(double, options=options)(W)


def test_it_is_interpreted_on_the_cpu_only_and_by_option() -> None:
    compiled = XLACustomKernel("compiled")
    compiled.def_shape_rule(lambda x: x)
    compiled.def_kernel("pallas", "cpu", pallas_kernel(double, "cuda", {}))
    with pytest.raises(ValueError, match="Only interpret mode is supported on CPU backend"):
        compiled(W)
    compiled.def_kernel("pallas", "cpu", pallas_kernel(double, "cuda", {"interpret": True}))
    same(compiled(W), jnp.asarray(2 * W))


# What Pallas does not take.


def test_empty_operands_run_the_reference() -> None:
    operator = event_rows()
    same(operator(SPIKES[:0], W[:0]), jnp.zeros(2))
    same(jax.grad(lambda w: operator(SPIKES[:0], w).sum())(jnp.zeros((0, 2))), jnp.zeros((0, 2)))
    with pytest.raises(BackendRefusedError, match=r"cuts no blocks from an empty array, such as bool\[0\]"):
        operator(SPIKES[:0], W[:0], backend="pallas")
    same(operator(SPIKES, W[:, :0], backend="pallas"), jnp.zeros(0))


def test_empty_results_need_no_kernel() -> None:
    operator = XLACustomKernel("head")
    operator.def_shape_rule(lambda x, *, n: jax.ShapeDtypeStruct((n,), x.dtype))
    operator.def_pallas_kernel(lambda x, out, *, n: out.__setitem__(..., x[:n]), "cpu")
    same(operator(W[0], n=0), jnp.zeros(0))
    same(operator(W[0], n=1), jnp.zeros(1))


def test_complex_operands_and_results_are_refused() -> None:
    with pytest.raises(NoBackendError) as refused:
        alike(double)(W.astype(np.complex64))
    assert "Pallas has no complex arrays, such as c64[4,2]" in str(refused.value.exceptions[0])
    operator = XLACustomKernel("complex", reference=lambda x: jax.lax.complex(x, jnp.ones_like(x)))
    operator.def_shape_rule(lambda x: jax.ShapeDtypeStruct(x.shape, jnp.complex64))
    operator.def_pallas_kernel(double, "cpu")
    same(operator(W), jnp.asarray(W + 1j, jnp.complex64))
    with pytest.raises(BackendRefusedError, match=r"Pallas has no complex arrays, such as c64"):
        operator(W, backend="pallas")


def test_a_users_refusal_counts_too() -> None:
    operator = alike(double, supports=lambda in_avals: in_avals[0].ndim == 1 or "it takes vectors")
    same(operator(W[0]), jnp.asarray(2 * W[0]))
    with pytest.raises(BackendRefusedError, match="it takes vectors"):
        operator(W, backend="pallas")


def test_pallas_is_imported_by_the_first_call() -> None:
    program = """
import sys
import jax.numpy as jnp
from spikax_core import XLACustomKernel

def body(x, out):
    out[...] = x[...]

operator = XLACustomKernel("copy")
operator.def_shape_rule(lambda x: x)
operator.def_pallas_kernel(body, "cpu")
print("jax.experimental.pallas" in sys.modules)
operator(jnp.ones(2))
print("jax.experimental.pallas" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
