"""`vmap`: lanes of a batch, with States that are mapped, shared, or random."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar, overload

import jax
import jax.numpy as jnp

from ._errors import LoopLengthError
from ._loops import for_loop
from ._mapped_call import Axes, MappedCall
from ._state_axes import SPEC, StateLanes, state_axes
from ._transformed import Transformed, transformed

P = ParamSpec("P")
R = TypeVar("R")
Y = TypeVar("Y")


@overload
def vmap(
    f: Callable[P, R],
    in_axes: int | Sequence[Any] | None = 0,
    out_axes: Any = 0,
    *,
    axis_name: Any = None,
    axis_size: int | None = None,
    spmd_axis_name: Any = None,
    in_states: Any = None,
    out_states: Any = None,
) -> Transformed[P, R]: ...
@overload
def vmap(
    f: None = None,
    in_axes: int | Sequence[Any] | None = 0,
    out_axes: Any = 0,
    *,
    axis_name: Any = None,
    axis_size: int | None = None,
    spmd_axis_name: Any = None,
    in_states: Any = None,
    out_states: Any = None,
) -> Callable[[Callable[P, R]], Transformed[P, R]]: ...
def vmap(
    f: Callable[..., Any] | None = None,
    in_axes: int | Sequence[Any] | None = 0,
    out_axes: Any = 0,
    *,
    axis_name: Any = None,
    axis_size: int | None = None,
    spmd_axis_name: Any = None,
    in_states: Any = None,
    out_states: Any = None,
) -> Any:
    """`jax.vmap` for a function that reads and writes States; also a decorator, for functions and methods.

    A State is shared by all lanes unless it is declared to be mapped: then each lane sees a slice of it. A
    `RandomState` that is not declared gives each lane a key of its own, and advances once.

    Args:
        f: the function of one lane.
        in_axes: as in `jax.vmap`.
        out_axes: as in `jax.vmap`.
        axis_name: a name for collectives inside, and for States that say themselves that they are mapped:
            ``State(value, vmap_axes={"batch": 0})`` is mapped along its axis 0 by each `vmap` of the name ``"batch"``.
        axis_size: the number of lanes, where nothing else tells.
        spmd_axis_name: as in `jax.vmap`.
        in_states: States in any nesting, which are mapped along axis 0, or ``{axis: States}``; `None` as the axis keeps
            a State shared that says otherwise itself.
        out_states: in the same form, States along whose axis the values that the lanes write are put together. Those of
            ``in_states`` come out as they went in.

    Returns:
        A function of the batch.

    Raises:
        StateAxesError: a State that is not declared is written with values that differ between lanes, or one that
            is declared has no such axis, or nothing tells the number of lanes.

    >>> import jax.numpy as jnp
    >>> from spikax_transform import ParamState, ShortTermState, vmap
    >>> w, v = ParamState(jnp.float32(2)), ShortTermState(jnp.zeros(3))
    >>> def step(x):
    ...     v.value += w.value * x
    ...     return v.value
    >>> vmap(step, in_states=v)(jnp.arange(3.0))
    Array([0., 2., 4.], dtype=float32)
    >>> v.value
    Array([0., 2., 4.], dtype=float32)
    """
    axes = Axes(in_axes, out_axes, axis_name, axis_size, spmd_axis_name)
    inside, outside = state_axes("vmap", "in_states", in_states), state_axes("vmap", "out_states", out_states)

    def call(fun: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        return MappedCall(StateLanes("vmap", inside, outside, axis_name), fun, axes).run(args, kwargs)

    return transformed("vmap", f, call)


@overload
def vmap_new_states(
    f: Callable[P, R],
    *,
    axis_size: int,
    in_axes: int | Sequence[Any] | None = 0,
    out_axes: Any = 0,
    axis_name: Any = None,
    tag: str | None = None,
) -> Transformed[P, R]: ...
@overload
def vmap_new_states(
    f: None = None,
    *,
    axis_size: int,
    in_axes: int | Sequence[Any] | None = 0,
    out_axes: Any = 0,
    axis_name: Any = None,
    tag: str | None = None,
) -> Callable[[Callable[P, R]], Transformed[P, R]]: ...
def vmap_new_states(
    f: Callable[..., Any] | None = None,
    *,
    axis_size: int,
    in_axes: int | Sequence[Any] | None = 0,
    out_axes: Any = 0,
    axis_name: Any = None,
    tag: str | None = None,
) -> Any:
    """Run a function that creates States once for each lane: afterwards each holds the values of all lanes.

    Args:
        f: the function of one lane, for instance one that initialises a model.
        axis_size: the number of lanes, which becomes the first axis of each new State.
        in_axes: as in `jax.vmap`.
        out_axes: as in `jax.vmap`.
        axis_name: with a name, each `vmap` of that name maps the new States without their being declared.
        tag: put on the new States.

    Returns:
        A function of the batch.

    Raises:
        StateAxesError: a State that existed before is written with values that differ between lanes.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> from spikax_transform import RandomState, State, vmap, vmap_new_states
    >>> rng, model = RandomState(0), {}
    >>> @vmap_new_states(axis_size=3, axis_name="batch")
    ... def init():
    ...     model["v"] = State(jax.random.normal(rng.split_key(), (2,)))
    >>> init()
    >>> model["v"].value.shape
    (3, 2)
    >>> vmap(lambda: model["v"].value.sum(), axis_name="batch", axis_size=3)().shape
    (3,)
    """
    axes = Axes(in_axes, out_axes, axis_name, axis_size)

    def call(fun: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        mapped = MappedCall(StateLanes("vmap_new_states", {}, {}, axis_name), fun, axes, keep_created=True)
        out = mapped.run(args, kwargs)
        for state in mapped.created:
            state.tag = state.tag if tag is None else tag
            if axis_name is not None:
                state.metadata[SPEC] = {**state.metadata.get(SPEC, {}), axis_name: 0}
        return out

    return transformed("vmap_new_states", f, call)


def map(f: Callable[..., Y], *xs: Any, batch_size: int | None = None) -> Y:  # noqa: A001 - the name that JAX gives it
    """Call ``f(*x)`` for each slice of the inputs, one after the other, or batch after batch.

    Args:
        f: the function of one slice.
        *xs: pytrees of arrays ``[length, ...]``.
        batch_size: how many slices run at once, by `vmap`: more is faster and takes more memory.

    Returns:
        The results, stacked along a new first axis.

    Raises:
        LoopLengthError: the lengths disagree, or ``batch_size`` is not positive.
        StateAxesError: with a ``batch_size``, ``f`` writes to a State what differs between slices.

    >>> import jax.numpy as jnp
    >>> from spikax_transform import map
    >>> map(jnp.sum, jnp.ones((5, 3)), batch_size=2)
    Array([3., 3., 3., 3., 3.], dtype=float32)
    """
    if batch_size is not None and batch_size < 1:
        raise LoopLengthError(f"map got batch_size={batch_size}; expected a positive number.")
    xs = jax.tree.map(jnp.asarray, xs)
    lengths = {leaf.shape[0] if leaf.ndim else 0 for leaf in jax.tree.leaves(xs)}
    if batch_size is None or len(lengths) != 1 or lengths == {0}:
        return for_loop(f, *xs)  # which says what is wrong with the inputs
    length = lengths.pop()
    whole = length - length % batch_size
    parts = []
    if whole:
        blocks = jax.tree.map(lambda x: x[:whole].reshape(-1, batch_size, *x.shape[1:]), xs)
        out = for_loop(vmap(f), *blocks)
        parts.append(jax.tree.map(lambda y: y.reshape(whole, *y.shape[2:]), out))
    if whole < length:
        parts.append(vmap(f)(*jax.tree.map(lambda x: x[whole:], xs)))
    ys: Y = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)
    return ys
