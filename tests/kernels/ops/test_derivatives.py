"""Derivatives of every operator: those of the dense product, in every way that JAX can ask for them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikax_kernels.ops.gather.op import gather
from spikax_kernels.ops.scatter.op import scatter
from tests.kernels._oracle import FUNCTIONS, Array, Function, assert_close, small, spikes

LINEAR = [function for function in FUNCTIONS if not function.name.startswith("sddmm, (True")]
"""Those that are linear in their first argument."""
each = pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.name)


def tangents(function: Function, seed: int = 7) -> tuple[Array, ...]:
    rng = np.random.default_rng(seed)
    return tuple(rng.normal(size=arg.shape).astype(arg.dtype) for arg in function.args)


def cotangent(function: Function) -> Array:
    out = jax.eval_shape(function.ours, *function.args)
    return np.random.default_rng(8).normal(size=out.shape).astype(out.dtype)


def curved(call: Any) -> Any:
    """A scalar with second derivatives in and between all arguments."""
    return lambda first, second: jnp.sum(jnp.sin(call(first, second)) ** 2)


@each
def test_forward_mode(function: Function) -> None:
    for primals, tangents_in in (
        (function.args, tangents(function)),
        (function.args, (tangents(function)[0], np.zeros_like(function.args[1]))),
    ):
        got = jax.jvp(function.ours, primals, tangents_in)
        assert_close(got, jax.jvp(function.dense, primals, tangents_in))


@each
def test_reverse_mode(function: Function) -> None:
    got, expected = (jax.vjp(call, *function.args)[1](cotangent(function)) for call in (function.ours, function.dense))
    assert_close(got, expected)


@each
@pytest.mark.parametrize("argument", [0, 1])
def test_reverse_mode_by_one_argument_alone(function: Function, argument: int) -> None:
    got, expected = (
        jax.jit(jax.grad(curved(call), argument))(*function.args) for call in (function.ours, function.dense)
    )
    assert_close(got, expected)


@each
def test_hessian(function: Function) -> None:
    got, expected = (
        jax.jit(jax.hessian(curved(call), argnums=(0, 1)))(*function.args) for call in (function.ours, function.dense)
    )
    assert_close(got, expected)


@each
def test_forward_and_reverse_mode_agree(function: Function) -> None:
    forward, reverse = (
        jax.jit(mode(function.ours, argnums=(0, 1)))(*function.args) for mode in (jax.jacfwd, jax.jacrev)
    )
    assert_close(forward, reverse)


@each
def test_linearize(function: Function) -> None:
    out, linear = jax.linearize(function.ours, *function.args)
    assert_close((out, linear(*tangents(function))), jax.jvp(function.dense, function.args, tangents(function)))


@each
def test_checkpoint(function: Function) -> None:
    got = jax.jit(jax.grad(curved(jax.checkpoint(function.ours)), argnums=(0, 1)))(*function.args)
    assert_close(got, jax.jit(jax.grad(curved(function.dense), argnums=(0, 1)))(*function.args))


@pytest.mark.parametrize("function", LINEAR, ids=lambda function: function.name)
def test_linear_transpose(function: Function) -> None:
    first, second = function.args
    (got,) = jax.linear_transpose(lambda first: function.ours(first, second), first)(cotangent(function))
    assert_close(got, jax.vjp(lambda first: function.dense(first, second), first)[1](cotangent(function))[0])


def test_structure_gets_float0() -> None:
    data, indices, indptr = small()
    x = spikes(6)
    call = jax.grad(lambda *args: scatter(*args, cols=5).sum(), argnums=(0, 1, 2, 3), allow_int=True)
    ct_data, ct_indices, ct_indptr, ct_x = call(data, indices, indptr, x)
    assert (ct_data.dtype, ct_x.dtype) == (jnp.float32, jnp.float32)
    assert (ct_indices.dtype, ct_indptr.dtype) == (jax.dtypes.float0, jax.dtypes.float0)
    assert (ct_indices.shape, ct_indptr.shape) == (indices.shape, indptr.shape)


def test_bool_events_get_float0() -> None:
    data, indices, indptr = small()
    events = spikes(6) != 0
    got = jax.grad(lambda x: scatter(data, indices, indptr, x, cols=5).sum(), allow_int=True)(events)
    assert got.dtype == jax.dtypes.float0


@pytest.mark.parametrize("binary", [False, True])
def test_lanes_that_share_an_operand_add_up_in_its_gradient(binary: bool) -> None:
    data, indices, indptr = small()
    x = spikes(6, lanes=(3,))
    shared = jax.grad(lambda d: jnp.sum(scatter(d[None], indices[None], indptr[None], x, cols=5, binary=binary) ** 2))(
        data
    )
    apart = sum(
        np.asarray(
            jax.grad(lambda d, e=event: jnp.sum(scatter(d, indices, indptr, e, cols=5, binary=binary) ** 2))(data)
        )
        for event in x
    )
    assert_close(shared, apart)


def test_integer_weights_cut_the_gradient_of_events() -> None:
    _, indices, indptr = small()
    weights = jnp.arange(len(indices), dtype=jnp.int32)

    def loss(x: jax.Array) -> jax.Array:
        delivered = scatter(weights, indices, indptr, x, cols=5, binary=True)
        return jnp.sum(delivered.astype(jnp.float32)) + 3 * jnp.sum(x)

    assert_close(jax.grad(loss)(spikes(6)), np.full(6, 3.0))


@pytest.mark.parametrize("homogeneous", [False, True])
def test_where_no_event_arrives_an_infinite_cotangent_reaches_no_weight(homogeneous: bool) -> None:
    data, indices, indptr = small(homogeneous=homogeneous)
    nothing = jnp.zeros(6, bool)
    rates = jnp.sqrt  # its derivative at zero is infinite
    gradient = jax.grad(lambda d: rates(scatter(d, indices, indptr, nothing, cols=5)).sum())(data)
    assert_close(gradient, np.zeros_like(data))
    gradient = jax.grad(lambda d: rates(gather(d, indices, indptr, jnp.zeros(5, bool), rows=6)).sum())(data)
    assert_close(gradient, np.zeros_like(data))
