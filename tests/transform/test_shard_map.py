"""shard_map: States divided over devices, or the same on all; and jit with shardings."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import spikax_transform as st
from tests.transform.counting import Counted, compiles

P = jax.P


@pytest.fixture
def mesh() -> Iterator[Any]:
    mesh = jax.make_mesh((4,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
    with jax.set_mesh(mesh):
        yield mesh


class Model:
    """A divided potential and a shared weight."""

    def __init__(self) -> None:
        self.v, self.w = st.State(jnp.arange(8.0), name="v"), st.ParamState(jnp.float32(2), name="w")

    def step(self, x: Any) -> Any:
        self.v.value = self.v.value * self.w.value + x
        return jax.lax.psum(self.v.value.sum(), "d")


@pytest.mark.parametrize("outer", [lambda f: f, st.jit], ids=["eager", "jit"])
def test_each_device_has_its_part_of_a_divided_state(mesh: Any, outer: Any) -> None:
    model = Model()
    step = outer(st.shard_map(model.step, mesh, P("d"), P(), state_in_specs={P("d"): [model.v]}))
    assert step(jnp.ones(8)) == 64
    np.testing.assert_array_equal(model.v.value, 2 * np.arange(8) + 1)
    assert model.v.value.sharding.is_equivalent_to(jax.NamedSharding(mesh, P("d")), 1)
    assert (step(jnp.ones(8)), model.w.value) == (136, 2)


def test_gradients_equal_the_undivided_function(mesh: Any) -> None:
    def pure(w: Any, v: Any, x: Any) -> Any:
        return (v * w + x).sum()

    expected = jax.grad(pure, (0, 1, 2))(jnp.float32(2), jnp.arange(8.0), jnp.ones(8))
    for outer in (lambda f: f, st.jit):
        model = Model()
        step = st.shard_map(model.step, mesh, P("d"), P(), state_in_specs={P("d"): model.v})
        (w, v), x = outer(st.grad(step, [model.w, model.v], 0))(jnp.ones(8))
        for ours, theirs in zip((w, v, x), expected, strict=True):
            np.testing.assert_allclose(ours, theirs)


def test_a_repeated_eager_call_runs_the_python_and_compiles_nothing(mesh: Any) -> None:
    model = Model()
    body = Counted(lambda x: model.step(x))

    def call() -> Any:
        return st.shard_map(lambda x: body(x), mesh, P("d"), P(), state_in_specs={P("d"): model.v})

    x = jnp.ones(8)
    call()(x)
    call()(x)  # the State is divided now
    runs = body.runs
    with compiles() as count:
        call()(x)
        compiled = count()
    assert compiled == 0
    assert runs < body.runs <= runs + 2  # once more for the shared weight, which is not declared


def test_loops_branches_and_pytrees_work_inside(mesh: Any) -> None:
    v: st.State[Any] = st.State({"a": jnp.zeros(8), "n": (jnp.arange(4),)})

    def body(x: Any) -> Any:
        def step(_: Any) -> None:
            v.value = {"a": v.value["a"] + x, "n": (v.value["n"][0] + 1,)}

        st.for_loop(step, jnp.zeros(3))
        return st.cond(jax.lax.axis_index("d") == 1, lambda x: -x, lambda x: x, x)

    out = st.shard_map(body, mesh, P("d"), P("d"), state_in_specs={P("d"): v})(jnp.ones(8))
    np.testing.assert_array_equal(out, [1, 1, -1, -1, 1, 1, 1, 1])
    np.testing.assert_array_equal(v.value["a"], np.full(8, 3))
    np.testing.assert_array_equal(v.value["n"][0], np.arange(4) + 3)


def test_out_specs_of_states_put_parts_together_differently(mesh: Any) -> None:
    v: st.State[Any] = st.State(jnp.ones((2, 4)))
    swap = lambda: setattr(v, "value", v.value.T)  # noqa: E731
    st.shard_map(swap, mesh, (), None, state_in_specs={P(None, "d"): v}, state_out_specs={P("d"): v})()
    assert v.value.shape == (4, 2)


def test_a_write_that_differs_between_devices_names_the_state(mesh: Any) -> None:
    w = st.State(jnp.float32(0), name="w")
    with pytest.raises(st.StateAxesError, match=r"along \['d'\] to State 'w' created at .*test_shard_map\.py"):
        st.shard_map(lambda x: setattr(w, "value", x.sum()), mesh, P("d"), None)(jnp.ones(8))
    assert w.value == 0
    st.shard_map(lambda x: setattr(w, "value", jax.lax.pmax(x.sum(), "d")), mesh, P("d"), None)(jnp.arange(8.0))
    assert w.value == 13


def test_a_random_state_is_the_same_on_all_devices_and_advances_once(mesh: Any) -> None:
    rng, twin = st.RandomState(0), st.RandomState(0)

    def draw() -> Any:
        key = jax.random.fold_in(rng.split_key(), jax.lax.axis_index("d"))
        return jax.random.uniform(key, (1,))

    drawn = st.shard_map(draw, mesh, (), P("d"))()
    assert len(set(drawn.tolist())) == 4
    twin.split_key()
    assert (rng.value == twin.value).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"state_in_specs": P("d")}, "expected {PartitionSpec: States}"),
        ({"state_in_specs": {"d": []}, "state_out_specs": {"d": [1]}}, "state_out_specs with str: int"),
    ],
    ids=["no dictionary", "no spec"],
)
def test_specs_that_make_no_sense_are_errors(mesh: Any, options: Any, message: str) -> None:
    with pytest.raises(st.StateAxesError, match=message):
        st.shard_map(lambda: None, mesh, (), None, **options)


def test_a_state_under_two_specs_and_keyword_arguments_are_errors(mesh: Any) -> None:
    v = st.State(jnp.ones(8))
    with pytest.raises(st.StateAxesError, match="under two specs"):
        st.shard_map(lambda: None, mesh, (), None, state_in_specs={P("d"): v, P(): [v]})
    mapped: Any = st.shard_map(lambda x: x, mesh, P("d"), P("d"))
    with pytest.raises(TypeError, match="keyword arguments"):
        mapped(x=jnp.ones(8))


def test_shard_map_decorates_methods_and_restores_on_exception(mesh: Any) -> None:
    class Net(Model):
        @st.shard_map(mesh=None, in_specs=P("d"), out_specs=P("d"))
        def scale(self, x: Any) -> Any:
            return x * self.w.value

        @st.shard_map(mesh=None, in_specs=P("d"), out_specs=P("d"))
        def fail(self, x: Any) -> Any:
            self.w.value = self.w.value + 1
            raise KeyError("user")

    net = Net()
    np.testing.assert_array_equal(net.scale(jnp.ones(8)), np.full(8, 2))
    with pytest.raises(KeyError, match="user"):
        net.fail(jnp.ones(8))
    assert net.w.value == 2


def test_jit_of_a_divided_state_keeps_its_sharding_under_in_and_out_shardings(mesh: Any) -> None:
    split = jax.NamedSharding(mesh, P("d"))
    v = st.State(jax.device_put(jnp.zeros(8), split))

    @st.jit(in_shardings=split, out_shardings=split, donate_states=True)
    def step(x: Any) -> Any:
        v.value = v.value + x
        return v.value * 2

    for _ in range(2):
        assert step(jax.device_put(jnp.ones(8), split)).sharding == split
    assert v.value.sharding.is_equivalent_to(split, 1)
    np.testing.assert_array_equal(v.value, np.full(8, 2))
