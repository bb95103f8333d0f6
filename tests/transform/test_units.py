"""unit_aware=True: each block carries the unit of the output over that of the input, as saiunit's own autodiff says."""

import re
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import spikax_transform as st

u = pytest.importorskip("saiunit")

W, X = jnp.array([1.5, 0.5]) * u.siemens, jnp.array([2.0, 3.0]) * u.volt
AREA = jnp.float32(4) * u.meter**2


def is_quantity(node: Any) -> bool:
    return isinstance(node, u.Quantity)


def check(actual: Any, wanted: Any) -> None:
    """The same structure, values and units."""
    structures: list[Any] = [jax.tree.structure(tree, is_leaf=is_quantity) for tree in (actual, wanted)]
    assert structures[0] == structures[1]
    for one, other in zip(*(jax.tree.leaves(tree, is_leaf=is_quantity) for tree in (actual, wanted)), strict=True):
        assert u.get_unit(one) == u.get_unit(other)
        np.testing.assert_allclose(u.get_mantissa(one), u.get_mantissa(other), rtol=1e-5)


def pure(form: str, w: Any, area: Any, x: Any) -> Any:
    current = w * x * x / u.volt / area
    return {"scalar": current.sum(), "array": current, "pytree": {"i": current, "p": (current * x).sum()}}[form]


class Model:
    def __init__(self) -> None:
        self.w, self.area = st.ParamState[Any](W), st.ParamState[Any](AREA)

    def output(self, form: str, x: Any) -> Any:
        out = pure(form, self.w.value, self.area.value, x)
        self.w.value = self.w.value * 2.0
        return out


AUTOGRAD = u.autograd
TRANSFORMS = [
    (st.grad, AUTOGRAD.grad, "scalar"),
    (st.fwd_grad, AUTOGRAD.grad, "scalar"),
    (st.vector_grad, AUTOGRAD.vector_grad, "array"),
    (st.jacrev, AUTOGRAD.jacrev, "array"),
    (st.jacrev, AUTOGRAD.jacrev, "pytree"),
    (st.jacfwd, AUTOGRAD.jacfwd, "array"),
    (st.jacfwd, AUTOGRAD.jacrev, "pytree"),
    (st.hessian, AUTOGRAD.hessian, "scalar"),
    (st.hessian, AUTOGRAD.hessian, "array"),
    (st.hessian, AUTOGRAD.hessian, "pytree"),
]


@pytest.mark.parametrize(("ours", "theirs", "form"), TRANSFORMS)
def test_blocks_have_the_units_of_saiunit(ours: Any, theirs: Any, form: str) -> None:
    model = Model()
    of_arguments = ours(lambda x: model.output(form, x), unit_aware=True)(X)
    check(of_arguments, theirs(lambda x: pure(form, W, AREA, x))(X))
    check(model.w.value, W * 2.0)
    model = Model()
    of_states = ours(lambda x: model.output(form, x), [model.w], unit_aware=True)(X)
    if theirs is not AUTOGRAD.vector_grad:
        check(of_states, theirs(lambda ws: pure(form, ws[0], AREA, X))([W]))
    else:
        check(of_states, [theirs(lambda w: pure(form, w, AREA, X))(W)])


def test_the_pair_of_states_and_arguments() -> None:
    model = Model()
    (of_states, of_x), value = st.jacfwd(
        lambda x: model.output("pytree", x), {"w": model.w, "a": model.area}, 0, return_value=True, unit_aware=True
    )(X)
    plain = AUTOGRAD.jacrev(lambda s, x: pure("pytree", s["w"], s["a"], x), (0, 1))({"w": W, "a": AREA}, X)
    check(value, pure("pytree", W, AREA, X))
    check(of_states, {key: plain[key][0] for key in plain})
    check(of_x, {key: plain[key][1] for key in plain})


def test_the_four_blocks_of_a_hessian() -> None:
    model = Model()
    (ss, sa), (as_, aa) = st.hessian(lambda x: model.output("scalar", x), [model.w], 0, unit_aware=True)(X)
    (of_w, of_x) = AUTOGRAD.hessian(lambda w, x: pure("scalar", w, AREA, x), (0, 1))(W, X)
    check(((ss[0][0], sa[0]), (as_[0], aa)), (of_w, of_x))
    assert u.get_unit(sa[0]) == u.get_unit(pure("scalar", W, AREA, X)) / u.siemens / u.volt


def test_vector_grad_adds_outputs_of_one_unit_and_refuses_others() -> None:
    gradient = st.vector_grad(lambda x: (x**2, [x[0] * x[1]]), unit_aware=True)(X)
    check(gradient, jnp.array([2 * 2.0 + 3.0, 2 * 3.0 + 2.0]) * u.volt)
    with pytest.raises(u.UnitMismatchError):
        st.vector_grad(lambda x: (x, x**2), unit_aware=True)(X)


def test_value_and_grad_and_aux_keep_their_units() -> None:
    w = st.ParamState[Any](W)
    (value, aux), gradient = st.value_and_grad(
        lambda x: ((w.value * x).sum(), {"x": x, "name": "n"}), w, has_aux=True, unit_aware=True
    )(X)
    check(value, (W * X).sum())
    check(gradient, X)
    check(aux.pop("x"), X)
    assert aux == {"name": "n"}


def test_under_jit_and_in_a_loop() -> None:
    model = Model()
    derivative = st.jacrev(lambda x: model.output("array", x), model.w, unit_aware=True)
    check(st.jit(derivative)(X), AUTOGRAD.jacrev(lambda w: pure("array", w, AREA, X))(W))
    model.w.value = W
    steps = st.for_loop(lambda: derivative(X), length=2)
    check(steps[1], AUTOGRAD.jacrev(lambda w: pure("array", w, AREA, X))(W * 2.0))


@pytest.mark.parametrize("transform", [st.grad, st.fwd_grad, st.vector_grad, st.jacrev, st.jacfwd, st.hessian])
def test_numbers_without_units_and_integers(transform: Any) -> None:
    def f(x: Any, n: Any) -> Any:
        return (x**2 * n.astype(jnp.float32)).sum()

    x, n = jnp.array([2.0, 3.0]), jnp.array([1, 2])
    aware = transform(f, argnums=(0, 1), allow_int=True, unit_aware=True)(x, n)
    plain = transform(f, argnums=(0, 1), allow_int=True)(x, n)
    if transform is st.hessian:
        aware, plain = (jax.tree.leaves(tree) for tree in (aware, plain))
    assert [leaf.shape for leaf in aware] == [leaf.shape for leaf in plain]
    np.testing.assert_allclose(aware[0], plain[0])


PAGE = Path(__file__).parents[2] / "docs" / "gradients.md"


@pytest.mark.skipif(not PAGE.exists(), reason="the page is part of the repository only")
def test_the_example_of_the_page_runs() -> None:
    (program,) = re.findall(r"^```py\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    exec(compile(program, str(PAGE), "exec"), {})


def test_without_saiunit_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "saiunit", None)
    with pytest.raises(st.MissingExtraError, match=r"pip install \"spikax-transform\[units\]\""):
        st.jacrev(lambda x: x, unit_aware=True)
    assert st.jacrev(lambda x: x)(1.0) == 1
