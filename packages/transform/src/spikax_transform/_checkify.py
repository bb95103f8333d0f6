"""`checkify` and `check`: errors as values, so that a check works inside of any transform."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias, TypeVar, overload

from . import _compat
from ._run import FlatProgram, Leaves, run
from ._staged_call import StagedCall
from ._transformed import Transformed, transformed

if TYPE_CHECKING:
    from jax.experimental.checkify import Error

P = ParamSpec("P")
R = TypeVar("R")

ErrorCategories: TypeAlias = frozenset[Any]

# JAX's checkify is imported where it is used, because that costs a sixth of the import of this whole package.


@overload
def checkify(f: Callable[P, R], errors: ErrorCategories = ...) -> Transformed[P, tuple[Error, R]]: ...
@overload
def checkify(
    f: None = None, errors: ErrorCategories = ...
) -> Callable[[Callable[P, R]], Transformed[P, tuple[Error, R]]]: ...
def checkify(f: Callable[..., Any] | None = None, errors: ErrorCategories | None = None) -> Any:
    """`jax.experimental.checkify.checkify` for a function that reads and writes States; also a decorator.

    Args:
        f: the function, with `check` anywhere inside.
        errors: which checks count: those of ``jax.experimental.checkify``, such as ``float_checks``;
            ``user_checks``, which are those by `check`, if left out.

    Returns:
        A function that returns ``(error, result)``; ``error.throw()`` raises if a check failed. The States are written
        in any case, with whatever the function computed.

    >>> import jax.numpy as jnp
    >>> from spikax_transform import State, check, checkify, jit
    >>> rate = State(jnp.float32(-1))
    >>> @jit
    ... @checkify
    ... def step(x):
    ...     check(rate.value >= 0, "the rate is {}", rate.value)
    ...     return rate.value * x
    >>> error, _ = step(jnp.float32(2))
    >>> print(error.get().splitlines()[0])
    the rate is -1.0 (`check` failed)
    """
    from jax.experimental.checkify import user_checks

    counted = user_checks if errors is None else errors

    def call(fun: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        staged = StagedCall("checkify", fun, args, kwargs)
        inputs = staged.inputs()
        spec = (inputs.sources(staged.traced), counted)
        operands = ([*staged.traced.consts], staged.arrays(), inputs.leaves)
        error, out = run(_make, [staged.traced.jaxpr], spec, *operands)
        return error, staged.finish(out, inputs)

    return transformed("checkify", f, call)


def _make(jaxprs: Sequence[_compat.Jaxpr], spec: tuple[tuple[int, ...], ErrorCategories]) -> FlatProgram:
    sources, errors = spec

    def program(consts: Leaves, leaves: Leaves, states: Leaves) -> Leaves:
        return _compat.eval_jaxpr(jaxprs[0], [*consts, *leaves, *(states[place] for place in sources)])

    from jax.experimental import checkify

    return checkify.checkify(program, errors=errors)


def check(pred: Any, msg: str, *fmt_args: Any, debug: bool = False, **fmt_kwargs: Any) -> None:
    """Note an error if ``pred`` is false, which `checkify` around hands out; `jax.experimental.checkify.check`.

    Args:
        pred: a boolean scalar.
        msg: the message, with fields as in `str.format`.
        *fmt_args: arrays for the fields.
        debug: leave the check out where there is no `checkify` around.
        **fmt_kwargs: arrays for named fields.

    Raises:
        ValueError: there is no `checkify` around, and ``debug`` is false.
    """
    from jax.experimental import checkify

    (checkify.debug_check if debug else checkify.check)(pred, msg, *fmt_args, **fmt_kwargs)
