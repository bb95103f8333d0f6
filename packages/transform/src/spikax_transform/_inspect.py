"""Ask what a function does without running it: its program, the shapes of its result, the States that it touches."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Generic, Literal, ParamSpec, overload

import jax

from . import _compat
from ._staged_call import StagedCall
from ._state import State
from ._transformed import Transformed, transformed

P = ParamSpec("P")


@overload
def make_jaxpr(
    f: Callable[P, Any],
    *,
    static_argnums: int | Sequence[int] = (),
    return_shape: bool = False,
    return_states: bool = False,
) -> Transformed[P, Any]: ...
@overload
def make_jaxpr(
    f: None = None,
    *,
    static_argnums: int | Sequence[int] = (),
    return_shape: bool = False,
    return_states: bool = False,
) -> Callable[[Callable[P, Any]], Transformed[P, Any]]: ...
def make_jaxpr(
    f: Callable[..., Any] | None = None,
    *,
    static_argnums: int | Sequence[int] = (),
    return_shape: bool = False,
    return_states: bool = False,
) -> Any:
    """`jax.make_jaxpr` for a function that reads and writes States, none of which changes.

    The inputs of the program are the arguments and then the States that are read, leaf by leaf in the order of first
    use; its outputs are the results and then the States that are written. The Python runs on each call.

    Args:
        f: the function.
        static_argnums: positions of arguments that are passed on as they are.
        return_shape: return the shapes of the result as well, as in JAX.
        return_states: return the States that are read, and those that are written, as well.

    Returns:
        A function of arrays, or of ``jax.ShapeDtypeStruct`` in their place, that returns the jaxpr, or a tuple
        ``(jaxpr[, shapes][, reads, writes])``.

    >>> import jax.numpy as jnp
    >>> from spikax_transform import State, make_jaxpr
    >>> v = State(jnp.float32(0))
    >>> def step(x):
    ...     v.value = v.value + x
    >>> jaxpr = make_jaxpr(step)(jnp.float32(1))
    >>> len(jaxpr.jaxpr.invars), len(jaxpr.jaxpr.outvars)
    (2, 1)
    """

    def call(fun: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        staged = StagedCall("make_jaxpr", fun, args, kwargs, static_argnums)
        traced = staged.traced
        count = len(staged.leaves)
        reads = [aval for _, avals in traced.reads.values() for aval in avals]

        def program(*leaves: Any) -> list[Any]:
            return traced.replay(leaves[:count], leaves[count:])

        jaxpr = jax.make_jaxpr(program)(*map(_struct, [*traced.in_avals, *reads]))
        parts = [jaxpr, *([_shapes(staged)] if return_shape else [])]
        parts += [staged.read, staged.written] if return_states else []
        return tuple(parts) if len(parts) > 1 else jaxpr

    return transformed("make_jaxpr", f, call)


def eval_shape(f: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> Any:
    """`jax.eval_shape` for a function that reads and writes States, none of which changes.

    Args:
        f: the function; its Python runs on each call.
        *args: arrays, or ``jax.ShapeDtypeStruct`` in their place.
        **kwargs: the same.

    Returns:
        The result of the function with a ``jax.ShapeDtypeStruct`` in the place of each array.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> from spikax_transform import State, eval_shape
    >>> w = State(jnp.ones((3, 2)))
    >>> eval_shape(lambda x: x @ w.value, jax.ShapeDtypeStruct((5, 3), jnp.float32))
    ShapeDtypeStruct(shape=(5, 2), dtype=float32)
    """
    return _shapes(StagedCall("eval_shape", f, args, kwargs))


class StateFinder(Generic[P]):
    """Finds the States that a function touches: call it with the arguments of the function.

    The Python of the function runs on each call, with tracers; nothing is computed, and no State changes.

    Args:
        f: the function.
        usage: ``"read"`` for the States whose values on entry it uses, ``"write"`` for those that it writes,
            ``"all"`` for both.

    Raises:
        ValueError: ``usage`` is none of the three.

    >>> import jax.numpy as jnp
    >>> from spikax_transform import State, StateFinder
    >>> w, v = State(jnp.float32(2), name="w"), State(jnp.float32(0), name="v")
    >>> def step(x):
    ...     v.value = w.value * x
    >>> StateFinder(step)(jnp.float32(1)) == [w, v]
    True
    >>> [state.name for state in StateFinder(step, usage="write")(jnp.float32(1))]
    ['v']
    """

    def __init__(self, f: Callable[P, Any], usage: Literal["all", "read", "write"] = "all") -> None:
        if usage not in ("all", "read", "write"):
            raise ValueError(f"StateFinder got usage={usage!r}; expected 'all', 'read' or 'write'.")
        if not callable(f):
            raise TypeError(f"StateFinder got a {type(f).__name__} as its first argument; expected a function.")
        functools.update_wrapper(self, f, updated=())
        self._fun = f
        self.usage = usage

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> list[State[Any]]:
        """The States, in the order of first use, those that are read first."""
        staged = StagedCall("StateFinder", self._fun, args, kwargs)
        if self.usage == "all":
            return list(dict.fromkeys([*staged.read, *staged.written]))
        return staged.read if self.usage == "read" else staged.written

    def __repr__(self) -> str:
        return f"StateFinder({self._fun!r}, usage={self.usage!r})"


def _shapes(staged: StagedCall) -> Any:
    tree = staged.traced.out_tree
    return jax.tree.unflatten(tree, list(map(_struct, staged.traced.out_avals[: tree.num_leaves])))


def _struct(aval: _compat.Aval) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(aval.shape, aval.dtype, weak_type=aval.weak_type)
