"""``general_batching_rule``: ``vmap`` of anything, lane after lane, without copying what is not batched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from ._compat import Array, Primitive, bind, unflatten, unshard, vary_over, varying_axes
from ._errors import ParameterError

if TYPE_CHECKING:
    from ._kernel import XLACustomKernel


def general_batching_rule(
    primitive: Primitive | XLACustomKernel | Callable[..., Any],
    args: Sequence[Array],
    axes: Sequence[int | None],
    /,
    *,
    chunk: int | None = None,
    independent: Sequence[int] = (),
    **params: Any,
) -> tuple[Any, Any]:
    """Batch any primitive or callable by running it once per lane, in a loop on the device.

    It is a batching rule in JAX's form:
    ``batching.primitive_batchers[primitive] = functools.partial(general_batching_rule, primitive)``.
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
    if chunk is not None and (isinstance(chunk, bool) or not isinstance(chunk, int) or chunk < 1):
        raise ParameterError(f"chunk: got {chunk!r}; expected a positive integer or None")
    mapped = tuple(axis is not None for axis in axes)
    leading = [arg if axis is None else _leading(arg, axis) for arg, axis in zip(args, axes, strict=True)]
    if not any(mapped):
        outs = _call(primitive, args, params)
        return outs, jax.tree.map(lambda _: None, outs)
    # A loop over a primitive is compiled once for all eager calls, as its params can be told apart by their values.
    # Other callables may close over what changes.
    run = _jitted_lanes if isinstance(primitive, Primitive) else _lanes
    outs = run(primitive, leading, mapped, chunk or 1, tuple(independent), tuple(params.items()))
    leaves, tree = jax.tree.flatten(outs)
    once = _counted(independent, len(leaves))
    return outs, unflatten(tree, [None if i in once else 0 for i in range(len(leaves))])


def _leading(arg: Array, axis: int) -> Array:
    """``arg`` with its batch axis in front, where a loop can run over it."""
    return jnp.moveaxis(unshard(arg, {axis % jnp.ndim(arg)}), axis, 0)


def _call(primitive: Primitive | Callable[..., Any], args: Sequence[Array], params: dict[str, Any]) -> Any:
    return bind(primitive, args, params) if isinstance(primitive, Primitive) else primitive(*args, **params)


def _counted(independent: Sequence[int], count: int) -> set[int]:
    """The indices in ``independent``, counted from the front."""
    for index in independent:
        if not -count <= index < count:
            raise ParameterError(f"independent: got index {index}; expected one of the {count} results")
    return {index % count for index in independent}


def _lanes(
    primitive: Primitive | Callable[..., Any],
    args: Sequence[Array],
    mapped: tuple[bool, ...],
    chunk: int,
    independent: tuple[int, ...],
    params: tuple[tuple[str, Any], ...],
) -> Any:
    """The stacked results of all lanes, and a single copy of the independent ones."""

    def lane(values: Sequence[Array]) -> Any:
        rest = iter(values)
        return _call(primitive, [next(rest) if m else arg for m, arg in zip(mapped, args, strict=True)], dict(params))

    xs = [arg for m, arg in zip(mapped, args, strict=True) if m]
    if not independent:
        return jax.lax.scan(lambda _, values: (None, lane(values)), None, xs, unroll=chunk)[1]
    # One lane more, because a batch of size zero has none to take the independent results from.
    alone, tree = jax.tree.flatten(lane([_any_lane(x) for x in xs]))
    once = _counted(independent, len(alone))

    def dependent(_: None, values: Sequence[Array]) -> tuple[None, list[Array]]:
        return None, [out for i, out in enumerate(jax.tree.leaves(lane(values))) if i not in once]

    stacked = iter(jax.lax.scan(dependent, None, xs, unroll=chunk)[1])
    return unflatten(tree, [out if i in once else next(stacked) for i, out in enumerate(alone)])


_jitted_lanes = jax.jit(_lanes, static_argnums=(0, 2, 3, 4, 5))


def _any_lane(batch: Array) -> Array:
    if len(batch):
        return batch[0]
    return vary_over(jnp.zeros(batch.shape[1:], batch.dtype), varying_axes(jax.typeof(batch)))
