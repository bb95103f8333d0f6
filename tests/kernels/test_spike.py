from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.test_util import check_grads

from spikax_kernels import CSR, BinaryArray, DTypeError
from spikax_kernels._errors import SurrogateError
from spikax_kernels._spike import spike


def logistic(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


# As the papers have them, in NumPy: (derivative, the alpha that is the default).
SURROGATES: Any = {
    "sigmoid": (lambda x, a: a * logistic(a * x) * (1 - logistic(a * x)), 4.0),
    "fast_sigmoid": (lambda x, a: (1 + a * np.abs(x)) ** -2.0, 10.0),
    "atan": (lambda x, a: (a / 2) / (1 + (np.pi / 2 * a * x) ** 2), 2.0),
    "triangle": (lambda x, a: np.where(np.abs(a * x) < 1, 1 - np.abs(a * x), 0), 1.0),
    "gaussian": (lambda x, a: np.exp(-0.5 * (x * a) ** 2) / (np.sqrt(2 * np.pi) / a), 2.0),
}
NAMES: Any = sorted(SURROGATES)
X = np.array([-3.0, -1.0, -0.3, -0.01, 0.0, 0.01, 0.4, 1.5], np.float32)


def derivative(x: Any, **options: Any) -> Any:
    return jax.vmap(jax.grad(lambda v: spike(v, **options)))(jnp.asarray(x))


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
def test_it_is_one_from_zero_on_and_keeps_the_dtype(dtype: Any) -> None:
    y = spike(jnp.array([-jnp.inf, -1, -1e-3, -0.0, 0, 1e-3, jnp.inf], dtype))
    assert y.dtype == dtype
    np.testing.assert_array_equal(y.astype(jnp.float32), [0, 0, 0, 1, 1, 1, 1])


def test_it_keeps_float64() -> None:
    with jax.enable_x64(True):
        x = jnp.array([0.3, -0.3])
        assert spike(x).dtype == jnp.float64
        got = jax.grad(lambda x: spike(x, surrogate="atan").sum())(x)
        np.testing.assert_allclose(got, SURROGATES["atan"][0](np.array([0.3, -0.3]), 2.0), rtol=1e-14)


def test_nan_does_not_spike_and_has_no_derivative() -> None:
    assert spike(jnp.nan) == 0
    for name in NAMES:
        assert jnp.isnan(jax.grad(lambda x, name=name: spike(x, surrogate=name))(jnp.nan))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("alpha", [None, 0.7, 5])
def test_the_derivative_is_the_closed_form(name: Any, alpha: float | None) -> None:
    formula, default = SURROGATES[name]
    expected = formula(X.astype(np.float64), alpha or default)
    np.testing.assert_allclose(derivative(X, surrogate=name, alpha=alpha), expected, rtol=2e-5, atol=1e-9)


@given(st.floats(-20, 20, width=32), st.floats(0.125, 20, width=32), st.sampled_from(NAMES))
def test_the_derivative_is_the_closed_form_anywhere(x: float, alpha: float, name: Any) -> None:
    got = jax.grad(lambda v: spike(v, surrogate=name, alpha=alpha))(jnp.float32(x))
    np.testing.assert_allclose(got, SURROGATES[name][0](np.float64(x), np.float64(alpha)), rtol=1e-4, atol=1e-5)


def test_the_default_is_the_sigmoid() -> None:
    np.testing.assert_array_equal(derivative(X), derivative(X, surrogate="sigmoid", alpha=4.0))


@pytest.mark.parametrize("name", NAMES)
def test_forward_and_reverse_mode_agree(name: Any) -> None:
    def f(x: jax.Array) -> jax.Array:
        return spike(x, surrogate=name)

    x = jnp.asarray(X)
    np.testing.assert_array_equal(jax.jacfwd(f)(x), jax.jacrev(f)(x))
    y, tangent = jax.jvp(f, (x,), (jnp.full_like(x, 2),))
    np.testing.assert_array_equal(y, X >= 0)
    np.testing.assert_allclose(
        tangent, 2 * SURROGATES[name][0](X, np.float32(SURROGATES[name][1])), rtol=1e-4, atol=1e-8
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_second_derivative_is_that_of_the_closed_form(name: Any) -> None:
    formula, alpha = SURROGATES[name]
    x, h = np.array([-0.7, -0.2, 0.3, 0.8]), 1e-5
    slope = (formula(x + h, alpha) - formula(x - h, alpha)) / (2 * h)
    got = jax.hessian(lambda x: spike(x, surrogate=name).sum())(jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(got, np.diag(slope), rtol=1e-3, atol=1e-4)


def test_it_is_the_same_under_jit_and_vmap() -> None:
    x = jnp.asarray(X).reshape(2, 4)
    for transform in (jax.jit, jax.vmap, jax.checkpoint):
        np.testing.assert_array_equal(transform(spike)(x), X.reshape(2, 4) >= 0)
    gradient = jax.grad(lambda x: jax.vmap(spike)(x).sum())
    np.testing.assert_allclose(jax.jit(gradient)(x), SURROGATES["sigmoid"][0](X, 4.0).reshape(2, 4), rtol=1e-4)


def test_alpha_may_differ_between_neurons_and_gets_no_gradient() -> None:
    alpha, x = jnp.array([1.0, 2.0, 4.0]), jnp.full(3, 0.5)

    def total(x: jax.Array, alpha: jax.Array) -> jax.Array:
        return spike(x, surrogate="triangle", alpha=alpha).sum()

    by_x, by_alpha = jax.jit(jax.grad(total, argnums=(0, 1)))(x, alpha)
    np.testing.assert_array_equal(by_x, [0.5, 0, 0])
    np.testing.assert_array_equal(by_alpha, [0, 0, 0])


def test_a_function_is_used_as_the_derivative() -> None:
    np.testing.assert_allclose(derivative(X, surrogate=lambda x: jnp.exp(-jnp.abs(x))), np.exp(-np.abs(X)), rtol=1e-6)


def test_a_function_may_hold_what_is_differentiated() -> None:
    def slope(beta: Any, x: Any) -> Any:
        return jax.grad(lambda x: spike(x, surrogate=lambda x: jnp.exp(-beta * x * x)))(x)

    by_beta, by_x = jax.jit(jax.grad(slope, argnums=(0, 1)))(2.0, 0.5)
    np.testing.assert_allclose(by_beta, -0.25 * np.exp(-0.5), rtol=1e-6)
    np.testing.assert_allclose(by_x, -2.0 * np.exp(-0.5), rtol=1e-6)
    np.testing.assert_allclose(
        jax.vmap(slope)(jnp.array([1.0, 2.0]), jnp.array([1.0, 0.5])), np.exp([-1.0, -0.5]), rtol=1e-6
    )


def test_gradients_of_the_surrogate_are_exact() -> None:
    # Away from the kinks of the absolute value and of the triangle.
    for name in NAMES:
        slope = jax.vmap(jax.grad(lambda x, name=name: spike(x, surrogate=name)))
        check_grads(slope, (jnp.array([-0.6, 0.35]),), order=1, atol=1e-2, rtol=1e-2)


def test_the_gradient_reaches_through_a_product_of_marked_events() -> None:
    weights = np.array([[1.0, 2.0], [4.0, 8.0]], np.float32)
    A = CSR.from_dense(weights)
    v = np.array([0.1, -0.2], np.float32)
    y, gradient = jax.value_and_grad(lambda v: jnp.sum(BinaryArray(spike(v)) @ A))(jnp.asarray(v))
    assert y == 3
    np.testing.assert_allclose(gradient, SURROGATES["sigmoid"][0](v, 4.0) * weights.sum(1), rtol=1e-5)


def test_what_is_not_floating_is_an_error() -> None:
    for x in (jnp.arange(3), jnp.array([True]), 3, jnp.array([1j])):
        with pytest.raises(DTypeError, match="expected a floating dtype"):
            spike(x)


def test_other_mistakes_are_errors_that_say_what_to_do() -> None:
    unknown: Any = "relu"
    with pytest.raises(SurrogateError, match=r"got 'relu'; expected sigmoid, fast_sigmoid, atan, .*or a function"):
        spike(1.0, surrogate=unknown)
    with pytest.raises(SurrogateError, match="alpha: got it with a function"):
        spike(1.0, surrogate=jnp.exp, alpha=2.0)
    with pytest.raises(SurrogateError, match=r"alpha: got shape \(2,\) for x of shape \(3,\)"):
        spike(jnp.ones(3), alpha=jnp.ones(2))
    with pytest.raises(SurrogateError, match=r"alpha: got shape \(3,\) for x of shape \(\)"):
        spike(1.0, alpha=jnp.ones(3))
    for function in (jnp.sum, lambda x: x > 0):
        with pytest.raises(SurrogateError, match="expected a floating number for each of x"):
            spike(jnp.ones(3), surrogate=function)
