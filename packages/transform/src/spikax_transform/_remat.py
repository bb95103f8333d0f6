"""`checkpoint`: values inside are computed again in the backward pass instead of being remembered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar, overload

import jax

from . import _compat
from ._run import FlatProgram, Leaves, run
from ._staged_call import StagedCall
from ._transformed import Transformed, transformed

P = ParamSpec("P")
R = TypeVar("R")


@overload
def checkpoint(
    f: Callable[P, R],
    *,
    prevent_cse: bool = True,
    policy: Callable[..., Any] | None = None,
    static_argnums: int | Sequence[int] = (),
) -> Transformed[P, R]: ...
@overload
def checkpoint(
    f: None = None,
    *,
    prevent_cse: bool = True,
    policy: Callable[..., Any] | None = None,
    static_argnums: int | Sequence[int] = (),
) -> Callable[[Callable[P, R]], Transformed[P, R]]: ...
def checkpoint(
    f: Callable[..., Any] | None = None,
    *,
    prevent_cse: bool = True,
    policy: Callable[..., Any] | None = None,
    static_argnums: int | Sequence[int] = (),
) -> Any:
    """`jax.checkpoint` for a function that reads and writes States; also a decorator, for functions and methods.

    The States keep their values on entry for the backward pass; what the function computes from them is computed again.

    Args:
        f: the function.
        prevent_cse: as in `jax.checkpoint`; `False` is right inside of loops, and faster.
        policy: which values are remembered after all, one of ``jax.checkpoint_policies``.
        static_argnums: positions of arguments that are passed on as they are.

    Returns:
        A function with the same results.

    Raises:
        ArgumentNumberError: ``static_argnums`` names an argument that the call does not have.

    >>> import jax.numpy as jnp
    >>> from spikax_transform import ParamState, checkpoint, grad
    >>> w = ParamState(jnp.float32(2))
    >>> @checkpoint
    ... def layer(x):
    ...     return jnp.sin(w.value * x)
    >>> grad(lambda x: layer(layer(x)), w)(jnp.float32(0))
    Array(0., dtype=float32)
    """

    def call(fun: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        staged = StagedCall("checkpoint", fun, args, kwargs, static_argnums)
        inputs = staged.inputs()
        spec = (len(staged.traced.consts), inputs.sources(staged.traced), prevent_cse, policy)
        operands = ([*staged.traced.consts], staged.arrays(), inputs.leaves)
        return staged.finish(run(_make, [staged.traced.jaxpr], spec, *operands), inputs)

    return transformed("checkpoint", f, call)


remat = checkpoint


def _make(jaxprs: Sequence[_compat.Jaxpr], spec: tuple[int, tuple[int, ...], bool, Any]) -> FlatProgram:
    _, sources, prevent_cse, policy = spec

    def program(consts: Leaves, leaves: Leaves, states: Leaves) -> Leaves:
        return _compat.eval_jaxpr(jaxprs[0], [*consts, *leaves, *(states[place] for place in sources)])

    return jax.checkpoint(program, prevent_cse=prevent_cse, policy=policy)
