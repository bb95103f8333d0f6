"""Lists of one length, as a rectangle of indices: what FixedNumPerPre and FixedNumPerPost share."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np

from spikax_kernels._errors import ShapeError
from spikax_kernels._random import Weight, random_lists, random_weights
from spikax_kernels.formats import _convert, _entries
from spikax_kernels.formats._dual import Dual
from spikax_kernels.formats._grouped import Grouped
from spikax_kernels.formats._structure import (
    as_shape,
    as_structure,
    as_weights,
    check_indices,
    check_weights,
    first_outside,
    is_known,
    outside,
)
from spikax_kernels.formats.coo import COO


class FixedNum(Grouped):
    """Lists of equally many entries, so that no pointers are needed."""

    __slots__ = ("data", "dual", "indices", "shape")

    arrays: ClassVar[tuple[str, ...]] = ("data", "indices", "dual")
    entry_rank: ClassVar[int] = 2

    data: jax.Array
    indices: jax.Array
    dual: Dual | None
    shape: tuple[int, int]

    def __init__(self, data: Any, indices: Any, *, shape: tuple[int, int], check: bool = True) -> None:
        self._set(as_shape(shape), None, indices, None)
        check_indices("indices", indices, 2)
        (majors, minors), axes = self._lengths, self._axes
        if indices.shape[0] != majors:
            raise ShapeError(
                f"indices: got shape {indices.shape} for {majors} {axes.major}s; expected ({majors}, k), k for each"
            )
        if check and is_known(indices):
            values = np.asarray(indices)
            wrong = first_outside(values.reshape(-1), minors)
            if wrong is not None:
                raise outside(axes, wrong // values.shape[1], values.reshape(-1)[wrong], minors)
        check_weights(data, indices.shape)
        self._set(self.shape, as_weights(data), as_structure("indices", indices), None)

    def _rows_may_be_cut(self, name: str) -> bool:
        return name in ("data", "indices")

    @property
    def _pointers(self) -> Any:
        return np.zeros(0, self.indices.dtype)

    @classmethod
    def _random(
        cls, key: jax.Array, shape: tuple[int, int], length: int, weight: Weight, allow_self: bool, replace: bool
    ) -> Self:
        sizes = as_shape(shape)
        lists = sizes[cls.major], sizes[1 - cls.major]
        indices = random_lists(key, lists, length, allow_self=allow_self, replace=replace)
        return cls._of(sizes, random_weights(key, weight, indices.shape), indices, None)

    @classmethod
    def _exactly(cls, A: COO, nse: int | None, name: str) -> Self:
        majors, minors = A.shape[cls.major], A.shape[1 - cls.major]
        if nse is not None and nse % max(majors, 1):
            raise ShapeError(f"{name}: got nse={nse} for {majors} lists of one length; expected a multiple")
        places = A._places()
        order, indices, indptr = _entries.by_rows(places[cls.major], places[1 - cls.major], (majors, minors))
        xp = _entries.namespace(order, indices, indptr)
        longest = xp.max(xp.diff(indptr), initial=0)
        room = None if nse is None else nse // max(majors, 1)
        size = _entries.settle(longest, room, f"{name} (in each list)")
        entry = indptr[:-1, None] + xp.arange(size, dtype=indptr.dtype)
        entry = xp.where(entry < indptr[1:, None], entry, A.nse)
        (grid,) = _convert.device(name, _entries.take_or(indices, entry, minors))
        data = A.data
        if not _convert.is_shared(data):
            data = _entries.take_or(data[order], jnp.asarray(entry), 0)
        return cls._of(A.shape, _entries.poison(data, longest, size), grid, None)
