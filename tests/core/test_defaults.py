"""``set_default``: the backend that runs where a call asks for none, in all threads and in what is compiled already."""

import threading
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikax_core import (
    BackendRefusedError,
    MissingExtraError,
    ParameterError,
    UnknownBackendError,
    XLACustomKernel,
    use_backend,
)
from tests.core.operators import Function

X = jnp.arange(3.0)


def adder(*numbers: int) -> XLACustomKernel:
    """``x`` plus a number that tells which kernel ran: 0 for the reference, i for the backend ``"plus<i>"``."""
    operator = XLACustomKernel("adder", reference=lambda x: x)
    operator.def_shape_rule(lambda x: x)
    for number in numbers or (1, 2, 3):
        operator.def_kernel(f"plus{number}", "cpu", lambda i, o, n=number: lambda x: x + n)
    return operator


def ran(function: Function) -> int:
    """The number of the kernel that ran."""
    difference = np.unique(np.asarray(function(X) - X))
    assert difference.size == 1
    return int(difference[0])


def in_a_thread(function: Callable[[], Any]) -> Any:
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join()
    return results[0]


# The order of choice.


def test_the_default_comes_before_the_first_registered_and_after_what_is_asked_for() -> None:
    operator = adder()
    operator.set_default("cpu", "plus2")
    assert ran(operator) == 2
    assert ran(lambda x: operator(x, backend="plus3")) == 3
    assert ran(lambda x: operator(x, backend="plus1")) == 1
    with use_backend("plus3"):
        assert ran(operator) == 3
    with use_backend("reference"):
        assert ran(operator) == 0


def test_the_reference_can_be_the_default() -> None:
    operator = adder()
    operator.set_default("cpu", "reference")
    assert ran(operator) == 0
    with use_backend("plus2"):
        assert ran(operator) == 2


def test_a_default_that_refuses_falls_through_to_the_first_that_serves() -> None:
    operator = adder(1)
    wanted: list[bool | str] = ["it is Tuesday"]
    operator.def_kernel("plus2", "cpu", lambda i, o: lambda x: x + 2, supports=lambda i: wanted[0])
    operator.set_default("cpu", "plus2")
    assert ran(operator) == 1
    wanted[0] = True
    assert ran(lambda x: operator(x[None])[0]) == 2


def test_a_default_whose_kernel_cannot_be_built_falls_through() -> None:
    def build(*_: Any) -> Function:
        raise BackendRefusedError("no luck")

    operator = adder(1)
    operator.def_kernel("plus2", "cpu", build)
    operator.set_default("cpu", "plus2")
    assert ran(operator) == 1


def test_a_requested_backend_that_refuses_falls_through_to_the_default() -> None:
    operator = adder(1, 2)
    operator.def_kernel("plus3", "cpu", lambda i, o: lambda x: x + 3, supports=lambda i: False)
    operator.set_default("cpu", "plus2")
    with use_backend("plus3"), pytest.warns(match="'plus3' does not serve adder"):
        assert ran(operator) == 2


def test_a_default_concerns_one_operator_alone() -> None:
    one, other = adder(), adder()
    one.set_default("cpu", "plus2")
    assert (ran(one), ran(other)) == (2, 1)
    other.set_default("cpu", "plus3")
    assert (ran(one), ran(other)) == (2, 3)


# Platforms.


def by_platform() -> XLACustomKernel:
    operator = XLACustomKernel("ops", reference=lambda x: x)
    operator.def_shape_rule(lambda x: x)
    for platform in ("gpu", "cpu"):
        operator.def_kernel("add", platform, lambda i, o: lambda x: x + 3)
        operator.def_kernel("mul", platform, lambda i, o: lambda x: x * 3)
    for platform in ("cuda", "rocm"):
        operator.def_kernel("div", platform, lambda i, o: lambda x: x / 3)
    return operator


def lowered(operator: XLACustomKernel, platform: str) -> str:
    """The name of the kernel in the program for another platform."""
    text = jax.jit(lambda x: operator(x)).trace(X).lower(lowering_platforms=(platform,)).as_text()
    (name,) = [name for name in ("add", "mul", "div", "return %arg0") if name in text.replace("stablehlo.", "")]
    return name


def test_a_default_for_gpu_is_one_for_cuda_and_rocm() -> None:
    operator = by_platform()
    operator.set_default("gpu", "mul")
    assert {p: lowered(operator, p) for p in ("cpu", "cuda", "rocm", "tpu")} == {
        "cpu": "add",
        "cuda": "mul",
        "rocm": "mul",
        "tpu": "return %arg0",
    }


@pytest.mark.parametrize("platform", ["cuda", "rocm"])
@pytest.mark.parametrize("general_first", [True, False])
def test_the_default_of_a_platform_comes_before_that_of_all_gpus(platform: str, general_first: bool) -> None:
    operator = by_platform()
    for declared, name in [("gpu", "mul"), (platform, "div")][:: 1 if general_first else -1]:
        operator.set_default(declared, name)
    other = "rocm" if platform == "cuda" else "cuda"
    assert (lowered(operator, platform), lowered(operator, other)) == ("div", "mul")
    operator.set_default("gpu", None)
    assert (lowered(operator, platform), lowered(operator, other)) == ("div", "add")
    operator.set_default(platform, None)
    assert lowered(operator, platform) == "add"


def test_a_default_that_one_kind_of_gpu_lacks_is_not_used_there() -> None:
    operator = XLACustomKernel("ops", reference=lambda x: x)
    operator.def_shape_rule(lambda x: x)
    operator.def_kernel("add", "gpu", lambda i, o: lambda x: x + 3)
    operator.def_kernel("mul", "cuda", lambda i, o: lambda x: x * 3)
    operator.set_default("gpu", "mul")
    assert (lowered(operator, "cuda"), lowered(operator, "rocm")) == ("mul", "add")


# What can be seen, and what is wrong.


def test_defaults_are_seen_and_cannot_be_written() -> None:
    operator = by_platform()
    assert dict(operator.defaults) == {}
    operator.set_default("gpu", "mul")
    before = operator.defaults
    operator.set_default("cpu", "reference")
    assert dict(before) == {"gpu": "mul"}
    assert dict(operator.defaults) == {"cpu": "reference", "gpu": "mul"}
    with pytest.raises(TypeError):
        operator.defaults["cpu"] = "add"  # type: ignore[index]
    operator.set_default("gpu", None)
    assert dict(operator.defaults) == {"cpu": "reference"}


def test_no_default_can_be_set_to_none() -> None:
    operator = adder()
    operator.set_default("cpu", None)
    assert (dict(operator.defaults), ran(operator)) == ({}, 1)


@pytest.mark.parametrize(
    ("platform", "backend", "error", "message"),
    [
        ("cpu", "div", UnknownBackendError, r"set_default of ops on cpu: got backend 'div'; expected None or one of "),
        ("cuda", "nonsense", UnknownBackendError, r"expected None or one of \['add', 'mul', 'div', 'reference'\]"),
        ("tpu", "add", UnknownBackendError, r"expected None or one of \['reference'\]"),
        ("metal", "add", ParameterError, r"ops: got platform 'metal'; expected one of .*'cuda'"),
        ("metal", None, ParameterError, r"ops: got platform 'metal'; expected one of .*'cuda'"),
    ],
)
def test_a_default_that_there_is_not_is_an_error_and_changes_nothing(
    platform: str, backend: str | None, error: type[Exception], message: str
) -> None:
    operator = by_platform()
    operator.set_default("cuda", "mul")
    with pytest.raises(error, match=message):
        operator.set_default(platform, backend)
    assert dict(operator.defaults) == {"cuda": "mul"}
    assert lowered(operator, "cuda") == "mul"


def test_the_reference_is_no_default_of_an_operator_without_one() -> None:
    operator = XLACustomKernel("bare")
    operator.def_kernel("plus1", "cpu", lambda i, o: lambda x: x)
    with pytest.raises(UnknownBackendError, match=r"got backend 'reference'; expected None or one of \['plus1'\]"):
        operator.set_default("cpu", "reference")


def test_a_default_whose_package_is_missing_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    operator = adder(1)
    operator.def_kernel("fast", "cpu", lambda i, o: lambda x: x + 2, requires="warp")
    monkeypatch.setattr("importlib.util.find_spec", lambda name, package=None: None)
    with pytest.raises(MissingExtraError, match=r'pip install "spikax-core\[warp\]"'):
        operator.set_default("cpu", "fast")
    assert (dict(operator.defaults), ran(operator)) == ({}, 1)
    adder(1).def_kernel("fast", "cpu", lambda i, o: lambda x: x + 2)  # another operator's kernel does not need it
    with pytest.raises(MissingExtraError, match=r"set_default of adder on cpu: .*'fast': .*spikax-core\[warp\]"):
        operator.set_default("cpu", "fast")


# What is compiled already, in this thread and in others.


def test_a_warm_jit_follows_the_default_in_all_threads() -> None:
    operator = adder()
    jitted = jax.jit(lambda x: operator(x))
    for backend, number in (("plus2", 2), ("plus3", 3), ("reference", 0), (None, 1), ("plus2", 2), (None, 1)):
        operator.set_default("cpu", backend)
        assert ran(jitted) == number
        assert in_a_thread(lambda: ran(jitted)) == number


def test_a_default_that_another_thread_sets_counts_here() -> None:
    operator = adder()
    jitted = jax.jit(lambda x: operator(x))
    assert ran(jitted) == 1
    in_a_thread(lambda: operator.set_default("cpu", "plus2"))
    assert (ran(jitted), ran(operator)) == (2, 2)


def test_inside_use_backend_what_is_asked_for_counts_whatever_the_default_becomes() -> None:
    operator = adder()
    jitted = jax.jit(lambda x: operator(x))
    with use_backend("plus3"):
        assert ran(jitted) == 3
        operator.set_default("cpu", "plus2")
        assert ran(jitted) == 3
        assert in_a_thread(lambda: ran(jitted)) == 2
    assert ran(jitted) == 2


def test_a_use_backend_in_another_thread_does_not_hide_the_default() -> None:
    operator = adder()
    jitted = jax.jit(lambda x: operator(x))
    inside, done = threading.Event(), threading.Event()

    def hold() -> None:
        with use_backend("plus3"):
            ran(jitted)
            inside.set()
            done.wait()
            seen.append(ran(jitted))

    seen: list[int] = []
    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait()
    operator.set_default("cpu", "plus2")
    assert ran(jitted) == 2
    done.set()
    thread.join()
    assert seen == [3]


TRANSFORMS: dict[str, Callable[[Function], Function]] = {
    "vmap": lambda f: lambda x: jax.vmap(f)(x[:, None])[:, 0],
    "scan": lambda f: lambda x: jax.lax.scan(lambda c, _: (c, f(c)), x, None, length=1)[1][0],
    "jvp": lambda f: lambda x: jax.jvp(f, (x,), (x,))[0],
    "checkpoint": jax.checkpoint,
    "inner jit": lambda f: lambda x: jax.jit(f)(x),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_it_holds_inside_of_transformations(name: str) -> None:
    operator = adder()
    operator.def_jvp_rule2(lambda t, x: t)
    jitted, function = jax.jit(TRANSFORMS[name](operator)), TRANSFORMS[name](operator)
    for backend, number in ((None, 1), ("plus2", 2), ("plus3", 3), (None, 1)):
        operator.set_default("cpu", backend)
        assert (ran(jitted), ran(function)) == (number, number)


def test_a_program_lowered_before_keeps_the_default_that_it_was_traced_with() -> None:
    operator = adder()
    traced = jax.jit(lambda x: operator(x)).trace(X)
    operator.set_default("cpu", "plus2")
    assert ran(traced.lower().compile()) == 1


def test_a_call_that_was_traced_while_the_default_changed_is_not_found_again() -> None:
    operator = adder()
    changes: list[str | None] = ["plus2"]

    @jax.jit
    def jitted(x: jax.Array) -> Any:
        while changes:
            in_a_thread(lambda: operator.set_default("cpu", changes.pop()))
        return operator(x)

    assert ran(jitted) in (1, 2)
    assert ran(jitted) == 2
    operator.set_default("cpu", None)
    assert ran(jitted) == 1


def test_a_function_compiled_right_while_a_default_changes_runs_the_new_one_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another thread compiles after the default has its new value and before JAX is told, and the other way round."""
    operator = adder()
    jitted = jax.jit(lambda x: operator(x))
    assert ran(jitted) == 1
    registry = operator._kernels
    plain = type(registry).set_default

    def slow(self: Any, platform: str, backend: str | None) -> None:
        in_a_thread(lambda: ran(jitted))
        plain(self, platform, backend)
        in_a_thread(lambda: ran(jitted))

    monkeypatch.setattr(type(registry), "set_default", slow)
    for backend, number in (("plus2", 2), (None, 1), ("plus3", 3), (None, 1)):
        operator.set_default("cpu", backend)
        assert ran(jitted) == number


def test_threads_that_set_defaults_at_once_lose_none() -> None:
    operators = [adder() for _ in range(8)]
    together = threading.Barrier(len(operators))

    def work(operator: XLACustomKernel) -> None:
        together.wait()
        for backend in ("plus2", None, "plus3") * 20:
            operator.set_default("cpu", backend)
        operator.set_default("cpu", "plus2")

    threads = [threading.Thread(target=work, args=(operator,)) for operator in operators]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [ran(operator) for operator in operators] == [2] * len(operators)


def test_compiling_in_one_thread_while_another_changes_defaults_never_runs_an_old_kernel_afterwards() -> None:
    operator = adder()
    jitted = jax.jit(lambda x: operator(x))
    stop = threading.Event()

    def compile_on() -> None:
        while not stop.is_set():
            ran(jitted)

    thread = threading.Thread(target=compile_on)
    thread.start()
    try:
        for backend, number in (("plus2", 2), (None, 1), ("plus3", 3)) * 5:
            operator.set_default("cpu", backend)
            assert ran(jitted) == number
    finally:
        stop.set()
        thread.join()
