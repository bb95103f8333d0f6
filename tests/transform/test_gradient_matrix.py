"""Every gradient transform, over States and arguments in every structure, equals plain JAX on the pure function.

Eagerly all combinations are tried. Compiled, mapped and inside a loop they take turns, and so do the four rows of each
structure, which the same Python puts together in all of them: any two members of a combination meet in each way.
"""

import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import spikax_transform as st

XS, YS = jnp.array([[0.5, -1.0], [0.25, 2.0]]), jnp.array([[2.0, 3.0], [-1.0, 0.5]])
W, B = jnp.array([1.5, 0.25]), {"a": jnp.array([1.0, -2.0]), "c": (jnp.float32(0.5),)}


def pure(form: str, w: Any, b: Any, x: Any, y: Any) -> Any:
    """What the model computes."""
    r = jnp.sin(w * x) * b["a"] + b["c"][0] * y**2 * w
    return {"scalar": r.sum(), "array": r, "pytree": {"r": r, "s": (r.sum(),)}}[form]


class Model:
    """Two States that are differentiated, one of them a pytree, and one that is counted."""

    def __init__(self) -> None:
        self.w = st.ParamState(W, name="w")
        self.b = st.State(B, name="b")
        self.calls = st.State(jnp.int32(0), name="calls")

    def output(self, form: str, x: Any, y: Any) -> Any:
        self.calls.value = self.calls.value + 1
        out = pure(form, self.w.value, self.b.value, x, y)
        self.w.value = self.w.value * 2  # after the read: derivatives are those at entry
        return out


# what is passed as grad_states, in terms of the two States, and the two values again from the same structure
CONTAINERS: dict[str, tuple[Callable[[Any, Any], Any], Callable[[Any], tuple[Any, Any]]]] = {
    "none": (lambda w, b: None, lambda s: (W, B)),
    "single": (lambda w, b: w, lambda s: (s, B)),
    "pytree-valued": (lambda w, b: b, lambda s: (W, s)),
    "list": (lambda w, b: [w, b], lambda s: (s[0], s[1])),
    "dict": (lambda w, b: {"w": w, "b": b}, lambda s: (s["w"], s["b"])),
    "nested": (lambda w, b: {"deep": [w, (b,)], "hole": None}, lambda s: (s["deep"][0], s["deep"][1][0])),
}
ARGNUMS = [None, 1, (0, -1)]
# the transform, the outputs it takes, and the same by JAX with respect to input number `i` (or `i` and `j`) of two
TRANSFORMS: dict[str, tuple[Any, list[str], Any]] = {
    "grad": (st.grad, ["scalar"], lambda f, i, j: jax.grad(f, i)),
    "fwd_grad": (st.fwd_grad, ["scalar"], lambda f, i, j: jax.grad(f, i)),
    "vector_grad": (st.vector_grad, ["array", "pytree"], lambda f, i, j: jax.grad(lambda *args: total(f(*args)), i)),
    "jacrev": (st.jacrev, ["array", "pytree"], lambda f, i, j: jax.jacrev(f, i)),
    "jacfwd": (st.jacfwd, ["array", "pytree"], lambda f, i, j: jax.jacrev(f, i)),
    "hessian": (st.hessian, ["scalar", "pytree"], lambda f, i, j: jax.jacfwd(jax.jacrev(f, i), j)),
}
ROWS = list(itertools.product([False, True], [False, True]))
CASES = [
    (name, form, states, argnums)
    for name, (_, forms, _) in TRANSFORMS.items()
    for form, states, argnums in itertools.product(forms, CONTAINERS, ARGNUMS)
]


def is_list(node: Any) -> bool:
    return isinstance(node, list)


def total(out: Any) -> Any:
    return functools.reduce(jnp.add, [leaf.sum() for leaf in jax.tree.leaves(out)])


@functools.cache
def expected(name: str, form: str, states: str, argnums: Any, lane: int, doublings: int) -> Any:
    """The blocks by JAX alone, at one of two arguments, after so many doublings of `w`."""
    collect, pick = CONTAINERS[states]
    x, y, w_now = XS[lane], YS[lane], W * 2**doublings

    def of(of_states: Any, of_arguments: Any) -> Any:
        w, b = pick(of_states)
        args = {None: (of_arguments, y), 1: (x, of_arguments)}.get(argnums, of_arguments)
        return pure(form, w_now if w is W else w, b, *args)

    inputs = (collect(w_now, B), {None: x, 1: y}.get(argnums, (x, y)))
    chosen = [0] * (states != "none") + [1] * (argnums is not None or states == "none")
    derive = TRANSFORMS[name][2]
    if name == "hessian":
        rows = [tuple(derive(of, i, j)(*inputs) for j in chosen) for i in chosen]
        return tuple(rows) if len(chosen) == 2 else rows[0][0]
    blocks = [derive(of, i, None)(*inputs) for i in chosen]
    return tuple(blocks) if len(chosen) == 2 else blocks[0]


def result(case: tuple[Any, ...], row: tuple[bool, bool], lane: int, doublings: int) -> Any:
    """The blocks by JAX, and the value and auxiliary data as this row of the structure arranges them."""
    has_aux, return_value = row
    value = pure(case[1], W * 2**doublings, B, XS[lane], YS[lane])
    parts = [expected(*case, lane, doublings), *[value] * return_value, *[{"n": XS[lane].sum()}] * has_aux]
    return tuple(parts) if len(parts) > 1 else parts[0]


def derivative(model: Model, case: tuple[Any, ...], row: tuple[bool, bool]) -> Any:
    """The transform of the model's output."""
    name, form, states, argnums = case

    def fun(x: Any, y: Any) -> Any:
        out = model.output(form, x, y)
        return (out, {"n": x.sum()}) if row[0] else out

    grad_states = CONTAINERS[states][0](model.w, model.b)
    return TRANSFORMS[name][0](fun, grad_states, argnums, has_aux=row[0], return_value=row[1])


def check(actual: Any, wanted: Any) -> None:
    structures: list[Any] = [jax.tree.structure(actual), jax.tree.structure(wanted)]
    assert structures[0] == structures[1]
    for one, other in zip(jax.tree.leaves(actual), jax.tree.leaves(wanted), strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def check_states(model: Model, calls: int) -> None:
    assert model.calls.value == calls
    np.testing.assert_array_equal(model.w.value, W * 2**calls)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_all_rows_eagerly(case: tuple[Any, ...]) -> None:
    for row in ROWS:
        model = Model()
        check(derivative(model, case, row)(XS[0], YS[0]), result(case, row, 0, 0))
        check_states(model, 1)


def taking_turns(turn: int) -> list[tuple[Any, ...]]:
    """A third of the cases, so that any two of their members meet in each third, with one row each."""
    places: list[list[Any]] = [list(TRANSFORMS), ["scalar", "array", "pytree"], list(CONTAINERS), ARGNUMS]
    numbers = [sum(place.index(member) for place, member in zip(places, case, strict=True)) for case in CASES]
    return [
        (case, ROWS[i % 4]) for i, (case, number) in enumerate(zip(CASES, numbers, strict=True)) if number % 3 == turn
    ]


@pytest.mark.parametrize(("case", "row"), taking_turns(0), ids=str)
def test_compiled(case: tuple[Any, ...], row: tuple[bool, bool]) -> None:
    model = Model()
    check(st.jit(derivative(model, case, row))(XS[0], YS[0]), result(case, row, 0, 0))
    check_states(model, 1)


@pytest.mark.parametrize(("case", "row"), taking_turns(1), ids=str)
def test_inside_a_loop(case: tuple[Any, ...], row: tuple[bool, bool]) -> None:
    model = Model()
    actual = st.scan(lambda n, xy: (n + 1, derivative(model, case, row)(*xy)), jnp.int32(0), (XS, YS))[1]
    check(actual, jax.tree.map(lambda *steps: jnp.stack(steps), *(result(case, row, i, i) for i in range(2))))
    check_states(model, 2)


@pytest.mark.parametrize(("case", "row"), taking_turns(2), ids=str)
def test_mapped(case: tuple[Any, ...], row: tuple[bool, bool]) -> None:
    model = Model()
    vmap: Any = st.vmap if row[0] else jax.vmap
    actual = vmap(derivative(model, case, row))(XS, YS)
    check(actual, jax.tree.map(lambda *lanes: jnp.stack(lanes), *(result(case, row, i, 0) for i in range(2))))
    check_states(model, 1)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_state_that_appears_twice_has_its_whole_block_twice(name: str) -> None:
    model, form = Model(), TRANSFORMS[name][1][0]
    actual = TRANSFORMS[name][0](lambda: model.output(form, XS[0], YS[0]), [model.w, model.b, model.w])()
    of_w, of_b = expected(name, form, "list", None, 0, 0)
    if name == "hessian":
        of_w, of_b = [of_w[0], of_w[1], of_w[0]], jax.tree.map(lambda row: [*row, row[0]], of_b, is_leaf=is_list)
    check(actual, [of_w, of_b, of_w])


@pytest.mark.parametrize("row", ROWS, ids=str)
@pytest.mark.parametrize("argnums", ARGNUMS, ids=str)
@pytest.mark.parametrize("states", ["none", "dict"])
def test_value_and_grad_returns_the_value_first(states: str, argnums: Any, row: tuple[bool, bool]) -> None:
    model = Model()

    def fun(x: Any, y: Any) -> Any:
        out = model.output("scalar", x, y)
        return (out, "text") if row[0] else out

    collected = CONTAINERS[states][0](model.w, model.b)
    actual = st.value_and_grad(fun, collected, argnums, has_aux=row[0], return_value=row[1])(XS[0], YS[0])
    blocks, value = expected("grad", "scalar", states, argnums, 0, 0), pure("scalar", W, B, XS[0], YS[0])
    match row:
        case (False, False):
            check(actual, (value, blocks))
        case (True, False):
            check((actual[0][0], actual[1]), (value, blocks))
            assert (len(actual), len(actual[0]), actual[0][1]) == (2, 2, "text")
        case (False, True):
            check(actual, (blocks, value))
        case _:
            check(actual[:2], (blocks, value))
            assert actual[2:] == ("text",)
