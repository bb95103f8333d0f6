"""A client of spikax_transform as a type checker sees it; checked by mypy and pyright, never run."""

from collections.abc import Sequence
from typing import Any, assert_type

import jax.numpy as jnp
from jax import Array

import spikax_transform as st
from spikax_transform import PyTree

w = st.ParamState(jnp.ones(3), name="w")
b = st.State(jnp.zeros(3))
rng = st.RandomState(0)

assert_type(w.value, Array)
assert_type(w.copy(), st.ParamState[Array])
assert_type(rng.split_key(), Array)
assert_type(st.states(object()), dict[str, st.State[Any]])
assert_type(st.states(object(), st.RandomState), dict[str, st.RandomState])


@st.jit
def plain(x: Array, *, scale: float = 1.0) -> Array:
    return w.value * x * scale


@st.jit(static_argnums=1, donate_states=True)
def static(x: Array, n: int) -> tuple[Array, int]:
    return x, n


assert_type(plain(w.value, scale=2.0), Array)
assert_type(static(w.value, 2), tuple[Array, int])
assert_type(plain.lower(w.value).compile()(w.value), Array)
plain("x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
plain(w.value, size=2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


class Model:
    def __init__(self) -> None:
        self.v = st.HiddenState(jnp.zeros(3))

    @st.jit
    def update(self, x: Array) -> Array:
        self.v.value = self.v.value + x
        return self.v.value

    @st.jit(static_argnames="n")
    def repeat(self, x: Array, n: int = 1) -> Array:
        return x * n

    @st.vmap(axis_name="batch")
    def lane(self, x: Array) -> Array:
        return self.v.value * x

    @st.grad(argnums=0)
    def slope(self, x: Array) -> Array:
        return (self.v.value * x).sum()


model = Model()
assert_type(model.update(w.value), Array)
assert_type(model.repeat(w.value, n=2), Array)
assert_type(model.slope(w.value), Array)
assert_type(model.lane(w.value), Array)
model.update(1, 2)  # type: ignore[call-arg, arg-type]  # pyright: ignore[reportCallIssue]


def step(x: Array) -> tuple[Array, int]:
    return x, 1


def carry(total: Array, x: Array) -> tuple[Array, dict[str, Array]]:
    return total + x, {"total": total}


assert_type(st.for_loop(step, w.value), tuple[Array, int])
assert_type(st.for_loop(step, w.value, length=3, progress=st.ProgressBar(count=3)), tuple[Array, int])
assert_type(st.scan(carry, w.value, w.value), tuple[Array, dict[str, Array]])


def double(x: Array) -> Array:
    return 2 * x


def pair(x: Array, n: int) -> tuple[Array, int]:
    return x, n


assert_type(st.cond(True, double, lambda x: -x, w.value), Array)
assert_type(st.switch(0, [pair, pair], w.value, 3), tuple[Array, int])
assert_type(st.ifelse([True], [double, double], w.value), Array)
assert_type(st.while_loop(lambda x: x.sum() < 3, double, w.value), Array)
assert_type(st.bounded_while_loop(lambda x: x.sum() < 3, double, w.value, max_steps=5), Array)
assert_type(st.unvmap(w.value, "max"), Array)
assert_type(st.vmap(pair, in_states={0: w}, out_states=[b])(w.value, 3), tuple[Array, int])
assert_type(st.vmap_new_states(axis_size=3)(double)(w.value), Array)
assert_type(st.map(double, w.value, batch_size=2), Array)
assert_type(st.checkpoint(pair, static_argnums=1)(w.value, 3), tuple[Array, int])
assert_type(st.checkpointed_for_loop(double, w.value), Array)
assert_type(st.checkpointed_scan(carry, w.value, w.value), tuple[Array, dict[str, Array]])
assert_type(st.StateFinder(double, "read")(w.value), list[st.State[Any]])
assert_type(st.checkify(pair)(w.value, 3)[1], tuple[Array, int])
assert_type(st.named_scope("double")(double)(w.value), Array)
assert_type(st.named_scope(double)(w.value), Array)
assert_type(st.shard_map(double, None, None, None, state_in_specs={None: w})(w.value), Array)
st.vmap(double)("x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
st.cond(True, double, pair, w.value)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def loss(x: Array, y: Array) -> Array:
    return (w.value * x + b.value * y).sum()


def loss_aux(x: Array, y: Array) -> tuple[Array, dict[str, int]]:
    return loss(x, y), {"n": 1}


def tree(x: Array) -> dict[str, Array]:
    return {"x": x}


Aux = dict[str, int]
x = jnp.ones(3)


# the twelve structures of grad
assert_type(st.grad(loss)(x, x), Array)
assert_type(st.grad(loss_aux, has_aux=True)(x, x), tuple[Array, Aux])
assert_type(st.grad(loss, return_value=True)(x, x), tuple[Array, Array])
assert_type(st.grad(loss_aux, has_aux=True, return_value=True)(x, x), tuple[Array, Array, Aux])
assert_type(st.grad(loss, argnums=1)(x, x), Array)
assert_type(st.grad(loss_aux, argnums=1, has_aux=True)(x, x), tuple[Array, Aux])
assert_type(st.grad(loss, argnums=1, return_value=True)(x, x), tuple[Array, Array])
assert_type(st.grad(loss_aux, argnums=1, has_aux=True, return_value=True)(x, x), tuple[Array, Array, Aux])
assert_type(st.grad(loss, argnums=(0, 1))(x, x), tuple[Array, ...])
assert_type(st.grad(loss_aux, argnums=(0, 1), has_aux=True)(x, x), tuple[tuple[Array, ...], Aux])
assert_type(st.grad(loss, argnums=(0, 1), return_value=True)(x, x), tuple[tuple[Array, ...], Array])
assert_type(
    st.grad(loss_aux, argnums=(0, 1), has_aux=True, return_value=True)(x, x), tuple[tuple[Array, ...], Array, Aux]
)
assert_type(st.grad(loss, w)(x, x), Array)
assert_type(st.grad(loss_aux, w, has_aux=True)(x, x), tuple[Array, Aux])
assert_type(st.grad(loss, w, return_value=True)(x, x), tuple[Array, Array])
assert_type(st.grad(loss_aux, w, has_aux=True, return_value=True)(x, x), tuple[Array, Array, Aux])
assert_type(st.grad(loss, w, argnums=0)(x, x), tuple[Array, Array])
assert_type(st.grad(loss_aux, w, argnums=0, has_aux=True)(x, x), tuple[tuple[Array, Array], Aux])
assert_type(st.grad(loss, w, argnums=0, return_value=True)(x, x), tuple[tuple[Array, Array], Array])
assert_type(
    st.grad(loss_aux, w, argnums=0, has_aux=True, return_value=True)(x, x), tuple[tuple[Array, Array], Array, Aux]
)
assert_type(st.grad(loss, w, argnums=(0, 1))(x, x), tuple[Array, tuple[Array, ...]])
assert_type(st.grad(loss_aux, w, argnums=(0, 1), has_aux=True)(x, x), tuple[tuple[Array, tuple[Array, ...]], Aux])
assert_type(st.grad(loss, w, argnums=(0, 1), return_value=True)(x, x), tuple[tuple[Array, tuple[Array, ...]], Array])
assert_type(
    st.grad(loss_aux, w, argnums=(0, 1), has_aux=True, return_value=True)(x, x),
    tuple[tuple[Array, tuple[Array, ...]], Array, Aux],
)
assert_type(st.grad(loss, [w, b])(x, x), Sequence[Array])
assert_type(st.grad(loss_aux, [w, b], has_aux=True)(x, x), tuple[Sequence[Array], Aux])
assert_type(st.grad(loss, [w, b], return_value=True)(x, x), tuple[Sequence[Array], Array])
assert_type(st.grad(loss_aux, [w, b], has_aux=True, return_value=True)(x, x), tuple[Sequence[Array], Array, Aux])
assert_type(st.grad(loss, [w, b], argnums=0)(x, x), tuple[Sequence[Array], Array])
assert_type(st.grad(loss_aux, [w, b], argnums=0, has_aux=True)(x, x), tuple[tuple[Sequence[Array], Array], Aux])
assert_type(st.grad(loss, [w, b], argnums=0, return_value=True)(x, x), tuple[tuple[Sequence[Array], Array], Array])
assert_type(
    st.grad(loss_aux, [w, b], argnums=0, has_aux=True, return_value=True)(x, x),
    tuple[tuple[Sequence[Array], Array], Array, Aux],
)
assert_type(st.grad(loss, [w, b], argnums=(0, 1))(x, x), tuple[Sequence[Array], tuple[Array, ...]])
assert_type(
    st.grad(loss_aux, [w, b], argnums=(0, 1), has_aux=True)(x, x), tuple[tuple[Sequence[Array], tuple[Array, ...]], Aux]
)
assert_type(
    st.grad(loss, [w, b], argnums=(0, 1), return_value=True)(x, x),
    tuple[tuple[Sequence[Array], tuple[Array, ...]], Array],
)
assert_type(
    st.grad(loss_aux, [w, b], argnums=(0, 1), has_aux=True, return_value=True)(x, x),
    tuple[tuple[Sequence[Array], tuple[Array, ...]], Array, Aux],
)
assert_type(st.grad(loss, {"w": w, "b": b})(x, x), dict[str, Array])
assert_type(st.grad(loss_aux, {"w": w, "b": b}, has_aux=True)(x, x), tuple[dict[str, Array], Aux])
assert_type(st.grad(loss, {"w": w, "b": b}, return_value=True)(x, x), tuple[dict[str, Array], Array])
assert_type(
    st.grad(loss_aux, {"w": w, "b": b}, has_aux=True, return_value=True)(x, x), tuple[dict[str, Array], Array, Aux]
)
assert_type(st.grad(loss, {"w": w, "b": b}, argnums=0)(x, x), tuple[dict[str, Array], Array])
assert_type(
    st.grad(loss_aux, {"w": w, "b": b}, argnums=0, has_aux=True)(x, x), tuple[tuple[dict[str, Array], Array], Aux]
)
assert_type(
    st.grad(loss, {"w": w, "b": b}, argnums=0, return_value=True)(x, x), tuple[tuple[dict[str, Array], Array], Array]
)
assert_type(
    st.grad(loss_aux, {"w": w, "b": b}, argnums=0, has_aux=True, return_value=True)(x, x),
    tuple[tuple[dict[str, Array], Array], Array, Aux],
)
assert_type(st.grad(loss, {"w": w, "b": b}, argnums=(0, 1))(x, x), tuple[dict[str, Array], tuple[Array, ...]])
assert_type(
    st.grad(loss_aux, {"w": w, "b": b}, argnums=(0, 1), has_aux=True)(x, x),
    tuple[tuple[dict[str, Array], tuple[Array, ...]], Aux],
)
assert_type(
    st.grad(loss, {"w": w, "b": b}, argnums=(0, 1), return_value=True)(x, x),
    tuple[tuple[dict[str, Array], tuple[Array, ...]], Array],
)
assert_type(
    st.grad(loss_aux, {"w": w, "b": b}, argnums=(0, 1), has_aux=True, return_value=True)(x, x),
    tuple[tuple[dict[str, Array], tuple[Array, ...]], Array, Aux],
)

# the twelve structures of jacrev
assert_type(st.jacrev(loss)(x, x), Array)
assert_type(st.jacrev(loss_aux, has_aux=True)(x, x), tuple[Array, Aux])
assert_type(st.jacrev(loss, return_value=True)(x, x), tuple[Array, Array])
assert_type(st.jacrev(loss_aux, has_aux=True, return_value=True)(x, x), tuple[Array, Array, Aux])
assert_type(st.jacrev(loss, argnums=1)(x, x), Array)
assert_type(st.jacrev(loss_aux, argnums=1, has_aux=True)(x, x), tuple[Array, Aux])
assert_type(st.jacrev(loss, argnums=1, return_value=True)(x, x), tuple[Array, Array])
assert_type(st.jacrev(loss_aux, argnums=1, has_aux=True, return_value=True)(x, x), tuple[Array, Array, Aux])
assert_type(st.jacrev(loss, argnums=(0, 1))(x, x), tuple[Array, ...])
assert_type(st.jacrev(loss_aux, argnums=(0, 1), has_aux=True)(x, x), tuple[tuple[Array, ...], Aux])
assert_type(st.jacrev(loss, argnums=(0, 1), return_value=True)(x, x), tuple[tuple[Array, ...], Array])
assert_type(
    st.jacrev(loss_aux, argnums=(0, 1), has_aux=True, return_value=True)(x, x), tuple[tuple[Array, ...], Array, Aux]
)
assert_type(st.jacrev(loss, w)(x, x), Array)
assert_type(st.jacrev(loss_aux, w, has_aux=True)(x, x), tuple[Array, Aux])
assert_type(st.jacrev(loss, w, return_value=True)(x, x), tuple[Array, Array])
assert_type(st.jacrev(loss_aux, w, has_aux=True, return_value=True)(x, x), tuple[Array, Array, Aux])
assert_type(st.jacrev(loss, w, argnums=0)(x, x), tuple[Array, Array])
assert_type(st.jacrev(loss_aux, w, argnums=0, has_aux=True)(x, x), tuple[tuple[Array, Array], Aux])
assert_type(st.jacrev(loss, w, argnums=0, return_value=True)(x, x), tuple[tuple[Array, Array], Array])
assert_type(
    st.jacrev(loss_aux, w, argnums=0, has_aux=True, return_value=True)(x, x), tuple[tuple[Array, Array], Array, Aux]
)
assert_type(st.jacrev(loss, w, argnums=(0, 1))(x, x), tuple[Array, tuple[Array, ...]])
assert_type(st.jacrev(loss_aux, w, argnums=(0, 1), has_aux=True)(x, x), tuple[tuple[Array, tuple[Array, ...]], Aux])
assert_type(st.jacrev(loss, w, argnums=(0, 1), return_value=True)(x, x), tuple[tuple[Array, tuple[Array, ...]], Array])
assert_type(
    st.jacrev(loss_aux, w, argnums=(0, 1), has_aux=True, return_value=True)(x, x),
    tuple[tuple[Array, tuple[Array, ...]], Array, Aux],
)
assert_type(st.jacrev(loss, [w, b])(x, x), Sequence[Array])
assert_type(st.jacrev(loss_aux, [w, b], has_aux=True)(x, x), tuple[Sequence[Array], Aux])
assert_type(st.jacrev(loss, [w, b], return_value=True)(x, x), tuple[Sequence[Array], Array])
assert_type(st.jacrev(loss_aux, [w, b], has_aux=True, return_value=True)(x, x), tuple[Sequence[Array], Array, Aux])
assert_type(st.jacrev(loss, [w, b], argnums=0)(x, x), tuple[Sequence[Array], Array])
assert_type(st.jacrev(loss_aux, [w, b], argnums=0, has_aux=True)(x, x), tuple[tuple[Sequence[Array], Array], Aux])
assert_type(st.jacrev(loss, [w, b], argnums=0, return_value=True)(x, x), tuple[tuple[Sequence[Array], Array], Array])
assert_type(
    st.jacrev(loss_aux, [w, b], argnums=0, has_aux=True, return_value=True)(x, x),
    tuple[tuple[Sequence[Array], Array], Array, Aux],
)
assert_type(st.jacrev(loss, [w, b], argnums=(0, 1))(x, x), tuple[Sequence[Array], tuple[Array, ...]])
assert_type(
    st.jacrev(loss_aux, [w, b], argnums=(0, 1), has_aux=True)(x, x),
    tuple[tuple[Sequence[Array], tuple[Array, ...]], Aux],
)
assert_type(
    st.jacrev(loss, [w, b], argnums=(0, 1), return_value=True)(x, x),
    tuple[tuple[Sequence[Array], tuple[Array, ...]], Array],
)
assert_type(
    st.jacrev(loss_aux, [w, b], argnums=(0, 1), has_aux=True, return_value=True)(x, x),
    tuple[tuple[Sequence[Array], tuple[Array, ...]], Array, Aux],
)
assert_type(st.jacrev(loss, {"w": w, "b": b})(x, x), dict[str, Array])
assert_type(st.jacrev(loss_aux, {"w": w, "b": b}, has_aux=True)(x, x), tuple[dict[str, Array], Aux])
assert_type(st.jacrev(loss, {"w": w, "b": b}, return_value=True)(x, x), tuple[dict[str, Array], Array])
assert_type(
    st.jacrev(loss_aux, {"w": w, "b": b}, has_aux=True, return_value=True)(x, x), tuple[dict[str, Array], Array, Aux]
)
assert_type(st.jacrev(loss, {"w": w, "b": b}, argnums=0)(x, x), tuple[dict[str, Array], Array])
assert_type(
    st.jacrev(loss_aux, {"w": w, "b": b}, argnums=0, has_aux=True)(x, x), tuple[tuple[dict[str, Array], Array], Aux]
)
assert_type(
    st.jacrev(loss, {"w": w, "b": b}, argnums=0, return_value=True)(x, x), tuple[tuple[dict[str, Array], Array], Array]
)
assert_type(
    st.jacrev(loss_aux, {"w": w, "b": b}, argnums=0, has_aux=True, return_value=True)(x, x),
    tuple[tuple[dict[str, Array], Array], Array, Aux],
)
assert_type(st.jacrev(loss, {"w": w, "b": b}, argnums=(0, 1))(x, x), tuple[dict[str, Array], tuple[Array, ...]])
assert_type(
    st.jacrev(loss_aux, {"w": w, "b": b}, argnums=(0, 1), has_aux=True)(x, x),
    tuple[tuple[dict[str, Array], tuple[Array, ...]], Aux],
)
assert_type(
    st.jacrev(loss, {"w": w, "b": b}, argnums=(0, 1), return_value=True)(x, x),
    tuple[tuple[dict[str, Array], tuple[Array, ...]], Array],
)
assert_type(
    st.jacrev(loss_aux, {"w": w, "b": b}, argnums=(0, 1), has_aux=True, return_value=True)(x, x),
    tuple[tuple[dict[str, Array], tuple[Array, ...]], Array, Aux],
)

# containers nested, pytrees returned: the named alias
assert_type(st.jacrev(tree, w)(x), PyTree)
assert_type(st.jacrev(loss, [{"w": w}, b])(x, x), PyTree)
assert_type(st.vector_grad(loss, w)(x, x), Array)
assert_type(st.jacobian(loss, w)(x, x), Array)


@st.grad(grad_states=[w, b], return_value=True)
def decorated(x: Array) -> Array:
    return (w.value * x + b.value).sum()


@st.grad
def bare(x: Array) -> Array:
    return x.sum()


assert_type(decorated(x), tuple[Sequence[Array], Array])
assert_type(bare(x), Array)
st.grad(loss, foo=1)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
w.value = "three"  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]


def affine(x: Array, scale: float) -> dict[str, Array]:
    return {"y": w.value * x * scale}


# the forward transforms share the structures of grad and jacrev
assert_type(
    st.fwd_grad(loss, {"w": w}, argnums=0, return_value=True)(x, x), tuple[tuple[dict[str, Array], Array], Array]
)
assert_type(
    st.jacfwd(loss_aux, [w, b], argnums=(0, 1), has_aux=True)(x, x),
    tuple[tuple[Sequence[Array], tuple[Array, ...]], Aux],
)
assert_type(st.jacfwd(tree, w)(x), PyTree)

# the value first, unless it is asked for by return_value
assert_type(st.value_and_grad(loss)(x, x), tuple[Array, Array])
assert_type(st.value_and_grad(loss, w)(x, x), tuple[Array, Array])
assert_type(st.value_and_grad(loss, [w, b], argnums=0)(x, x), tuple[Array, tuple[Sequence[Array], Array]])
assert_type(st.value_and_grad(loss_aux, {"w": w}, has_aux=True)(x, x), tuple[tuple[Array, Aux], dict[str, Array]])
assert_type(st.value_and_grad(loss, [w, b], return_value=True)(x, x), tuple[Sequence[Array], Array])
assert_type(
    st.value_and_grad(loss_aux, w, argnums=(0, 1), has_aux=True, return_value=True)(x, x),
    tuple[tuple[Array, tuple[Array, ...]], Array, Aux],
)

# second derivatives nest twice
assert_type(st.hessian(loss)(x, x), Array)
assert_type(st.hessian(loss, argnums=(0, 1))(x, x), tuple[tuple[Array, ...], ...])
assert_type(st.hessian(loss, w, return_value=True)(x, x), tuple[Array, Array])
assert_type(st.hessian(loss, [w, b])(x, x), Sequence[Sequence[Array]])
assert_type(st.hessian(loss_aux, {"w": w, "b": b}, has_aux=True)(x, x), tuple[dict[str, dict[str, Array]], Aux])
assert_type(st.hessian(loss, w, argnums=0)(x, x), tuple[tuple[Array, Array], tuple[Array, Array]])
assert_type(
    st.hessian(loss, {"w": w}, argnums=0)(x, x),
    tuple[tuple[dict[str, dict[str, Array]], dict[str, Array]], tuple[dict[str, Array], Array]],
)
assert_type(
    st.hessian(loss, [w, b], argnums=(0, 1), return_value=True)(x, x),
    tuple[
        tuple[
            tuple[Sequence[Sequence[Array]], Sequence[tuple[Array, ...]]],
            tuple[tuple[Sequence[Array], ...], tuple[tuple[Array, ...], ...]],
        ],
        Array,
    ],
)


@st.hessian(grad_states=w, has_aux=True)
def curvature(x: Array) -> tuple[Array, Aux]:
    return (w.value**2 * x).sum(), {"n": 1}


@st.value_and_grad(argnums=(0, 1))
def priced(x: Array, y: Array) -> Array:
    return (x * y).sum()


assert_type(curvature(x), tuple[Array, Aux])
assert_type(priced(x, x), tuple[Array, tuple[Array, ...]])

# products with the Jacobian take and give what the function takes and gives
out, pullback = st.vjp(affine, x, 2.0)
assert_type(out, dict[str, Array])
assert_type(pullback(out), tuple[Array, float])
of_states, of_args = st.vjp(loss, x, x, grad_states={"w": w})[1](x)
assert_type(of_states, dict[str, Array])
assert_type(of_args, tuple[Array, Array])
assert_type(st.vjp(loss_aux, x, x, grad_states=w, has_aux=True)[2], Aux)
assert_type(st.jvp(affine, (x, 2.0), (x, 0.0)), tuple[dict[str, Array], dict[str, Array]])
assert_type(st.jvp(loss, (x, x), (x, x), grad_states=[w, b], state_tangents=[x, x]), tuple[Array, Array])
assert_type(st.jvp(loss_aux, (x, x), (x, x), has_aux=True), tuple[Array, Array, Aux])
value, pushforward = st.linearize(affine, x, 2.0, grad_states=w)
assert_type(pushforward(x, x, 1.0), dict[str, Array])
assert_type(st.linearize(loss, x, x)[1](x, x), Array)
pullback(x)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
