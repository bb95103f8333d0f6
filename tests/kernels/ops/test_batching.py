"""``vmap`` over any operands of any operator: one native call that copies nothing."""

import itertools
from collections import Counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.kernels._oracle import COMPRESSED, OPERATORS, Array, Operator, assert_close, small, spikes

LANES = 3
OPERANDS = {operator.name: 2 if operator.name.startswith("dense") else 4 for operator in OPERATORS}
SUBSETS = [
    pytest.param(operator, subset, id=f"{operator.name}, {subset}")
    for operator in OPERATORS
    for size in range(1, OPERANDS[operator.name] + 1)
    for subset in itertools.combinations(range(OPERANDS[operator.name]), size)
]
over_subsets = pytest.mark.parametrize(("operator", "subset"), SUBSETS)
PRODUCTS = [operator for operator in OPERATORS if operator.name in ("scatter", "gather", "coo")]
each = pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: operator.name)


def operands(operator: Operator, seed: int = 0, *, homogeneous: bool = False) -> tuple[Array, ...]:
    if operator.name.startswith("dense"):
        return spikes(5, seed, lanes=(6,)), spikes(5 if "transposed" in operator.name else 6, seed + 1)
    data, indices, indptr = small(seed, homogeneous=homogeneous)
    if operator.name == "coo":
        rng = np.random.default_rng(seed)
        return data, rng.integers(0, 6, 17, np.int32), indices, spikes(6, seed)
    if operator.name == "sddmm":
        return spikes(6, seed), spikes(5, seed + 1), indices, indptr
    return data, indices, indptr, spikes(6 if operator.name == "scatter" else 5, seed)


def params(operator: Operator) -> dict[str, Any]:
    kinds: dict[str, dict[str, Any]] = {
        "scatter": {"cols": 5, "binary": False},
        "gather": {"rows": 6, "binary": False},
        "coo": {"size": 5, "binary": False},
        "dense": {"transpose": False, "binary": False},
        "dense, transposed": {"transpose": True, "binary": False},
        "sddmm": {"dtype": jnp.float32, "lanes": (), "binary": (False, False)},
    }
    return kinds[operator.name]


def batched(operator: Operator, subset: tuple[int, ...], **kind: bool) -> tuple[list[Array], list[int | None]]:
    """Operands of which those in ``subset`` differ from lane to lane, along axes of any position."""
    lanes = [operands(operator, seed, **kind) for seed in range(LANES)]
    args: list[Array] = list(lanes[0])
    axes: list[int | None] = [None] * len(args)
    for i in subset:
        axes[i] = i % 2
        args[i] = np.stack([lane[i] for lane in lanes], axis=i % 2)
    return args, axes


def call(operator: Operator) -> Any:
    return lambda *args: operator.call(*args, **params(operator))


def lane(args: list[Array], axes: list[int | None], index: int) -> list[Array]:
    return [arg if axis is None else arg.take(index, axis) for arg, axis in zip(args, axes, strict=True)]


@over_subsets
def test_each_lane_has_its_own_value(operator: Operator, subset: tuple[int, ...]) -> None:
    args, axes = batched(operator, subset)
    got = jax.vmap(call(operator), axes)(*args)
    assert_close(got, np.stack([operator.value(*lane(args, axes, i), **params(operator)) for i in range(LANES)]))


@over_subsets
def test_it_is_one_call_that_copies_nothing(operator: Operator, subset: tuple[int, ...]) -> None:
    args, axes = batched(operator, subset)
    function = jax.vmap(call(operator), axes)
    (bind,) = [eqn for eqn in jax.make_jaxpr(function)(*args).eqns if eqn.primitive.name.startswith("spikax")]
    assert [var.aval.shape[0] for var in bind.invars] == [LANES if i in subset else 1 for i in range(len(args))]
    text = jax.jit(function).lower(*args).as_text()
    assert text.count("custom_call @spikax") == 1
    assert "while" not in text


@each
def test_nested(operator: Operator) -> None:
    args, axes = batched(operator, (0, len(operands(operator)) - 1))
    outer = list(args)
    outer[0] = np.stack([args[0], -args[0]])
    function = jax.vmap(jax.vmap(call(operator), axes), (0, *[None] * (len(args) - 1)))
    got = function(*outer)
    text = jax.jit(function).lower(*outer).as_text()
    expected = [
        [operator.value(*lane([first, *args[1:]], axes, i), **params(operator)) for i in range(LANES)]
        for first in outer[0]
    ]
    assert_close(got, np.array(expected))
    assert text.count("custom_call @spikax") == 1


@each
def test_a_batch_of_size_zero(operator: Operator) -> None:
    args, _ = batched(operator, ())
    empty = np.zeros((0, *args[0].shape), args[0].dtype)
    got = jax.vmap(call(operator), (0, *[None] * (len(args) - 1)))(empty, *args[1:])
    assert got.shape == (0, *operator.value(*args, **params(operator)).shape)


@pytest.mark.parametrize("operator", PRODUCTS, ids=lambda operator: operator.name)
@pytest.mark.parametrize("subset", [(0,), (1, 2), (3,), (0, 3), (0, 1, 2, 3)], ids=str)
@pytest.mark.parametrize("homogeneous", [False, True], ids=["per entry", "homogeneous"])
def test_gradients_in_lanes(operator: Operator, subset: tuple[int, ...], homogeneous: bool) -> None:
    args, axes = batched(operator, subset, homogeneous=homogeneous)

    def loss(*args: Any) -> jax.Array:
        return jnp.sum(call(operator)(*args) ** 2)

    gradient = jax.grad(loss, argnums=(0, 3))
    got = jax.vmap(gradient, axes)(*args)
    one_by_one = [gradient(*lane(args, axes, i)) for i in range(LANES)]
    assert_close(got, jax.tree.map(lambda *lanes: np.stack(lanes), *one_by_one))


@pytest.mark.parametrize("operator", OPERATORS[:2], ids=lambda operator: operator.name)
def test_a_gradient_in_lanes_has_one_call_for_each_derivative(operator: Operator) -> None:
    args, axes = batched(operator, (3,))
    gradient = jax.grad(lambda *args: jnp.sum(call(operator)(*args) ** 2), argnums=(0, 3))
    text = jax.jit(jax.vmap(gradient, axes)).lower(*args).as_text()
    targets = Counter(other.target for other in COMPRESSED)
    assert {target: text.count(f"custom_call @{target}(") for target in targets} == targets


@each
def test_lane_axes_of_length_one_serve_all_lanes(operator: Operator) -> None:
    first, *rest = operands(operator)
    lead = np.stack([first, -first, 2 * first])
    kind = params(operator) | ({"lanes": (LANES,)} if operator.name == "sddmm" else {})
    got = operator.call(lead, *(arg[None] for arg in rest), **kind)
    assert_close(got, operator.value(lead, *(arg[None] for arg in rest), **kind))
