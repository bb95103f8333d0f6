"""Networks of States and sparse products, against NumPy and plain JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikax_core import use_backend
from spikax_kernels import CSR, BinaryArray
from spikax_transform import HiddenState, ParamState, for_loop, grad, jacrev, jit

STEPS = 20


class Integrator:
    """Neurons that add up what arrives and fire at 1."""

    def __init__(self, weights: np.ndarray) -> None:
        self.synapses = CSR.from_dense(weights)
        self.data = ParamState(self.synapses.data)
        self.v = HiddenState(jnp.linspace(0, 1.5, weights.shape[0], dtype=jnp.float32))

    def update(self) -> jax.Array:
        spikes = self.v.value >= 1
        self.v.value = jnp.where(spikes, 0.0, 0.9 * self.v.value) + spikes @ self.synapses.with_data(self.data.value)
        return spikes


def in_numpy(weights: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Who fires in each step, and the potentials after the last."""
    fired = []
    for _ in range(STEPS):
        spikes = v >= 1
        v = np.where(spikes, 0, np.float32(0.9) * v) + spikes @ weights
        fired.append(spikes)
    return np.array(fired), v


@pytest.fixture
def weights() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.where(rng.random((50, 50)) < 0.2, rng.normal(size=(50, 50)), 0).astype(np.float32)


@pytest.mark.parametrize("backend", ["cpp", "reference"])
@pytest.mark.parametrize("how", ["steps", "jitted steps", "loop", "jitted loop"])
def test_a_network_fires_as_in_numpy(weights: np.ndarray, how: str, backend: str) -> None:
    net = Integrator(weights)
    expected, v = in_numpy(weights, np.asarray(net.v.value))

    def loop() -> jax.Array:
        return for_loop(net.update, length=STEPS)

    with use_backend(backend):
        if "steps" in how:
            update = jit(net.update) if "jitted" in how else net.update
            fired = np.array([update() for _ in range(STEPS)])
        else:
            fired = np.asarray(jit(loop)() if "jitted" in how else loop())
    np.testing.assert_array_equal(fired, expected)
    np.testing.assert_allclose(net.v.value, v, rtol=1e-4, atol=1e-5)
    assert expected.any(axis=1).all()


def test_gradient_of_synaptic_weights_through_a_loop_equals_that_of_dense_jax(weights: np.ndarray) -> None:
    net = Integrator(weights)
    v0 = net.v.value

    def loss() -> jax.Array:
        for_loop(net.update, length=STEPS)
        return (net.v.value**2).sum()

    def dense_loss(matrix: jax.Array) -> jax.Array:
        def step(v: jax.Array, _: None) -> tuple[jax.Array, None]:
            spikes = v >= 1
            return jnp.where(spikes, 0.0, 0.9 * v) + spikes.astype(jnp.float32) @ matrix, None

        return (jax.lax.scan(step, v0, None, length=STEPS)[0] ** 2).sum()

    expected = np.asarray(jax.grad(dense_loss)(jnp.asarray(weights)))[weights != 0]
    np.testing.assert_allclose(grad(loss, grad_states=net.data)(), expected, rtol=1e-3, atol=1e-4)
    net.v.value = v0
    np.testing.assert_allclose(jit(grad(loss, grad_states=net.data))(), expected, rtol=1e-3, atol=1e-4)
    assert np.count_nonzero(expected) > expected.size / 2


def test_jacobian_over_a_state_of_a_sparse_product_is_the_matrix(weights: np.ndarray) -> None:
    synapses, x = CSR.from_dense(weights), HiddenState(jnp.ones(50, jnp.float32))
    jacobian = jacrev(lambda: x.value @ synapses, grad_states=x)()
    np.testing.assert_allclose(jacobian, weights.T, rtol=1e-6)


def test_straight_through_gradient_reaches_a_state_through_binary_events(weights: np.ndarray) -> None:
    synapses, x = CSR.from_dense(weights), HiddenState(jnp.linspace(-1, 1, 50, dtype=jnp.float32))
    cotangent = jnp.arange(50, dtype=jnp.float32)
    gradient = grad(lambda: ((BinaryArray(x.value) @ synapses) * cotangent).sum(), grad_states=x)()
    np.testing.assert_allclose(gradient, weights @ np.asarray(cotangent), rtol=1e-5, atol=1e-4)


def test_a_matrix_may_be_a_state(weights: np.ndarray) -> None:
    synapses = HiddenState(CSR.from_dense(weights))
    spikes = jnp.arange(50) % 3 == 0

    @jit
    def double() -> jax.Array:
        synapses.value = synapses.value.with_data(2 * synapses.value.data)
        return spikes @ synapses.value

    for factor in (2, 4):
        np.testing.assert_allclose(double(), factor * (np.asarray(spikes) @ weights), rtol=1e-5, atol=1e-5)
