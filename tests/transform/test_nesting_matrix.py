"""Any transform within any other, and within a third: what comes out is that of the pure function of JAX."""

import itertools
import random
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.transform.counting import compiles
from tests.transform.transforms import CASES, Model, Pure, Stateful, W, step


def _allowed(names: tuple[str, ...]) -> bool:
    """JAX has no reverse mode of a while loop, and no `shard_map` over the axes of one around."""
    within = set()
    for name in names[::-1]:
        if (CASES[name].reverse and "while_loop" in within) or (name == "shard_map" and name in within):
            return False
        within.add(name)
    return True


PAIRS = [names for names in itertools.product(CASES, repeat=2) if _allowed(names)]
TRIPLES = [names for names in itertools.product(CASES, repeat=3) if _allowed(names)]
SOME_TRIPLES = random.Random(0).sample(TRIPLES, 24)  # of some 1600; each transform is in six of them, on average


@pytest.mark.parametrize("names", [*PAIRS, *SOME_TRIPLES], ids=" of ".join)
def test_transforms_nest_in_any_order(names: tuple[str, ...]) -> None:
    model = Model()
    ours: Stateful = model.step
    pure: Pure = step
    for name in names[::-1]:
        ours, pure = CASES[name].ours(model, ours), CASES[name].pure(pure)
    x = jnp.float32(0.4)
    y = ours(x)
    v, expected = jax.jit(pure)(Model().v.value, x)
    np.testing.assert_allclose(y, expected, rtol=2e-5, atol=1e-5)
    np.testing.assert_allclose(model.v.value, v, rtol=2e-5, atol=1e-5)
    assert model.w.value is W
    if "shard_map" in names:
        ours(x)  # the States are on the mesh now, for which programs are others
    with compiles() as count:
        ours(x)
        compiled = count()
    assert compiled == 0


@pytest.mark.parametrize("name", CASES)
def test_a_function_without_states_may_be_transformed_and_one_that_raises_restores(name: str) -> None:
    model = Model()
    plain = CASES[name].ours(model, jnp.sin)(jnp.float32(0.4))
    expected = CASES[name].pure(lambda v, x: (v, jnp.sin(x)))(model.v.value, jnp.float32(0.4))[1]
    np.testing.assert_allclose(plain, expected, rtol=1e-5)
    before = model.v.value

    def fail(x: Any) -> Any:
        model.step(x)
        raise KeyError("user")

    with pytest.raises(KeyError, match="user"):
        CASES[name].ours(model, fail)(jnp.float32(0.4))
    assert model.v.value is before


@pytest.mark.parametrize("name", CASES)
def test_each_transform_runs_the_python_once_a_call_and_leaks_nothing(name: str) -> None:
    model, runs = Model(), []

    def body(x: Any) -> Any:
        runs.append(1)
        return model.step(x)

    with jax.checking_leaks():
        CASES[name].ours(model, body)(jnp.float32(0.4))
    # shard_map asks once more for the States that are not declared
    assert len(runs) == (2 if name == "shard_map" else 1)
    assert not isinstance(model.v.value, jax.core.Tracer)
