"""Progress bars: the same results, one report per block, and safe in every transform."""

import io
import sys
from collections.abc import Iterator
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import spikax_transform as st

pytest.importorskip("tqdm")


class Terminal(io.StringIO):
    """A standard error that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Bar:
    """A bar that only remembers."""

    made: ClassVar[list["Bar"]] = []

    def __init__(self, total: int, desc: str | None, disable: bool | None) -> None:
        self.total, self.desc, self.disable = total, desc, disable
        self.steps: list[int] = []
        self.closed = False
        Bar.made.append(self)

    def update(self, count: int) -> None:
        self.steps.append(count)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Bar]]:
    # not sys.stderr, which pytest replaces between a fixture and its test
    monkeypatch.setattr("spikax_transform._progress._is_terminal", lambda: True)
    monkeypatch.setattr("tqdm.tqdm", Bar)
    Bar.made.clear()
    yield Bar.made
    Bar.made.clear()


def run(progress: Any, n: int, reverse: bool = False) -> tuple[Any, Any]:
    v = st.State(jnp.float32(1))

    def step(x: Any) -> Any:
        v.value = 0.5 * v.value + x
        return {"v": v.value, "pair": jnp.stack([x, x])}

    return st.for_loop(step, jnp.arange(float(n)), reverse=reverse, progress=progress), v.value


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("n", [0, 1, 7])
@pytest.mark.parametrize("progress", [True, 3, 50, st.ProgressBar(count=4)], ids=repr)
def test_a_loop_with_a_bar_gives_what_it_gives_without(bars: list[Bar], progress: Any, n: int, reverse: bool) -> None:
    expected = run(None, n, reverse)
    jax.tree.map(np.testing.assert_array_equal, run(progress, n, reverse), expected)
    jax.effects_barrier()
    assert sum(sum(bar.steps) for bar in bars) == n
    assert all(bar.closed for bar in bars)


def test_it_reports_once_per_block_and_no_more(bars: list[Bar]) -> None:
    run(st.ProgressBar(freq=3, desc="here"), 10)
    jax.effects_barrier()
    (bar,) = bars
    assert (bar.total, bar.desc, bar.disable) == (10, "here", None)
    assert sorted(bar.steps) == [1, 3, 3, 3]


def test_the_default_is_about_a_hundred_reports(bars: list[Bar]) -> None:
    run(True, 1000)
    jax.effects_barrier()
    assert len(bars[0].steps) == 100


def test_a_jitted_loop_shows_a_new_bar_each_time(bars: list[Bar]) -> None:
    f = st.jit(lambda x: st.for_loop(lambda i: i * x, jnp.ones(4), progress=2))
    f(1.0)
    f(2.0)
    jax.effects_barrier()
    assert [bar.steps for bar in bars] == [[2, 2], [2, 2]]


def test_under_vmap_and_grad_the_result_is_right_and_there_is_one_bar(bars: list[Bar]) -> None:
    def total(x: Any) -> Any:
        return st.for_loop(lambda i: i * x**2, jnp.arange(4.0), progress=2).sum()

    np.testing.assert_allclose(jax.vmap(total)(jnp.arange(3.0)), 6 * jnp.arange(3.0) ** 2)
    jax.effects_barrier()
    assert [bar.steps for bar in bars] == [[2, 2]]
    assert jax.grad(total)(2.0) == 24
    assert st.grad(lambda x: st.jit(total)(x))(2.0) == 24
    np.testing.assert_allclose(jax.vmap(jax.grad(total))(jnp.ones(2)), [12, 12])
    jax.effects_barrier()
    assert all(bar.closed for bar in bars)


def test_the_real_bar_is_drawn_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    run(st.ProgressBar(count=2, desc="simulating"), 10)
    jax.effects_barrier()
    assert "simulating: 100%" in terminal.getvalue()


def test_without_a_terminal_nothing_is_paid() -> None:
    f = st.jit(lambda x: st.for_loop(lambda i: i, x, progress=True))
    assert "callback" not in str(f.trace(jnp.ones(4)).jaxpr)


def test_a_missing_tqdm_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with pytest.raises(st.MissingExtraError, match=r'pip install "spikax-transform\[progress\]"'):
        run(True, 4)


@pytest.mark.parametrize("wrong", [{"freq": 1, "count": 1}, {"freq": 0}, {"count": -2}], ids=str)
def test_a_bar_that_makes_no_sense_is_refused(wrong: Any) -> None:
    with pytest.raises(st.ProgressError):
        st.ProgressBar(**wrong)


def test_progress_of_another_type_is_refused() -> None:
    with pytest.raises(st.ProgressError, match="expected True"):
        run("yes", 4)
