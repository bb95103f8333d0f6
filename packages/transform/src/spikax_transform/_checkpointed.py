"""The steps of a loop as a tree, whose branches the backward pass computes again instead of remembering them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ._progress import cut


def checkpointed_steps(
    step: Callable[[Any, Any], tuple[Any, Any]], carry: Any, xs: Any, length: int, base: int, *, reverse: bool
) -> tuple[Any, Any]:
    """A scan of which the backward pass remembers ``base`` carries at each level of the tree.

    A length that is no power of the base has a rest, which is a smaller tree: no step is done in vain.
    """
    if length <= base:
        return lax.scan(step, carry, xs, length=length, reverse=reverse)
    block = base
    while block * base < length:
        block *= base
    count, rest = divmod(length, block)
    main, tail = cut(xs, count * block, reverse)
    blocks = jax.tree.map(lambda x: x.reshape(count, block, *x.shape[1:]), main)

    def branch(size: int) -> Callable[[Any, Any], tuple[Any, Any]]:
        return jax.checkpoint(
            lambda carry, xs: checkpointed_steps(step, carry, xs, size, base, reverse=reverse), prevent_cse=False
        )

    carry, ys = lax.scan(branch(block), carry, blocks, length=count, reverse=reverse)
    ys = jax.tree.map(lambda y: y.reshape(count * block, *y.shape[2:]), ys)
    if rest:
        carry, last = branch(rest)(carry, tail)
        ys = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), *((last, ys) if reverse else (ys, last)))
    return carry, ys
