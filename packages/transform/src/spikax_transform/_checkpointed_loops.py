"""`checkpointed_scan` and `checkpointed_for_loop`: backward passes in little memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ._errors import LoopLengthError
from ._loops import loop

Carry = TypeVar("Carry")
X = TypeVar("X")
Y = TypeVar("Y")


def checkpointed_scan(
    f: Callable[[Carry, X], tuple[Carry, Y]],
    init: Carry,
    xs: X | None = None,
    length: int | None = None,
    reverse: bool = False,
    *,
    base: int = 16,
) -> tuple[Carry, Y]:
    """`scan` whose backward pass needs memory for ``base * log(length)`` steps, and computes each step again.

    Args:
        f: ``f(carry, x) -> (carry, y)``.
        init: the first carry, a pytree; its shapes and dtypes must not change.
        xs: a pytree of arrays ``[length, ...]``, or `None`.
        length: the number of steps; needed if there are no ``xs``.
        reverse: run from the last step to the first.
        base: larger is faster and takes more memory.

    Returns:
        The last carry, and the ``y`` of all steps stacked along a new first axis.

    Raises:
        CarryTypeError: the body changes the structure, shape or dtype of the carry or of a State.
        LoopLengthError: the lengths disagree or are missing, or ``base`` is less than 2.

    >>> import jax.numpy as jnp
    >>> from spikax_transform import ParamState, checkpointed_scan, grad
    >>> w = ParamState(jnp.float32(1))
    >>> def last(x):
    ...     return checkpointed_scan(lambda c, _: (w.value * c, None), x, length=100)[0]
    >>> grad(last, w)(jnp.float32(2))
    Array(200., dtype=float32)
    """
    return loop("checkpointed_scan", f, init, xs, length, reverse, base=_checked("checkpointed_scan", base))


def checkpointed_for_loop(
    f: Callable[..., Y], *xs: Any, length: int | None = None, reverse: bool = False, base: int = 16
) -> Y:
    """`for_loop` whose backward pass needs memory for ``base * log(length)`` steps, and computes each step again.

    Args:
        f: the body; takes one slice of each of ``xs``.
        *xs: pytrees of arrays ``[length, ...]``.
        length: the number of steps; needed if there are no ``xs``.
        reverse: run from the last step to the first.
        base: larger is faster and takes more memory.

    Returns:
        The results of all steps, stacked along a new first axis.

    Raises:
        CarryTypeError: the body changes the structure, shape or dtype of a State.
        LoopLengthError: the lengths disagree or are missing, or ``base`` is less than 2.

    >>> import jax.numpy as jnp
    >>> from spikax_transform import State, checkpointed_for_loop
    >>> v = State(jnp.float32(0))
    >>> def step(current):
    ...     v.value = 0.5 * v.value + current
    ...     return v.value
    >>> checkpointed_for_loop(step, jnp.ones(3))
    Array([1.  , 1.5 , 1.75], dtype=float32)
    """

    def body(carry: None, x: tuple[Any, ...]) -> tuple[None, Y]:
        return None, f(*x)

    base = _checked("checkpointed_for_loop", base)
    ys: Y = loop("checkpointed_for_loop", body, None, xs, length, reverse, base=base)[1]
    return ys


def _checked(name: str, base: int) -> int:
    if base < 2:
        raise LoopLengthError(f"{name} got base={base}; expected 2 or more.")
    return int(base)
