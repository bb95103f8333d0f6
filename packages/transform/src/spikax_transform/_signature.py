"""One trace of a function for one kind of call: what `jit` knows before it decides whether its plan still fits."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import jax

from . import _compat
from ._options import Options, like
from ._trace import Traced, refuse_states, trace_once


@dataclass(frozen=True)
class Signature:
    """One trace of the function: for which arguments, and what it gave."""

    in_tree: Any
    in_avals: tuple[_compat.Aval, ...]
    statics: tuple[Any, ...]
    traced: Traced

    def fits(self, in_tree: Any, in_avals: tuple[_compat.Aval, ...], statics: Sequence[Any]) -> bool:
        """Whether it was traced for these arguments."""
        same = len(statics) == len(self.statics) and all(a is b for a, b in zip(statics, self.statics, strict=True))
        return same and (self.in_tree, self.in_avals) == (in_tree, in_avals)

    @property
    def key(self) -> Hashable:
        """Equal for calls that `jax.jit` serves with one program."""
        return (self.in_tree, self.in_avals, tuple((type(value), value) for value in self.statics))

    @property
    def touched(self) -> tuple[frozenset[int], frozenset[int], frozenset[int]]:
        """Which States were read, written and created, by identity."""
        traced = self.traced
        return (
            frozenset(map(id, traced.reads)),
            frozenset(map(id, traced.writes)),
            frozenset(map(id, traced.created)),
        )


def sign(fun: Callable[..., Any], args: Any, kwargs: Any, known: Signature | None) -> Signature:
    """Trace the function for arguments that `jax.jit` made tracers of, or find that it was just done."""
    leaves, tree = jax.tree.flatten((args, kwargs))
    refuse_states(leaves, "jit", "passed to")
    dynamic, statics = split(leaves)
    avals = tuple(_compat.aval_of(leaf) for leaf in dynamic)
    if known is not None and known.fits(tree, avals, statics):
        return known
    constants = [_DYNAMIC if isinstance(leaf, _compat.Tracer) else leaf for leaf in leaves]
    del leaves, dynamic, args, kwargs
    return _sign(fun, tree, avals, constants)


def _sign(fun: Callable[..., Any], tree: Any, avals: tuple[_compat.Aval, ...], constants: Sequence[Any]) -> Signature:
    def run(*dynamic: Any) -> Any:
        given = iter(dynamic)
        merged = [next(given) if leaf is _DYNAMIC else leaf for leaf in constants]
        args, kwargs = jax.tree.unflatten(tree, merged)
        return fun(*args, **kwargs)

    flat_tree = jax.tree.structure(((0,) * len(avals), {}))
    traced = trace_once(run, flat_tree, avals, name="jit", keep_created=True)
    return Signature(tree, avals, tuple(leaf for leaf in constants if leaf is not _DYNAMIC), traced)


_DYNAMIC = object()


def discover(fun: Callable[..., Any], options: Options, args: Any, kwargs: Any) -> Signature:
    """Run the function's Python once, as `jax.jit` would trace it, for the States that it touches."""
    if not options.has_statics:
        # the common case without `jax.jit`, whose own tracing costs as much as a small function's
        leaves, tree = jax.tree.flatten((args, kwargs))
        refuse_states(leaves, "jit", "passed to")
        return _sign(fun, tree, tuple(map(_compat.aval_of, leaves)), [_DYNAMIC] * len(leaves))
    found: list[Signature] = []

    def probe(*args: Any, **kwargs: Any) -> None:
        found.append(sign(fun, args, kwargs, None))

    jax.jit(like(fun, probe, 0), **options.for_probe(fun)).trace(*args, **kwargs)
    return found.pop()


def split(leaves: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Leaves that `jax.jit` traces, and leaves of static arguments."""
    dynamic = [leaf for leaf in leaves if isinstance(leaf, _compat.Tracer)]
    return dynamic, [leaf for leaf in leaves if not isinstance(leaf, _compat.Tracer)]
