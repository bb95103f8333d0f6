"""make_jaxpr, eval_shape, StateFinder and named_scope: nothing is computed, and no State changes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import spikax_transform as st


class Model:
    """Three States: one read, one read and written, one written."""

    def __init__(self) -> None:
        self.w, self.v, self.out = (st.State(jnp.float32(i), name=n) for i, n in enumerate(("w", "v", "out"), 2))

    def step(self, x: Any) -> Any:
        self.v.value = self.v.value + self.w.value * x
        self.out.value = x
        return {"y": self.v.value, "z": self.out.value}


def test_make_jaxpr_takes_and_gives_states_after_arguments_and_results() -> None:
    model = Model()
    jaxpr, shapes, reads, writes = st.make_jaxpr(model.step, return_shape=True, return_states=True)(
        jax.ShapeDtypeStruct((4,), jnp.float32)
    )
    assert (reads, writes) == ([model.v, model.w], [model.v, model.out])
    assert shapes["y"].shape == (4,)
    values = (jnp.ones(4), jnp.float32(3), jnp.float32(2))
    y, z, v, out = jax.core.eval_jaxpr(jaxpr.jaxpr, jaxpr.consts, *values)
    np.testing.assert_array_equal([y, z, v, out], [[5] * 4, [1] * 4, [5] * 4, [1] * 4])
    assert (model.v.value, model.out.value) == (3, 4)


def test_make_jaxpr_without_states_is_that_of_jax() -> None:
    ours, theirs = (
        make(lambda x, y: {"a": jnp.sin(x) * y})(1.0, jnp.ones(2)) for make in (st.make_jaxpr, jax.make_jaxpr)
    )
    assert str(ours) == str(theirs)
    static: Any = st.make_jaxpr(lambda n, x: x * n, static_argnums=0)
    assert len(static(3, 1.0).jaxpr.invars) == 1


def test_the_python_runs_again_for_the_same_function_object() -> None:
    # raw jax.make_jaxpr and jax.eval_shape run no Python the second time
    factor, model = 1, Model()

    def f(x: Any) -> Any:
        return jnp.ones(factor) * x * model.w.value

    assert st.eval_shape(f, 1.0).shape == (1,)
    assert st.make_jaxpr(f, return_shape=True)(1.0)[1].shape == (1,)
    factor = 2
    assert st.eval_shape(f, 1.0).shape == (2,)
    assert st.make_jaxpr(f, return_shape=True)(1.0)[1].shape == (2,)


def test_eval_shape_gives_shapes_dtypes_and_weak_types() -> None:
    model = Model()
    got = st.eval_shape(model.step, x=jax.ShapeDtypeStruct((3, 1), jnp.float32))
    assert {name: leaf.shape for name, leaf in got.items()} == {"y": (3, 1), "z": (3, 1)}
    assert st.eval_shape(lambda: 1.0).weak_type
    assert (model.v.value, model.out.value) == (3, 4)


@pytest.mark.parametrize(("usage", "names"), [("all", "vwo"), ("read", "vw"), ("write", "vo")])
def test_state_finder_tells_reads_from_writes(usage: Any, names: str) -> None:
    model = Model()
    found = st.StateFinder(model.step, usage)(1.0)
    assert [state.name and state.name[0] for state in found] == list(names)
    assert model.v.value == 3


def test_state_finder_looks_into_nested_transforms_and_at_untaken_branches() -> None:
    model, other = Model(), st.State(jnp.float32(0))

    def f(x: Any) -> Any:
        st.jit(lambda x: st.for_loop(model.step, x))(x)
        return st.cond(False, lambda: other.value, lambda: 0.0)

    assert set(st.StateFinder(f)(jnp.ones(2))) == {model.v, model.w, model.out, other}
    assert st.StateFinder(lambda: 1)() == []


def test_finding_poisons_no_cache() -> None:
    # a naive discovery pass fills JAX's trace cache of the inner function with today's value
    v = st.State(jnp.float32(1))
    inner = st.jit(lambda x: x * v.value)
    st.StateFinder(lambda x: inner(x))(2.0)
    st.eval_shape(lambda x: inner(x), 2.0)
    st.make_jaxpr(lambda x: inner(x))(2.0)
    v.value = jnp.float32(5)
    assert inner(2.0) == 10


def test_make_jaxpr_is_a_decorator_of_methods() -> None:
    class Net(Model):
        @st.make_jaxpr
        def call(self, x: Any) -> Any:
            return self.w.value * x

        @st.make_jaxpr(static_argnums=-1, return_states=True)
        def power(self, x: Any, n: int) -> Any:
            return self.w.value * x**n

    net = Net()
    assert len(net.call(1.0).jaxpr.invars) == 2
    assert net.power(1.0, 2)[1:] == ([net.w], [])


def test_bad_input_is_an_error() -> None:
    v = st.State(jnp.float32(1))
    with pytest.raises(ValueError, match="usage='both'"):
        st.StateFinder(lambda: None, "both")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected a function"):
        st.StateFinder(3)  # type: ignore[arg-type]
    with pytest.raises(st.StateArgumentError, match="passed to"):
        st.StateFinder(lambda s: s.value)(v)
    with pytest.raises(TypeError, match="eval_shape got an argument of type object"):
        st.eval_shape(lambda x: x, object())


def test_a_named_scope_is_a_context_a_decorator_and_a_bare_decorator() -> None:
    v = st.State(jnp.float32(2))

    class Layer:
        @st.named_scope("method")
        def call(self, x: Any) -> Any:
            return v.value * x

    @st.named_scope
    def bare(x: Any) -> Any:
        with st.named_scope("block"):
            return jnp.sin(x)

    def program(x: Any) -> Any:
        return st.for_loop(lambda: bare(Layer().call(x)), length=2)

    text = str(_name_stacks(program))
    assert all(name in text for name in ("method", "bare/block"))
    assert bare.__name__ == "bare"


def _name_stacks(f: Any) -> list[str]:
    def walk(jaxpr: Any) -> list[str]:
        found = []
        for eqn in jaxpr.eqns:
            found.append(str(eqn.source_info.name_stack))
            for param in eqn.params.values():
                inner = getattr(param, "jaxpr", None)
                found += walk(inner) if hasattr(inner, "eqns") else []
        return found

    return walk(st.make_jaxpr(f)(1.0).jaxpr)
