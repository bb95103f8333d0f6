"""The order of nesting in Jacobians and Hessians with States and arguments: JAX's inside the output, ours outside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax

IsLeaf: TypeAlias = Callable[[Any], bool] | None


def pair_outside(blocks: Any, out: Any, is_leaf: IsLeaf) -> tuple[Any, Any]:
    """``(of the States, of the arguments)`` from a Jacobian with that pair at each leaf of the output."""
    tree: Any = jax.tree.structure(out, is_leaf=is_leaf)
    pairs = tree.flatten_up_to(blocks)
    return jax.tree.unflatten(tree, [pair[0] for pair in pairs]), jax.tree.unflatten(tree, [pair[1] for pair in pairs])


def square_outside(blocks: Any, out: Any, primals: Sequence[Any], is_leaf: IsLeaf) -> tuple[Any, ...]:
    """``((H_ss, H_sa), (H_as, H_aa))`` from a Hessian with a pair at each leaf of each member of a pair.

    Each of the four is a tree of the output, at whose leaves are trees of the first input, at whose leaves are trees of
    the second.
    """
    tree: Any = jax.tree.structure(out, is_leaf=is_leaf)
    pairs = tree.flatten_up_to(blocks)
    inputs: list[Any] = [jax.tree.structure(primal, is_leaf=is_leaf) for primal in primals]

    def block(first: int, second: int) -> Any:
        rows = [[cell[second] for cell in inputs[first].flatten_up_to(pair[first])] for pair in pairs]
        return jax.tree.unflatten(tree, [jax.tree.unflatten(inputs[first], row) for row in rows])

    return tuple((block(first, 0), block(first, 1)) for first in range(2))
