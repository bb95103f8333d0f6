"""A checkpoint library that knows nothing of States saves and restores a model."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

import spikax_transform as st


class Net:
    """States of several kinds in several places."""

    def __init__(self, fill: float) -> None:
        self.w = st.ParamState(jnp.full((2, 3), fill))
        self.layers = [{"v": st.State[Any]({"a": jnp.arange(3.0) * fill})}]
        self.rng = st.RandomState(int(fill))


def test_orbax_saves_and_restores_a_model(tmp_path: Path) -> None:
    saved, restored = Net(3.0), Net(0.0)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "net", st.to_pytree(saved))
    with ocp.StandardCheckpointer() as checkpointer:
        st.update_from_pytree(restored, checkpointer.restore(tmp_path / "net", st.to_pytree(restored)))
    np.testing.assert_array_equal(restored.w.value, saved.w.value)
    np.testing.assert_array_equal(restored.layers[0]["v"].value["a"], [0, 3, 6])
    assert jax.random.uniform(restored.rng.split_key()) == jax.random.uniform(saved.rng.split_key())
