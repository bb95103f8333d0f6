"""Traps that a naive engine of mutable state falls into, each for every transform. Gradients have theirs beside."""

import gc
import threading
import weakref
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import spikax_transform as st
from tests.transform.transforms import CASES, Model

X = jnp.float32(0.4)
TRACES = {"shard_map": 2}  # which asks once more for the States that are not declared


@pytest.mark.parametrize("name", CASES)
def test_hooks_run_as_often_as_the_users_code_reads_and_writes(name: str) -> None:
    # a naive engine runs them again for each of its own reads and writes, and so once more around each loop
    model, reads, writes = Model(), [], []
    model.v.on_read(lambda state, value: reads.append(1))
    model.v.on_write(lambda state, value: writes.append(1))
    CASES[name].ours(model, model.step)(X)
    assert (len(reads), len(writes)) == (2 * TRACES.get(name, 1), TRACES.get(name, 1))


@pytest.mark.parametrize("name", CASES)
def test_what_a_write_hook_returns_is_part_of_the_program(name: str) -> None:
    model = Model()
    model.v.on_write(lambda state, value: jnp.zeros_like(value) + 3.0)
    CASES[name].ours(model, model.step)(X)
    assert (model.v.value == 3).all()


@pytest.mark.parametrize("name", CASES)
def test_closures_and_flags_that_changed_between_eager_calls_are_seen(name: str) -> None:
    # JAX's own caches give the first result again for the same function
    if name == "jit":
        pytest.skip("jit follows jax.jit: closures are constants")
    model, factor = Model(), [jnp.float32(0)]
    body = lambda x: model.w.value * x * factor[0]  # noqa: E731
    run = CASES[name].ours(model, body)
    assert run(X) == 0
    factor[0] = jnp.float32(2)
    assert run(X) != 0


@pytest.mark.parametrize("name", CASES)
def test_a_state_that_was_replaced_is_used_and_the_old_one_left_alone(name: str) -> None:
    # a naive engine goes on with the States that it discovered first
    model = Model()
    run = CASES[name].ours(model, lambda x: model.w.value * x)
    first, old = run(X), model.w
    model.w = st.ParamState(jnp.float32(7))
    assert run(X) != first
    assert run(X) == CASES[name].ours(model, lambda x: 7 * x)(X)
    assert old.value == jnp.float32(0.7)


@pytest.mark.parametrize("name", CASES)
def test_raw_jit_around_it_leaves_no_tracer(name: str) -> None:
    # a naive engine writes the tracer of jax.jit into the State
    model = Model()
    before = model.v.value
    with pytest.raises(st.RawTransformError):
        jax.jit(CASES[name].ours(model, model.step))(X)
    assert model.v.value is before


@pytest.mark.parametrize("name", CASES)
def test_another_thread_sees_values_and_no_tracers(name: str) -> None:
    model, seen = Model(), []

    def body(x: Any) -> Any:
        y = model.step(x)
        reader = threading.Thread(target=lambda: seen.append(model.v.value))
        reader.start()
        reader.join()
        return y

    before = model.v.value
    CASES[name].ours(model, body)(X)
    assert all(value is before for value in seen)
    assert len(seen) == TRACES.get(name, 1)


@pytest.mark.parametrize("name", CASES)
def test_no_cache_keeps_a_model_or_its_states_alive(name: str) -> None:
    # a cache by the function, or of a trace with its States, does
    def use() -> tuple[Any, Any]:
        model = Model()
        CASES[name].ours(model, model.step)(X)
        return weakref.ref(model), weakref.ref(model.v)

    references = use()
    gc.collect()
    assert [reference() for reference in references] == [None, None]


@pytest.mark.parametrize("name", CASES)
def test_a_state_made_inside_and_read_afterwards_has_its_value_or_names_its_line(name: str) -> None:
    model, born = Model(), []

    def body(x: Any) -> Any:
        born.append(st.State(x * 2))
        return model.step(x) * born[-1].value

    CASES[name].ours(model, body)(X)
    if name == "jit":
        assert born[-1].value == 2 * X
        return
    with pytest.raises(st.StateUnavailableError, match=r"test_traps\.py:\d+ has no value"):
        _ = born[-1].value


@pytest.mark.parametrize("disabled", [False, True], ids=["compiled", "disable_jit"])
@pytest.mark.parametrize("name", CASES)
def test_constants_come_out_as_arrays_or_as_they_went_in(name: str, disabled: bool) -> None:
    # JAX writes Python numbers into programs as literals of classes of its own, which must not get out
    v, model = st.State[Any](0.0), Model()

    def body(x: Any) -> Any:
        v.value = 2.0
        return x * 1.0

    with jax.disable_jit(disabled):
        if disabled and name == "shard_map":
            pytest.skip("jax.shard_map itself needs jit where an axis is not divided")
        CASES[name].ours(model, body)(X)
    assert type(v.value) is float or isinstance(v.value, jax.Array)
    assert v.value == 2


@pytest.mark.parametrize("name", CASES)
def test_a_state_is_neither_an_argument_nor_a_result(name: str) -> None:
    model = Model()
    plain: dict[str, Any] = {"jit": st.jit, "checkpoint": st.checkpoint, "vmap": st.vmap, "checkify": st.checkify}
    with pytest.raises(st.StateArgumentError, match=r"returned from.*[Cc]lose over"):
        CASES[name].ours(model, lambda x: model.v)(X)
    if name in plain:
        with pytest.raises(st.StateArgumentError, match=r"passed to.*[Cc]lose over"):
            plain[name](lambda s: s.value)(model.v)


@pytest.mark.parametrize("name", ["for_loop", "while_loop", "bounded", "checkpointed"])
def test_a_strong_state_stays_strong_and_a_weak_one_takes_the_bodys_type(name: str) -> None:
    # a naive carry is traced with the weak type of the first value, and then refuses or rounds the second
    model, n = Model(), st.State[Any](0)

    def body(x: Any) -> Any:
        n.value = n.value + x
        model.w.value = 0.0
        return x

    CASES[name].ours(model, body)(X)
    assert (n.value.dtype, model.w.value.dtype, model.w.value.weak_type) == (jnp.float32, jnp.float32, False)
    assert n.value > 0.5
