"""Every suite runs as strictly as JAX allows, on four CPU devices."""

import os

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"

import hypothesis
import jax
import pytest

hypothesis.settings.register_profile("untimed", deadline=None)  # the first example compiles
hypothesis.settings.load_profile("untimed")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_default_matmul_precision", "highest")  # a GPU would round what products are compared with


@pytest.fixture
def key() -> jax.Array:
    """The one source of randomness that a test needs; split it for more."""
    return jax.random.key(0)
