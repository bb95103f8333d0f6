"""What all gradient transforms share; test_gradient_matrix.py compares their blocks with plain JAX."""

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import spikax_transform as st
from tests.transform.counting import Counted, compiles

X, Y = jnp.array([0.5, -1.0]), jnp.array([2.0, 3.0])
W = jnp.array([1.5, 0.25])


GRADIENTS = [st.grad, st.fwd_grad, st.vector_grad, st.value_and_grad]
JACOBIANS = [st.jacrev, st.jacfwd]


def check(actual: Any, wanted: Any) -> None:
    structures: list[Any] = [jax.tree.structure(actual), jax.tree.structure(wanted)]
    assert structures[0] == structures[1]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), actual, wanted)


@pytest.mark.parametrize("number", [-2, np.int64(0), (-2,), [np.int32(0)], range(1)], ids=repr)
@pytest.mark.parametrize(
    "transform", [st.grad, st.jacrev, st.jacfwd, st.hessian], ids=lambda transform: transform.__name__
)
def test_arguments_are_numbered_as_in_jax(transform: Any, number: Any) -> None:
    plain = transform(lambda x, y: (x**2 * y).sum(), argnums=0)(X, Y)
    actual = transform(lambda x, y: (x**2 * y).sum(), argnums=number)(X, Y)
    is_sequence = isinstance(number, tuple | list | range)
    hessian = transform is st.hessian
    check(actual, (((plain,),) if hessian else (plain,)) if is_sequence else plain)


def test_a_repeated_state_with_an_infinite_value_keeps_its_value() -> None:
    v = st.State(jnp.array([jnp.inf, 1.0]))
    blocks, value = st.grad(lambda: jnp.where(jnp.isinf(v.value), 7.0, 3 * v.value).sum(), [v, v], return_value=True)()
    check(blocks, [jnp.array([0.0, 3.0])] * 2)
    assert value == 10


def test_the_derivative_under_a_raw_vmap_equals_that_of_each_lane() -> None:
    w = st.ParamState(W)
    many = jax.vmap(st.jacrev(lambda x: w.value * x**2, w, 0))(jnp.stack([X, Y]))
    for lane, x in enumerate([X, Y]):
        check(jax.tree.map(lambda leaf, lane=lane: leaf[lane], many), (jnp.diag(x**2), jnp.diag(2 * W * x)))


def test_second_derivatives_by_nesting() -> None:
    w = st.ParamState(jnp.float32(2))
    second = st.grad(lambda x: st.grad(lambda: w.value**3 * x, w)() * 1.0, w, 0)
    check(second(jnp.float32(5)), (jnp.float32(60), jnp.float32(12)))


def test_a_gradient_through_a_jitted_loop_equals_backpropagation_by_jax() -> None:
    w, v = st.ParamState(jnp.float32(0.5)), st.State(jnp.float32(1))

    def step(x: Any) -> Any:
        v.value = jnp.tanh(w.value * v.value + x)
        return v.value

    run = st.jit(lambda xs: st.for_loop(step, xs))

    def reference(w: Any, v: Any, xs: Any) -> Any:
        def body(v: Any, x: Any) -> Any:
            v = jnp.tanh(w * v + x)
            return v, v

        return jax.lax.scan(body, v, xs)[1].sum()

    xs = jnp.arange(4.0) / 4
    (of_w, of_v), of_x = st.grad(lambda xs: run(xs).sum(), (w, v), 0)(xs)
    check((of_w, of_v, of_x), jax.grad(reference, (0, 1, 2))(jnp.float32(0.5), jnp.float32(1), xs))


def test_python_runs_on_each_eager_call_and_sees_changes() -> None:
    w = st.ParamState(jnp.float32(1))
    factor = 2.0
    loss = Counted(lambda: w.value * factor)
    derivative = st.grad(loss, w)
    assert derivative() == 2
    factor = 3.0
    assert derivative() == 3
    assert loss.runs == 2
    w = st.ParamState(jnp.float32(1))
    with pytest.raises(st.UnreadStateError):
        derivative()


@pytest.mark.parametrize("transform", [*GRADIENTS, *JACOBIANS, st.hessian], ids=lambda transform: transform.__name__)
def test_an_eager_gradient_compiles_nothing_the_second_time(transform: Any) -> None:
    w = st.ParamState(W)
    derivative = transform(lambda x: (jnp.sin(w.value) * x).sum(), w, 0)
    derivative(X)
    with compiles() as count:
        derivative(Y)
    assert count() == 0


@pytest.mark.parametrize("product", [st.vjp, st.linearize], ids=lambda product: product.__name__)
def test_an_eager_product_compiles_nothing_the_second_time(product: Any) -> None:
    w = st.ParamState(W)
    fun = lambda x: jnp.sin(w.value) * x  # noqa: E731
    product(fun, X, grad_states=w)[1](*[X] * (1 if product is st.vjp else 2))
    with compiles() as count:
        product(fun, Y, grad_states=w)[1](*[Y] * (1 if product is st.vjp else 2))
    assert count() == 0


def test_it_decorates_functions_and_methods_with_and_without_arguments() -> None:
    w = st.ParamState(jnp.float32(3))

    @st.grad
    def square(x: Any) -> Any:
        """Square it."""
        return x**2

    @st.grad(grad_states=w, return_value=True)
    def scaled(x: Any) -> Any:
        return w.value * x

    class Cell:
        __slots__ = ("w",)

        def __init__(self) -> None:
            self.w = st.ParamState(jnp.float32(4))

        @st.grad
        def bare(self, x: Any, y: Any) -> Any:
            return self.w.value * x * y

        @st.jacrev(argnums=(0, 1))
        def both(self, x: Any, y: Any) -> Any:
            return self.w.value * x * y

        def plain(self, x: Any) -> Any:
            return self.w.value * x

    assert (square(3.0), square.__doc__) == (6, "Square it.")
    assert scaled(5.0) == (5, 15)
    cell = Cell()
    assert cell.bare(2.0, y=3.0) == 12
    assert cell.both(2.0, 3.0) == (12, 8)
    assert st.grad(cell.plain, cell.w)(7.0) == 7


def test_keywords_and_objects_pass_through() -> None:
    def f(x: Any, mode: str, *, power: int, table: Any) -> Any:
        assert mode == "on"
        return x**power + table["shift"]

    assert st.grad(f)(2.0, "on", power=3, table={"shift": 1, "name": "t"}) == 12


def test_aux_may_be_any_object_and_keeps_its_type() -> None:
    marker = object()
    w = st.ParamState(jnp.float32(2))
    _, aux = st.grad(lambda x: (x * w.value, [marker, 1.5, "s", x, w.value]), has_aux=True)(3.0)
    assert aux[0] is marker
    assert [type(item) for item in aux[1:3]] == [float, str]
    assert not any(isinstance(item, jax.core.Tracer) for item in aux)
    assert (aux[3], aux[4]) == (3, 2)


def test_plain_numbers_written_inside_keep_their_type() -> None:
    v: st.State[Any] = st.State(0.0)
    w = st.ParamState(jnp.float32(1))

    def loss() -> Any:
        v.value = 2.5
        return w.value * 3

    st.grad(loss, w)()
    assert type(v.value) is float


@pytest.mark.parametrize("result", [lambda x: (x, 1, 2), lambda x: x, lambda x: (x,)], ids=["three", "one", "single"])
def test_a_result_that_is_not_a_pair_is_an_error_with_aux(result: Any) -> None:
    with pytest.raises(st.AuxError, match=r"has_aux=True.*expected a pair"):
        st.grad(result, has_aux=True)(1.0)


def test_every_state_that_is_never_read_is_named() -> None:
    w, a, b = st.ParamState(W), st.State(W, name="first"), st.State(W, name="second")
    counter = st.State(jnp.int32(0))

    def loss() -> Any:
        counter.value = counter.value + 1
        return w.value.sum()

    with pytest.raises(st.UnreadStateError, match=r"'first'.*'second'"):
        st.grad(loss, [a, w, b])()
    assert counter.value == 0
    check(st.grad(loss, [a, w], check_states=False)(), [jnp.zeros(2), jnp.ones(2)])


def test_a_state_that_is_read_in_a_nested_transform_only_counts_as_read() -> None:
    w = st.ParamState(jnp.float32(2))
    loop = lambda: st.for_loop(lambda: w.value * 1.0, length=3).sum()  # noqa: E731
    for inner in (loop, st.jit(loop), lambda: st.grad(lambda x: w.value * x)(1.0) * w.value * 1.5):
        assert st.grad(inner, w)() in (3, 6)


def test_a_state_that_is_overwritten_before_it_is_read_is_a_warning() -> None:
    v = st.State(jnp.float32(1), name="v")

    def loss(x: Any) -> Any:
        v.value = x
        return v.value**2

    with pytest.warns(st.OverwrittenStateWarning, match=r"'v'.*overwritten before it is read"):
        assert st.grad(loss, v)(3.0) == 0


def test_no_warning_if_it_is_read_first() -> None:
    v = st.State(jnp.float32(1))

    def loss(x: Any) -> Any:
        out = v.value * x
        v.value = x
        return out * v.value

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert st.grad(loss, v)(3.0) == 9


@pytest.mark.parametrize("argnums", [2, -3, (0, 5)], ids=repr)
def test_an_argument_that_is_not_there_is_named_in_the_users_numbering(argnums: Any) -> None:
    class Cell:
        @st.grad(argnums=argnums)
        def f(self, x: Any, y: Any) -> Any:
            return x * y

    with pytest.raises(st.ArgumentNumberError, match=r"2 positional arguments"):
        Cell().f(1.0, 2.0)


@pytest.mark.parametrize("argnums", [(0, 0), (1, -1), ()], ids=repr)
def test_an_argument_is_named_once(argnums: Any) -> None:
    with pytest.raises(st.ArgumentNumberError, match=r"expected at least one, each once"):
        st.grad(lambda x, y: x * y, argnums=argnums)(1.0, 2.0)


@pytest.mark.parametrize("transform", [*GRADIENTS, *JACOBIANS, st.hessian], ids=lambda transform: transform.__name__)
def test_no_states_have_no_blocks(transform: Any) -> None:
    w = st.ParamState(W)
    pair = {"a": [None], "b": ()}
    assert transform(lambda: w.value.sum(), pair, return_value=True)() == (pair, W.sum())
    of_states = transform(lambda x: (w.value * x).sum(), pair, 0, return_value=True)(2.0)[0][0]
    assert jax.tree.leaves(of_states) == []


@pytest.mark.parametrize("transform", [*GRADIENTS, *JACOBIANS, st.hessian], ids=lambda transform: transform.__name__)
def test_a_random_state_advances_once(transform: Any) -> None:
    rng, twin = st.RandomState(0), st.RandomState(0)
    result = transform(lambda x: x**2 * jax.random.normal(rng.split_key()), return_value=True)(jnp.float32(3))
    assert result[1] == 9 * jax.random.normal(twin.split_key())
    assert rng.value == twin.value


@pytest.mark.parametrize("wrong", [1.0, "0", True, (0, "a")], ids=repr)
def test_argnums_must_be_integers(wrong: Any) -> None:
    with pytest.raises(st.ArgumentNumberError, match="integer"):
        st.grad(lambda x: x, argnums=wrong)


@pytest.mark.parametrize("wrong", ["w", 1, [jnp.ones(2)], {"a": object()}], ids=["str", "int", "array", "object"])
def test_grad_states_must_be_states(wrong: Any) -> None:
    with pytest.raises(st.GradStatesError, match="expected a State"):
        st.grad(lambda x: x, wrong)


@pytest.mark.parametrize("transform", [*GRADIENTS, *JACOBIANS, st.hessian], ids=lambda transform: transform.__name__)
def test_an_integer_state_is_refused_by_name(transform: Any) -> None:
    n = st.State(jnp.array([1, 2]), name="n")
    with pytest.raises(st.GradStatesError, match=r"'n'.*got i32\[2\].*allow_int=True"):
        transform(lambda: n.value.astype(jnp.float32).sum(), n)()
    with pytest.raises(TypeError):
        transform(lambda n: n.astype(jnp.float32).sum())(n.value)


@pytest.mark.parametrize("transform", GRADIENTS, ids=lambda transform: transform.__name__)
def test_the_gradient_of_integers_is_float0(transform: Any) -> None:
    n, w = st.State(jnp.array([1, 2])), st.ParamState(W)
    f = lambda x: (w.value * n.value.astype(jnp.float32) * x).sum()  # noqa: E731
    (of_n, of_w), of_x = transform(f, (n, w), 0, allow_int=True, return_value=True)(3)[0]
    assert (of_n.dtype, of_n.shape) == (jax.dtypes.float0, (2,))
    assert (of_x.dtype, of_x.shape) == (jax.dtypes.float0, ())
    np.testing.assert_array_equal(of_w, [3, 6])


@pytest.mark.parametrize("transform", JACOBIANS, ids=lambda transform: transform.__name__)
@pytest.mark.parametrize("chosen", [("n",), ("n", "w")], ids="-".join)
def test_the_jacobian_of_integers_is_zeros_of_their_type_as_in_jax(transform: Any, chosen: tuple[str, ...]) -> None:
    states = {"n": st.State(jnp.array([1, 2])), "w": st.ParamState(W)}
    values = {key: states[key].value for key in chosen}

    def pure(values: Any) -> Any:
        out = values.get("w", W) * values["n"].astype(jnp.float32)
        return [out, out.sum()]

    fun = lambda: pure({key: states[key].value for key in chosen})  # noqa: E731
    actual = transform(fun, {key: states[key] for key in chosen}, allow_int=True)()
    wanted = jax.jacrev(pure, allow_int=True)(values)
    check(actual, wanted)
    assert [leaf.dtype for leaf in jax.tree.leaves(actual)] == [leaf.dtype for leaf in jax.tree.leaves(wanted)]


def test_the_hessian_of_integers_is_zeros() -> None:
    f = lambda x, n: x**2 * n.astype(jnp.float32)  # noqa: E731
    (xx, xn), (nx, nn) = st.hessian(f, argnums=(0, 1), allow_int=True)(X, jnp.array([1, 2]))
    np.testing.assert_array_equal(xx, jax.hessian(lambda x: x**2 * jnp.array([1.0, 2.0]))(X))
    for block in (xn, nx, nn):
        assert block.shape == (2, 2, 2)
        assert not block.any()


@pytest.mark.parametrize("transform", [st.jacrev, st.jacfwd, st.hessian], ids=lambda transform: transform.__name__)
def test_holomorphic_functions_as_in_jax(transform: Any) -> None:
    z = st.State(jnp.array([1.0 + 2j, 0.5j]))
    plain = getattr(jax, transform.__name__)
    check(transform(lambda: z.value**3, z, holomorphic=True)(), plain(lambda z: z**3, holomorphic=True)(z.value))


@pytest.mark.parametrize("transform", GRADIENTS, ids=lambda transform: transform.__name__)
def test_gradients_of_holomorphic_functions(transform: Any) -> None:
    z = st.State(jnp.array([1.0 + 2j, 0.5j]))
    blocks = transform(lambda: (z.value**2).sum(), z, holomorphic=True, return_value=True)()[0]
    check(blocks, 2 * z.value)
    with pytest.raises(TypeError):
        transform(lambda: z.value[0], z)()
    with pytest.raises(TypeError):
        transform(lambda x: x.sum(), holomorphic=True)(X)


@pytest.mark.parametrize("output", [jnp.ones(2), (jnp.float32(1), jnp.float32(2)), [jnp.float32(1)], (), None])
def test_fwd_grad_needs_one_scalar(output: Any) -> None:
    with pytest.raises(TypeError, match=r"fwd_grad got the output .*expected one scalar"):
        st.fwd_grad(lambda x: output)(1.0)
    with pytest.raises(TypeError, match="output of dtype int32; expected floating"):
        st.fwd_grad(lambda x: jnp.int32(1))(1.0)


def test_unknown_keywords_and_what_is_no_function_are_refused() -> None:
    with pytest.raises(TypeError, match="unexpected keyword"):
        st.grad(lambda x: x, grads=1)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="expected a function"):
        st.grad(3)  # type: ignore[call-overload]


def test_a_state_as_argument_or_result_is_an_error() -> None:
    v = st.State(jnp.float32(1))
    with pytest.raises(st.StateArgumentError, match=r"passed to.*grad"):
        st.grad(lambda s: 1.0)(v)
    with pytest.raises(st.StateArgumentError, match="returned from"):
        st.grad(lambda x: (x, v), has_aux=True)(1.0)


def test_jacobian_is_jacrev() -> None:
    assert st.jacobian is st.jacrev
