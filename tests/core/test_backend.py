"""Which kernel runs: the one asked for, else the first that supports the call, else the reference."""

import functools
import threading
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikax_core import (
    BackendFallbackWarning,
    BackendRefusedError,
    KernelEntry,
    NoBackendError,
    ParameterError,
    UnknownBackendError,
    XLACustomKernel,
    use_backend,
)
from tests.core.operators import Function, same

X = jnp.arange(3.0)
PLUS: dict[str, float] = {f"plus{i}": float(i) for i in range(1, 9)}


def adder(name: str = "adder", *backends: str, reference: bool = True, **options: Any) -> XLACustomKernel:
    """``x`` plus a number that tells which kernel ran: 0 for the reference, i for the backend ``"plus<i>"``."""
    operator = XLACustomKernel(name, reference=(lambda x: x) if reference else None)
    operator.def_shape_rule(lambda x: x)
    for backend in backends or ("plus1", "plus2"):
        operator.def_kernel(backend, "cpu", lambda i, o, n=PLUS[backend]: lambda x: x + n, **options)
    return operator


def ran(call: Callable[[], jax.Array]) -> int:
    """The number of the kernel that ran, of one call with ``X``."""
    difference = np.unique(np.asarray(call() - X))
    assert difference.size == 1
    return int(difference[0])


# The order of choice.


def test_the_first_registered_kernel_runs() -> None:
    assert ran(lambda: adder()(X)) == 1
    assert ran(lambda: adder("adder", "plus2", "plus1")(X)) == 2


def test_without_a_kernel_the_reference_runs() -> None:
    operator = XLACustomKernel("alone", reference=lambda x: x)
    operator.def_shape_rule(lambda x: x)
    assert ran(lambda: operator(X)) == 0


def test_the_first_kernel_that_supports_the_call_runs() -> None:
    operator = XLACustomKernel("picky", reference=lambda x, *, n: x)
    operator.def_shape_rule(lambda x, *, n: x)
    operator.def_kernel("plus1", "cpu", lambda i, o, *, n: lambda x: x + 1, supports=lambda i, *, n: n == 1)
    operator.def_kernel("plus2", "cpu", lambda i, o, *, n: lambda x: x + 2, supports=lambda i, *, n: i[0].ndim == 1)
    assert ran(lambda: operator(X, n=1)) == 1
    assert ran(lambda: operator(X, n=2)) == 2
    assert ran(lambda: operator(X[None], n=2)[0]) == 0


@pytest.mark.parametrize("answer", [True, np.True_, False, np.False_, "because", ""], ids=repr)
def test_supports_answers_with_a_bool_or_with_the_reason_why_not(answer: Any) -> None:
    number = int(bool(answer) and not isinstance(answer, str))
    assert ran(lambda: adder("asked", "plus1", supports=lambda i: answer)(X)) == number


def test_use_backend_comes_before_the_first_registered() -> None:
    operator = adder()
    with use_backend("plus2"):
        assert ran(lambda: operator(X)) == 2
        assert ran(lambda: jax.jit(operator)(X)) == 2
    assert ran(lambda: operator(X)) == 1


def test_the_innermost_use_backend_counts() -> None:
    operator = adder()
    with use_backend("plus2"):
        with use_backend("reference"):
            assert ran(lambda: operator(X)) == 0
            with use_backend("plus1"):
                assert ran(lambda: operator(X)) == 1
        assert ran(lambda: operator(X)) == 2


def test_a_per_call_backend_comes_before_use_backend() -> None:
    operator = adder()
    with use_backend("plus2"):
        assert ran(lambda: operator(X, backend="plus1")) == 1
        assert ran(lambda: operator(X, backend="reference")) == 0


def test_use_backend_ends_with_an_exception_and_decorates_functions() -> None:
    operator = adder()
    with pytest.raises(ZeroDivisionError), use_backend("plus2"):
        raise ZeroDivisionError
    assert ran(lambda: operator(X)) == 1
    assert ran(use_backend("plus2")(lambda: operator(X))) == 2


def test_a_second_kernel_of_a_backend_and_platform_replaces_the_first() -> None:
    operator = adder()
    operator.def_kernel("plus1", "cpu", lambda i, o: lambda x: x + 7)
    assert ran(lambda: operator(X)) == 7
    assert operator.available_backends("cpu") == ("plus1", "plus2", "reference")


def test_available_backends_are_those_of_the_platform_in_order() -> None:
    operator = adder("many", "plus2")
    for backend, platform in (("plus1", "gpu"), ("plus3", "cuda"), ("plus3", "rocm"), ("plus4", "tpu")):
        operator.def_kernel(backend, platform, lambda i, o: lambda x: x)
    assert {p: operator.available_backends(p) for p in ("cpu", "cuda", "rocm", "gpu", "tpu", "other")} == {
        "cpu": ("plus2", "reference"),
        "cuda": ("plus1", "plus3", "reference"),
        "rocm": ("plus1", "plus3", "reference"),
        "gpu": ("plus1", "plus3", "reference"),
        "tpu": ("plus4", "reference"),
        "other": ("reference",),
    }
    assert adder("none", reference=False).available_backends("tpu") == ()


@pytest.mark.parametrize(
    ("backend", "platform", "got"),
    [
        ("reference", "cpu", "backend 'reference'"),
        ("own", "metal", "platform 'metal'"),
        ("own", "CPU", "platform 'CPU'"),
    ],
)
def test_an_unknown_platform_or_the_name_of_the_reference_is_an_error(backend: str, platform: str, got: str) -> None:
    with pytest.raises(ParameterError, match=f"adder: got {got}; expected"):
        adder().def_kernel(backend, platform, lambda i, o: lambda x: x)


def test_kernels_are_listed_in_the_order_of_registration_without_the_reference() -> None:
    operator = adder("listed", "plus2", "plus1", exportable=True)
    assert [(entry.backend, entry.platform, entry.exportable) for entry in operator.kernels] == [
        ("plus2", "cpu", True),
        ("plus1", "cpu", True),
    ]


def test_a_kernel_entry_says_where_it_runs() -> None:
    entry = KernelEntry("own", "gpu", lambda i, o: lambda x: x)
    assert [entry.runs_on(p) for p in ("gpu", "cuda", "rocm", "cpu")] == [True, True, True, False]


def test_a_kernel_whose_build_refuses_does_not_serve_the_call() -> None:
    operator = XLACustomKernel("adder")
    operator.def_shape_rule(lambda x: x)

    def build(in_avals: Any, out_avals: Any) -> Any:
        raise BackendRefusedError("its results are too many")

    operator.def_kernel("small", "cpu", build)
    operator.def_kernel("large", "cpu", lambda i, o: lambda x: x + 7)
    assert operator(jnp.zeros(())) == 7
    with pytest.raises(BackendRefusedError, match="backend 'small' does not serve adder: its results are too many"):
        operator(jnp.zeros(()), backend="small")


# Part of the trace key.


def test_a_warm_jit_never_runs_the_old_kernel() -> None:
    operator = adder()
    jitted = jax.jit(lambda x: operator(x))
    assert ran(lambda: jitted(X)) == 1
    with use_backend("plus2"):
        assert ran(lambda: jitted(X)) == 2
    assert ran(lambda: jitted(X)) == 1
    with use_backend("reference"):
        assert ran(lambda: jitted(X)) == 0


def test_a_function_is_traced_once_per_backend() -> None:
    operator, traces = adder(), []

    @jax.jit
    def jitted(x: jax.Array) -> Any:
        traces.append(x)
        return operator(x)

    for _ in range(3):
        jitted(X)
        with use_backend("plus2"):
            jitted(X)
    assert len(traces) == 2


def test_a_new_operator_lets_nothing_be_traced_again() -> None:
    operator, traces = adder(), []

    @jax.jit
    def jitted(x: jax.Array) -> Any:
        traces.append(x)
        return operator(x)

    jitted(X)
    other = adder("other", "plus3")
    other(X)
    with use_backend("plus2"):
        jitted(X)
        adder("third", "plus2")(X)
        jitted(X)
    jitted(X)
    assert len(traces) == 2


@functools.cache
def carried(f: Function) -> Function:
    """The same body of a loop for the same function, so that what JAX keeps of one loop could serve the next."""
    return lambda c, _: (c, f(c))


LOOPS: dict[str, Callable[[Function], jax.Array]] = {
    "scan": lambda f: jax.lax.scan(carried(f), X, None, length=1)[1][0],
    "vmap": lambda f: jax.vmap(f)(X),
    "fori_loop": lambda f: jax.lax.fori_loop(0, 1, lambda i, c: f(c), X),
    "cond": lambda f: jax.lax.cond(X[0] == 0, f, lambda x: x, X),
    "checkpoint": lambda f: jax.checkpoint(f)(X),
    "inner jit": lambda f: jax.jit(lambda x: jax.jit(f)(x))(X),
}


@pytest.mark.parametrize("loop", LOOPS)
def test_it_holds_inside_control_flow(loop: str) -> None:
    operator = adder()
    for name, number in (("plus2", 2), ("plus1", 1), ("reference", 0)):
        with use_backend(name):
            assert ran(lambda: LOOPS[loop](operator)) == number


def test_each_thread_gets_its_own_backend_from_one_compiled_function() -> None:
    operator = adder("threads", *PLUS)
    jitted = jax.jit(lambda x: operator(x))
    seen: dict[str, set[int]] = {}
    together = threading.Barrier(len(PLUS))

    def work(backend: str) -> None:
        with use_backend(backend):
            together.wait(timeout=60)
            seen[backend] = {ran(lambda: jitted(X)) for _ in range(20)}

    threads = [threading.Thread(target=work, args=(backend,)) for backend in PLUS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {backend: {int(number)} for backend, number in PLUS.items()}


def test_a_new_thread_starts_without_a_backend() -> None:
    operator, seen = adder(), []
    with use_backend("plus2"):
        thread = threading.Thread(target=lambda: seen.append(ran(lambda: operator(X))))
        thread.start()
        thread.join()
    assert seen == [1]


# Read when it is bound, resolved when it is lowered; kept by JVP, transpose and batching in between.


def test_the_requested_backend_is_read_when_the_operator_is_bound() -> None:
    operator = adder()
    before = jax.jit(operator).trace(X)
    with use_backend("plus2"):
        assert ran(lambda: before.lower().compile()(X)) == 1
        inside = jax.jit(operator).trace(X)
    assert ran(lambda: inside.lower().compile()(X)) == 2


def test_the_requested_backend_travels_as_a_static_parameter() -> None:
    operator = adder()
    with use_backend("plus2"):
        assert "adder[spikax_call=(f32[3]) on plus2]" in str(jax.make_jaxpr(operator)(X))
        assert "adder[spikax_call=(f32[3]) on plus1]" in str(jax.make_jaxpr(lambda x: operator(x, backend="plus1"))(X))
    assert "adder[spikax_call=(f32[3])]" in str(jax.make_jaxpr(operator)(X))


def differentiable() -> tuple[XLACustomKernel, list[str | None]]:
    """An operator whose every rule binds another operator, which notes the backend that it runs on."""
    seen: list[str | None] = []
    operator, inner = XLACustomKernel("outer", reference=lambda x: 2 * x), XLACustomKernel("inner")

    def build(name: str, function: Function) -> Function:
        def built(*_: Any) -> Function:
            seen.append(name)
            return function

        return built

    inner.def_shape_rule(lambda x: x)
    operator.def_shape_rule(lambda x: x)
    for name in ("plus1", "plus2"):
        operator.def_kernel(name, "cpu", lambda i, o: lambda x: 2 * x)
        inner.def_kernel(name, "cpu", build(name, lambda x: 2 * x))
    through_jit = jax.jit(lambda x: inner(x))
    operator.def_jvp_rule2(lambda t, x: through_jit(t))
    inner.def_transpose_rule(lambda ct, x: (through_jit(ct),))
    inner.def_batching_rule(lambda size, args, axes: (through_jit(args[0]), axes[0]))
    operator.def_batching_rule(lambda size, args, axes: (through_jit(args[0]), axes[0]))
    return operator, seen


KEEPERS: dict[str, Callable[[Function], Any]] = {
    "jvp": lambda f: jax.jvp(f, (X,), (X,))[1],
    "grad": lambda f: jax.grad(lambda x: f(x).sum())(X) * X,
    "grad in jit": lambda f: jax.jit(jax.grad(lambda x: f(x).sum()))(X) * X,
    "vmap": lambda f: jax.vmap(f)(X[None])[0],
    "vmap of grad": lambda f: jax.vmap(jax.grad(lambda x: f(x).sum()))(X[None])[0] * X,
    "linearize": lambda f: jax.linearize(f, X)[1](X),
}


@pytest.mark.parametrize("transform", KEEPERS)
def test_rules_hand_the_requested_backend_down_even_through_a_warm_jit(transform: str) -> None:
    operator, seen = differentiable()
    for name in ("plus2", "plus1"):  # one after the other: what the first compiled must not serve the second
        seen.clear()
        same(KEEPERS[transform](functools.partial(operator, backend=name)), 2 * X)
        assert set(seen) == {name}
        operator, seen = differentiable()
        with use_backend(name):
            same(KEEPERS[transform](operator), 2 * X)
        assert set(seen) == {name}


@pytest.mark.parametrize("transform", KEEPERS)
def test_an_operator_that_is_bound_again_by_a_transformation_keeps_its_backend(transform: str) -> None:
    ran: set[str] = set()
    operator = XLACustomKernel("twice", reference=lambda x: 2 * x)
    operator.def_shape_rule(lambda x: x)
    operator.def_linear({0: lambda ct, x: operator(ct)})

    def build(name: str) -> Function:
        def built(*_: Any) -> Function:
            ran.add(name)
            return lambda x: 2 * x

        return built

    for name in ("plus1", "plus2"):
        operator.def_kernel(name, "cpu", build(name))
    same(KEEPERS[transform](functools.partial(operator, backend="plus2")), 2 * X)
    assert ran == {"plus2"}


def test_one_rules_jitted_helper_is_compiled_for_each_backend() -> None:
    operator, seen = differentiable()
    for name in ("plus2", "plus1"):
        KEEPERS["grad"](functools.partial(operator, backend=name))
    assert set(seen) == {"plus1", "plus2"}


def test_a_pullback_keeps_the_backend_of_the_forward_pass() -> None:
    operator, seen = differentiable()
    with use_backend("plus2"):
        _, pullback = jax.vjp(operator, X)
    pullback(X)
    assert set(seen) == {"plus2"}
    operator, seen = differentiable()
    _, pullback = jax.vjp(operator, X)
    with use_backend("plus2"):
        pullback(X)
    assert set(seen) == {"plus1"}


def test_a_use_backend_inside_a_rule_is_the_innermost() -> None:
    inner, operator = adder(), adder()

    def rule(t: jax.Array, x: jax.Array) -> Any:
        with use_backend("reference"):
            return inner(t)

    operator.def_jvp_rule2(rule)
    assert ran(lambda: jax.jvp(lambda x: operator(x, backend="plus2"), (X,), (X,))[1]) == 0


def test_a_reference_hands_the_backend_down_too() -> None:
    inner = adder()
    outer = XLACustomKernel("outer", reference=lambda x: inner(x))
    outer.def_shape_rule(lambda x: x)
    assert ran(lambda: outer(X)) == 1
    assert ran(lambda: outer(X, backend="reference")) == 0
    with use_backend("reference"):
        assert ran(lambda: jax.jit(outer)(X)) == 0
        lowered = jax.jit(outer).trace(X)
    assert ran(lambda: lowered.lower().compile()(X)) == 0


# Backends that do not serve.


def test_a_name_that_no_operator_knows_is_an_error_at_with() -> None:
    adder()
    with pytest.raises(UnknownBackendError, match=r"got backend 'nonsense'; expected one of \[.*'plus1'.*'reference'"):  # noqa: SIM117
        with use_backend("nonsense"):
            pytest.fail("entered")


def test_a_backend_of_another_operator_falls_through_with_one_warning() -> None:
    adder("elsewhere", "plus3")
    operator = adder()
    with use_backend("plus3"):
        with pytest.warns(BackendFallbackWarning, match="backend 'plus3' does not serve adder: it has no such kernel"):
            assert ran(lambda: operator(X)) == 1
        assert ran(lambda: operator(X)) == 1
        assert ran(lambda: operator(jnp.stack([X, X]))[0]) == 1
        with pytest.warns(BackendFallbackWarning):  # another operator, even of the same name, warns for itself
            assert ran(lambda: adder()(X)) == 1


def test_a_backend_that_refuses_falls_through_with_its_reason() -> None:
    operator = adder("narrow", "plus1")
    operator.def_kernel("plus2", "cpu", lambda i, o: lambda x: x + 2, supports=lambda i: "it wants two axes")
    with use_backend("plus2"), pytest.warns(BackendFallbackWarning, match="does not serve narrow: it wants two axes"):
        assert ran(lambda: operator(X)) == 1


def test_a_backend_of_another_platform_falls_through_with_the_platform() -> None:
    operator = adder("elsewhere", "plus1")
    operator.def_kernel("plus4", "cuda", lambda i, o: lambda x: x + 4)
    match = r"it runs on \['cuda'\], not on cpu"
    with use_backend("plus4"), pytest.warns(BackendFallbackWarning, match=match):
        assert ran(lambda: operator(X)) == 1


def test_a_per_call_request_that_is_refused_is_an_error_with_the_reason() -> None:
    operator = adder("strict", "plus1")
    operator.def_kernel("plus2", "cpu", lambda i, o: lambda x: x + 2, supports=lambda i: "it wants two axes")
    operator.def_kernel("plus3", "tpu", lambda i, o: lambda x: x + 3)
    for call in (operator, jax.jit(operator, static_argnames="backend")):
        with pytest.raises(BackendRefusedError, match=r"'plus2' does not serve strict: it wants two axes; leave out"):
            call(X, backend="plus2")
        with pytest.raises(BackendRefusedError, match=r"it runs on \['tpu'\], not on cpu"):
            call(X, backend="plus3")


def test_a_per_call_backend_that_the_operator_does_not_have_is_unknown() -> None:
    operator = adder()
    for name in ("nonsense", "plus3"):
        with pytest.raises(UnknownBackendError, match=rf"'{name}'.*one of \['plus1', 'plus2', 'reference'\]"):
            operator(X, backend=name)
    with pytest.raises(UnknownBackendError, match=r"'reference'.*one of \['plus1', 'plus2'\]"):
        adder("bare", reference=False)(X, backend="reference")


def test_a_refused_per_call_request_stays_an_error_under_transformations() -> None:
    operator = adder()
    operator.def_jvp_rule2(lambda t, x: t)
    transforms: list[Function] = [
        lambda f: jax.grad(lambda x: f(x).sum())(X),
        lambda f: jax.vmap(f)(X[None]),
        lambda f: jax.jit(jax.vmap(jax.value_and_grad(lambda x: f(x).sum())))(X[None]),
    ]
    for transform in transforms:
        with pytest.raises(UnknownBackendError):
            transform(lambda x: operator(x, backend="nonsense"))


def test_several_refusals_and_no_reference_are_one_group_with_each_reason() -> None:
    operator = XLACustomKernel("poor")
    operator.def_shape_rule(lambda x: x)
    operator.def_kernel("plus1", "cpu", lambda i, o: lambda x: x, supports=lambda i: False)
    operator.def_kernel("plus2", "cpu", lambda i, o: lambda x: x, supports=lambda i: "it is Tuesday")
    operator.def_kernel("plus3", "cuda", lambda i, o: lambda x: x)
    for call in (operator, jax.jit(operator)):
        with pytest.raises(
            NoBackendError, match=r"poor has no kernel for \(f32\[3\]\) on cpu, and no reference"
        ) as caught:
            call(X)
        assert [str(reason) for reason in caught.value.exceptions] == [
            "backend 'plus1' of poor: it does not support (f32[3])",
            "backend 'plus2' of poor: it is Tuesday",
            "backend 'plus3' of poor: it runs on cuda, not on cpu",
        ]
        assert all(isinstance(reason, BackendRefusedError) for reason in caught.value.exceptions)


def test_an_operator_without_any_kernel_says_so() -> None:
    operator = XLACustomKernel("empty")
    operator.def_shape_rule(lambda x: x)
    with pytest.raises(NoBackendError) as caught:
        operator(X)
    assert "no kernel is registered; use def_kernel or def_reference" in str(caught.value.exceptions[0])


def test_the_platform_that_is_lowered_for_decides_not_the_one_that_runs() -> None:
    operator = adder("cross", "plus1")
    operator.def_kernel("plus2", "gpu", lambda i, o: lambda x: x - 2)
    for platform, text in (("cuda", "stablehlo.subtract"), ("rocm", "stablehlo.subtract"), ("cpu", "stablehlo.add")):
        assert text in jax.jit(operator).trace(X).lower(lowering_platforms=(platform,)).as_text()
    with use_backend("plus2"):
        assert "stablehlo.subtract" in jax.jit(operator).trace(X).lower(lowering_platforms=("cuda",)).as_text()


def test_one_program_for_two_platforms_has_the_kernel_of_each() -> None:
    operator = adder("cross", "plus1")
    operator.def_kernel("plus1", "cuda", lambda i, o: lambda x: x * 3)
    traced = jax.jit(lambda x: operator(x, backend="plus1")).trace(X)
    text = traced.lower(lowering_platforms=("cpu", "cuda")).as_text()
    assert "stablehlo.add" in text
    assert "stablehlo.multiply" in text
