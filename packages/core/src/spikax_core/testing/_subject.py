"""``Subject``: a kernel on one backend, called as one case says, and the operands that checks call it with."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from spikax_core._compat import Array
from spikax_core._errors import BackendRefusedError
from spikax_core._kernel import XLACustomKernel

from ._case import Case

Arrays: TypeAlias = tuple[Array, ...]


@dataclass(frozen=True, eq=False)
class Subject:
    """A kernel on one backend, called as one case says."""

    kernel: XLACustomKernel
    case: Case
    backend: str

    def __post_init__(self) -> None:
        _ = self.lanes  # what is kept must be made here: inside a traced function it would be a tracer of that function

    @functools.cached_property
    def args(self) -> Arrays:
        """The operands of the case."""
        return tuple(map(jnp.asarray, self.case.args))

    @functools.cached_property
    def lanes(self) -> tuple[Arrays, ...]:
        """Operands of one type and several values: those of the case, then others."""
        if self.case.others:
            return (self.args, *(tuple(map(jnp.asarray, other)) for other in self.case.others))
        return self.args, tuple(vary(arg, 1) for arg in self.args), tuple(vary(arg, 2) for arg in self.args)

    @functools.cached_property
    def argnums(self) -> tuple[int, ...]:
        """The arguments that have tangents."""
        return tuple(i for i, arg in enumerate(self.args) if is_inexact(arg))

    @functools.cached_property
    def types(self) -> list[jax.ShapeDtypeStruct]:
        """The types of all results."""
        return jax.tree.leaves(jax.eval_shape(self.call, *self.args))

    @property
    def differentiable(self) -> bool:
        """Whether it has inputs and results with derivatives, and these are to be checked; to be asked first."""
        return bool(self.tangents and self.cotangents) and "derivatives" not in self.case.skip

    def call(self, *args: Array) -> Any:
        """The results of the kernel."""
        return self.kernel(*args, outs=self.case.outs, backend=self.backend, **self.case.params)

    def refusal(self, *args: Array) -> str | None:
        """Why the backend does not serve these operands, or ``None``; any other error is for the checks to find."""
        try:
            jax.jit(self.call).lower(*args)
        except BackendRefusedError as error:
            return str(error)
        except Exception:  # noqa: BLE001
            return None
        return None

    def floats(self, *args: Array) -> Arrays:
        """The results that have derivatives."""
        return tuple(out for out in jax.tree.leaves(self.call(*args)) if is_inexact(out))

    def smooth(self, *inputs: Array) -> Arrays:
        """The results that have derivatives, as a function of the inputs that have: the kernel, as calculus sees it."""
        return self.smooth_at(self.args)(*inputs)

    def smooth_at(self, args: Sequence[Array]) -> Callable[..., Arrays]:
        """The same where the other arguments are those of ``args``."""
        return lambda *inputs: self.floats(*self.filled(args, inputs))

    def filled(self, args: Sequence[Array], inputs: Sequence[Array]) -> list[Array]:
        """``args`` with ``inputs`` in the places of those that have derivatives."""
        given = dict(zip(self.argnums, inputs, strict=True))
        return [given.get(i, arg) for i, arg in enumerate(args)]

    @property
    def inputs(self) -> Arrays:
        """The operands that have tangents."""
        return tuple(self.args[i] for i in self.argnums)

    @functools.cached_property
    def tangents(self) -> Arrays:
        """A tangent of each input."""
        return tuple(noise(x, seed) for seed, x in enumerate(self.inputs))

    @functools.cached_property
    def cotangents(self) -> Arrays:
        """A cotangent of each result that has derivatives."""
        return tuple(noise(out, 100 + seed) for seed, out in enumerate(filter(is_inexact, self.types)))

    def stack(self, results: Sequence[Any]) -> Any:
        """What a batch gives, from the results of its lanes."""
        return jax.tree.map(lambda *lanes: np.stack([np.asarray(lane) for lane in lanes]), *results)


def is_inexact(x: Any) -> bool:
    """Whether a value has derivatives, by its dtype."""
    return bool(jnp.issubdtype(x.dtype, jnp.inexact))


def noise(like: Any, seed: int) -> Array:
    """Normal numbers of the shape and dtype of ``like``, the same in each run."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=like.shape)
    if jnp.issubdtype(like.dtype, jnp.complexfloating):
        values = values + 1j * rng.normal(size=like.shape)
    return jnp.asarray(values.astype(like.dtype))


def vary(x: Array, lane: int) -> Array:
    """Another value of the type of ``x``: shifted and, if real, scaled; an integer stays, as it may be a structure."""
    if not (is_inexact(x) or x.dtype == jnp.bool_):
        return x
    moved = np.roll(np.asarray(x), lane, axis=-1) if x.ndim else np.asarray(x)
    if x.dtype == jnp.bool_:
        return jnp.asarray(moved if x.ndim else moved ^ bool(lane % 2))
    return jnp.asarray((moved * (1 + lane / 4)).astype(x.dtype))
