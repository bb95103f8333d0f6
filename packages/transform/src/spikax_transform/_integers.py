"""Forward mode with respect to inputs some of which are integers, which JAX refuses: their derivatives are zeros."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from . import _compat
from ._blocks import IsLeaf

Derivative: TypeAlias = Callable[..., tuple[Any, Any]]


def is_inexact(leaf: Any) -> bool:
    """Whether a number, an array or a quantity is of a floating-point or complex type."""
    return bool(jnp.issubdtype(_dtype(leaf), jnp.inexact))


def past_integers(
    transform: Callable[[Callable[..., Any]], Derivative], pure: Callable[..., Any], order: int, is_leaf: IsLeaf
) -> Derivative:
    """``transform(pure)``, of an `order`, with respect to one argument or to all, in which integers count as constants.

    Their blocks are zeros of their own dtype, as those of `jax.jacrev` with ``allow_int=True`` are.
    """

    def derivative(*primals: Any) -> tuple[Any, Any]:
        inputs = _Inputs(*jax.tree.flatten(primals[0] if len(primals) == 1 else primals, is_leaf=is_leaf))
        outs: list[Any] = []
        out_tree: Any = None

        def of_chosen(values: Sequence[Any]) -> Any:
            nonlocal outs, out_tree
            merged = inputs.with_chosen(values)
            out, aux = pure(*(merged if len(primals) > 1 else (merged,)))
            leaves, out_tree = jax.tree.flatten(out, is_leaf=is_leaf)
            outs = [np.shape(leaf) for leaf in leaves]
            return out, aux

        chosen = [inputs.leaves[i] for i in inputs.chosen]
        if not chosen:
            _, aux = of_chosen(chosen)
            return jax.tree.unflatten(out_tree, [inputs.fill(None, shape, order) for shape in outs]), aux
        found, aux = transform(of_chosen)(chosen)
        rows = zip(out_tree.flatten_up_to(found), outs, strict=True)
        return jax.tree.unflatten(out_tree, [inputs.fill(row, shape, order) for row, shape in rows]), aux

    return derivative


@dataclass(frozen=True)
class _Inputs:
    """What is differentiated, as leaves."""

    leaves: list[Any]
    tree: Any

    @property
    def chosen(self) -> list[int]:
        """Which leaves have a derivative."""
        return [i for i, leaf in enumerate(self.leaves) if is_inexact(leaf)]

    def with_chosen(self, values: Sequence[Any]) -> Any:
        """The inputs, with other values for those that have a derivative."""
        merged = list(self.leaves)
        for i, value in zip(self.chosen, values, strict=True):
            merged[i] = value
        return jax.tree.unflatten(self.tree, merged)

    def fill(self, found: Any, shape: tuple[int, ...], order: int) -> Any:
        """The derivatives of one output of this shape from those `found`, a list, and zeros."""
        blocks = []
        known = dict(zip(self.chosen, found or (), strict=True))
        for i, leaf in enumerate(self.leaves):
            inner = (*shape, *np.shape(leaf))
            if order > 1:
                blocks.append(self._fill_second(known.get(i), leaf, inner))
            else:
                blocks.append(known[i] if i in known else jnp.zeros(inner, _dtype(leaf)))
        return jax.tree.unflatten(self.tree, blocks)

    def _fill_second(self, found: Any, first: Any, shape: tuple[int, ...]) -> Any:
        if found is not None:
            return self.fill(found, shape, 1)
        zeros = [jnp.zeros((*shape, *np.shape(leaf)), _dtype(first)) for leaf in self.leaves]
        return jax.tree.unflatten(self.tree, zeros)


def _dtype(leaf: Any) -> Any:
    return leaf.dtype if hasattr(leaf, "dtype") else _compat.aval_of(leaf).dtype
