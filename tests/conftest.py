"""Every suite runs as strictly as JAX allows, on four CPU devices."""

import os

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"

import jax
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.fixture
def key() -> jax.Array:
    """The one source of randomness that a test needs; split it for more."""
    return jax.random.key(0)
