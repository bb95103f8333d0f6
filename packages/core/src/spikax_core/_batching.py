"""``general_batching_rule``: ``vmap`` of anything, lane after lane, without copying what is not batched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from ._compat import Array, Primitive
from ._errors import ParameterError

if TYPE_CHECKING:
    from ._kernel import XLACustomKernel


def general_batching_rule(
    primitive: Primitive | XLACustomKernel | Callable[..., Any],
    args: Sequence[Array],
    axes: Sequence[int | None],
    *,
    chunk: int | None = None,
    independent: Sequence[int] = (),
    **params: Any,
) -> tuple[Any, Any]:
    """Batch any primitive or callable by running it once per lane, in a loop on the device.

    It is a batching rule in JAX's form: ``batching.primitive_batchers[p] = functools.partial(general_batching_rule, p)``.
    Operands that are not batched are closed over, never repeated per lane. A batch of size zero gives empty results.

    Args:
        primitive: The ``Primitive``, ``XLACustomKernel`` or callable to run on each lane.
        args: Its operands, some of which carry a batch axis.
        axes: For each operand the position of its batch axis, or ``None``.
        chunk: How many lanes one iteration of the loop handles (default 1).
        independent: Indices of the (flattened) results that do not depend on the batched operands; they stay unbatched.
        **params: Static parameters, passed on.

    Returns:
        ``(outs, out_axes)``: the results stacked along a new leading axis, and their batch axes (0, or ``None`` for
        independent ones and where no operand is batched), in the structure of the results.

    Raises:
        ParameterError: ``chunk`` is not a positive integer, or an index in ``independent`` is out of range.

    Example:
        >>> import jax.numpy as jnp
        >>> from spikax_core import general_batching_rule
        >>> general_batching_rule(jnp.dot, (jnp.eye(2), jnp.arange(2.0)), (0, None))
        (Array([0., 1.], dtype=float32), 0)
    """
    if chunk is not None and (not isinstance(chunk, int) or chunk < 1):
        raise ParameterError(f"chunk: got {chunk!r}; expected a positive integer or None")
    call = primitive.bind if isinstance(primitive, Primitive) else primitive
    batched = {i: jnp.moveaxis(a, ax, 0) for i, (a, ax) in enumerate(zip(args, axes, strict=True)) if ax is not None}
    if not batched:
        outs = call(*args, **params)
        return outs, jax.tree.map(lambda _: None, outs)

    def lane(values: dict[int, Array]) -> Any:
        return call(*(values.get(i, arg) for i, arg in enumerate(args)), **params)

    if not independent:
        outs = jax.lax.scan(lambda _, values: (None, lane(values)), None, batched, unroll=chunk or 1)[1]
        return outs, jax.tree.map(lambda _: 0, outs)
    first = {i: jax.ShapeDtypeStruct(a.shape[1:], a.dtype) for i, a in batched.items()}
    shapes, tree = jax.tree.flatten(jax.eval_shape(lane, first))
    once = {_index(i, len(shapes)) for i in independent}
    flat = _scan_keeping_last(lambda values: tree.flatten_up_to(lane(values)), batched, once, shapes, chunk)
    return tree.unflatten(flat), tree.unflatten([None if i in once else 0 for i in range(len(shapes))])


def _index(index: int, count: int) -> int:
    """``index`` counted from the front."""
    if not -count <= index < count:
        raise ParameterError(f"independent: got index {index} for {count} results")
    return index % count


def _scan_keeping_last(
    lane: Callable[[dict[int, Array]], list[Array]],
    batched: dict[int, Array],
    once: set[int],
    shapes: Sequence[Any],
    chunk: int | None,
) -> list[Array]:
    """Stack the results of all lanes, except those in ``once``, of which a single copy is kept."""
    if len(next(iter(batched.values()))) == 0:
        # There is no lane to take an independent result from, so one of zeros stands in for it.
        alone = lane({i: jnp.zeros(a.shape[1:], a.dtype) for i, a in batched.items()})
        return [alone[i] if i in once else jnp.zeros((0, *s.shape), s.dtype) for i, s in enumerate(shapes)]

    def step(_: Any, values: dict[int, Array]) -> tuple[list[Array], list[Array]]:
        outs = lane(values)
        return [outs[i] for i in sorted(once)], [o for i, o in enumerate(outs) if i not in once]

    head = step(None, {i: a[0] for i, a in batched.items()})[0]
    kept, stacked = jax.lax.scan(step, head, batched, unroll=chunk or 1)
    singles, stacks = iter(kept), iter(stacked)
    return [next(singles) if i in once else next(stacks) for i in range(len(shapes))]
