"""Progress bars for loops: one report per block of steps, nothing per step."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ._errors import MissingExtraError, ProgressError

# A hundred updates make a smooth bar, and a hundred host callbacks cost some milliseconds in all.
_DEFAULT_COUNT = 100


@dataclass(frozen=True)
class ProgressBar:
    """How a loop shows its progress.

    Args:
        freq: report after this many steps.
        count: or report this many times in all; not both.
        desc: text in front of the bar.

    Raises:
        ProgressError: if both are given, or one is not positive.

    >>> from spikax_transform import ProgressBar
    >>> ProgressBar(count=20, desc="simulating")
    ProgressBar(freq=None, count=20, desc='simulating')
    """

    freq: int | None = None
    count: int | None = None
    desc: str | None = None

    def __post_init__(self) -> None:
        if self.freq is not None and self.count is not None:
            raise ProgressError("ProgressBar got both freq and count; expected one of them.")
        for name in ("freq", "count"):
            given = getattr(self, name)
            if given is not None and given < 1:
                raise ProgressError(f"ProgressBar got {name}={given}; expected a positive number.")

    def block(self, length: int) -> int:
        """How many steps there are between two reports of a loop of `length` steps."""
        if self.freq is not None:
            return min(self.freq, length)
        return -(-length // (self.count or _DEFAULT_COUNT))


class Meter:
    """The bar of one loop. Equal meters may share a program, and then share the bar."""

    def __init__(self, bar: ProgressBar, length: int) -> None:
        self.bar = bar
        self.length = length
        self._lock = threading.Lock()
        self._display: Any = None
        self._seen: set[int] = set()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Meter) and (self.bar, self.length) == (other.bar, other.length)

    def __hash__(self) -> int:
        return hash((self.bar, self.length))

    @property
    def block(self) -> int:
        """Steps between two reports."""
        return self.bar.block(self.length)

    def __call__(self, number: Any) -> None:
        """Show that a block is over; runs on the host, and may be called in any order."""
        block = int(number)
        with self._lock:
            if self._display is None or block in self._seen:  # a new run, perhaps after one that failed
                self._close()
                self._display = _tqdm()(total=self.length, desc=self.bar.desc, disable=None)
            self._seen.add(block)
            self._display.update(min(self.block, self.length - block * self.block))
            if len(self._seen) * self.block >= self.length:
                self._close()

    def _close(self) -> None:
        if self._display is not None:
            self._display.close()
        self._display = None
        self._seen.clear()


def meter_for(progress: ProgressBar | int | bool | None, length: int) -> Meter | None:
    """The meter that `progress` asks for, `None` if nothing would be seen of it."""
    if progress is None or progress is False:
        return None
    if isinstance(progress, bool):
        bar = ProgressBar()
    elif isinstance(progress, int):
        bar = ProgressBar(freq=progress)
    elif isinstance(progress, ProgressBar):
        bar = progress
    else:
        raise ProgressError(
            f"progress got {progress!r}; expected True, a number of steps between reports, or a ProgressBar."
        )
    _tqdm()  # a missing package is an error now, not in a callback
    if length == 0 or not _is_terminal():
        return None
    return Meter(bar, length)


def run_blocks(
    step: Callable[[Any, Any], tuple[Any, Any]],
    carry: Any,
    xs: Any,
    meter: Meter,
    *,
    reverse: bool,
    unroll: int | bool,
) -> tuple[Any, Any]:
    """A scan of `meter.length` steps as a scan over blocks, with a report after each."""
    block = meter.block
    whole, rest = divmod(meter.length, block)
    main, tail = cut(xs, whole * block, reverse)
    blocks = jax.tree.map(lambda x: x.reshape(whole, block, *x.shape[1:]), main)

    def one_block(carry: Any, numbered: tuple[Any, Any]) -> tuple[Any, Any]:
        number, x = numbered
        carry, ys = lax.scan(step, carry, x, length=block, reverse=reverse, unroll=unroll)
        jax.debug.callback(meter, number)
        return carry, ys

    carry, ys = lax.scan(one_block, carry, (jnp.arange(whole), blocks), reverse=reverse)
    ys = jax.tree.map(lambda y: y.reshape(whole * block, *y.shape[2:]), ys)
    if rest:
        carry, last = lax.scan(step, carry, tail, length=rest, reverse=reverse, unroll=unroll)
        jax.debug.callback(meter, jnp.int32(whole))
        pair = (last, ys) if reverse else (ys, last)
        ys = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), *pair)
    return carry, ys


def cut(xs: Any, size: int, reverse: bool) -> tuple[Any, Any]:
    """The whole blocks of the inputs, and the rest, which is run last."""
    if reverse:
        return jax.tree.map(lambda x: x[x.shape[0] - size :], xs), jax.tree.map(lambda x: x[: x.shape[0] - size], xs)
    return jax.tree.map(lambda x: x[:size], xs), jax.tree.map(lambda x: x[size:], xs)


def _is_terminal() -> bool:
    """What tqdm decides under ``disable=None``, asked before the loop is cut into blocks for nothing."""
    return bool(getattr(sys.stderr, "isatty", lambda: False)())


def _tqdm() -> Any:
    try:
        return importlib.import_module("tqdm").tqdm
    except ImportError as error:
        raise MissingExtraError(
            'A progress bar needs tqdm, which is not installed; run: pip install "spikax-transform[progress]"'
        ) from error
