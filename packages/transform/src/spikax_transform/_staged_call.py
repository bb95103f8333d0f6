"""One call of a function, traced once for the shapes of its arguments: a program over plain leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from . import _compat
from ._entry import Inputs, store
from ._errors import ArgumentNumberError
from ._state import State
from ._trace import Traced, refuse_states, trace_once


class StagedCall:
    """The trace of a call, its arguments as leaves, and what becomes of its results."""

    def __init__(
        self, name: str, fun: Callable[..., Any], args: Any, kwargs: Any, static_argnums: int | Sequence[int] = ()
    ) -> None:
        statics = _positions(name, static_argnums, len(args))
        refuse_states(jax.tree.leaves((args, kwargs)), name, "passed to")
        dynamic = tuple(arg for i, arg in enumerate(args) if i not in statics)
        self.leaves, in_tree = jax.tree.flatten((dynamic, kwargs))

        def call(*dynamic: Any, **kwargs: Any) -> Any:
            given = iter(dynamic)
            return fun(*(arg if i in statics else next(given) for i, arg in enumerate(args)), **kwargs)

        avals = [_aval(name, leaf) for leaf in self.leaves]
        self.traced: Traced = trace_once(call if statics else fun, in_tree, avals, name=name)

    def arrays(self) -> list[Any]:
        """The leaves of the arguments, for the program to be run."""
        return [leaf if isinstance(leaf, jax.Array) else jnp.asarray(leaf) for leaf in self.leaves]

    def inputs(self) -> Inputs:
        """The values of the States that the program reads."""
        return Inputs([self.traced])

    def finish(self, out: Sequence[Any], inputs: Inputs) -> Any:
        """Write the States, and return the function's result."""
        size = self.traced.out_tree.num_leaves
        out = [_compat.plain(leaf, aval) for leaf, aval in zip(out, self.traced.out_avals, strict=True)]
        store(self.traced.writes, out[size:], inputs)
        return jax.tree.unflatten(self.traced.out_tree, out[:size])

    @property
    def read(self) -> list[State[Any]]:
        """The States whose values on entry the function uses, in the order of first use."""
        return list(self.traced.reads)

    @property
    def written(self) -> list[State[Any]]:
        """The States that the function writes, in the order of first write."""
        return list(self.traced.writes)


def _aval(name: str, leaf: Any) -> _compat.Aval:
    try:
        return _compat.abstract_aval(leaf)
    except TypeError:
        raise TypeError(
            f"{name} got an argument of type {type(leaf).__name__}; expected arrays and numbers. Close over other "
            f"objects, or name their positions in static_argnums where there is one."
        ) from None


def _positions(name: str, argnums: int | Sequence[int], count: int) -> frozenset[int]:
    numbers = argnums if isinstance(argnums, Sequence) else (argnums,)
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, int | np.integer) or not -count <= number < count:
            raise ArgumentNumberError(
                f"{name} got static_argnums={argnums}, but the call has {count} positional arguments (self is not "
                f"counted). Pass them by position, or choose another number."
            )
    return frozenset(int(number) % count for number in numbers)
