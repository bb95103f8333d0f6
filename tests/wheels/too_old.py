"""A JAX older than the kernels were built for is refused, and goes on working itself: run by `nox -s wheels`."""

import jax

try:
    import spikax_kernels
except ImportError as error:
    print(f"JAX {jax.__version__} is refused: {error}")
    assert "FFI" in str(error)
    assert "jax>=0.9" in str(error).replace(" ", "")
else:
    raise SystemExit(f"spikax_kernels {spikax_kernels.__version__} accepts JAX {jax.__version__}")

assert int(jax.numpy.arange(4).sum()) == 6
