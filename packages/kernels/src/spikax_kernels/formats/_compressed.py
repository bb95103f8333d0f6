"""Lists of any length with a pointer to where each begins: what CSR and CSC share."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import jax
import numpy as np

from spikax_kernels._errors import ShapeError
from spikax_kernels._random import Weight, random_compressed, random_weights
from spikax_kernels.formats._dual import Dual
from spikax_kernels.formats._grouped import Grouped
from spikax_kernels.formats._structure import (
    as_shape,
    as_structure,
    as_weights,
    check_indices,
    check_pointers,
    check_weights,
    first_outside,
    is_known,
    outside,
)


class Compressed(Grouped):
    """Lists of entries, one after the other.

    Attributes:
        indptr: Where each list begins among the entries, one more than there are lists.
    """

    __slots__ = ("data", "dual", "indices", "indptr", "shape")

    arrays: ClassVar[tuple[str, ...]] = ("data", "indices", "indptr", "dual")

    data: jax.Array
    indices: jax.Array
    indptr: jax.Array
    dual: Dual | None
    shape: tuple[int, int]

    def __init__(self, data: Any, indices: Any, indptr: Any, *, shape: tuple[int, int], check: bool = True) -> None:
        self._set(as_shape(shape), None, indices, indptr, None)
        self._check(check)
        check_weights(data, self.indices.shape)
        # Pointers first: they are few, and tell whether there are more entries than 32 bits can count.
        pointers = as_structure("indptr", indptr)
        self._set(self.shape, as_weights(data), as_structure("indices", indices), pointers, None)

    @classmethod
    def random(
        cls,
        key: jax.Array,
        shape: tuple[int, int],
        *,
        density: float | None = None,
        fan_out: int | None = None,
        fan_in: int | None = None,
        weight: Weight = 1.0,
        allow_self: bool = True,
        replace: bool = False,
    ) -> Self:
        """Draw who connects to whom: the same for the same key on every platform.

        Args:
            key: A key of ``jax.random``.
            shape: ``(n_pre, n_post)``.
            density: The probability of each pair, independently of others. The number of entries depends on the key,
                so not inside ``jit``.
            fan_out: The number of targets of each presynaptic neuron.
            fan_in: The number of sources of each postsynaptic neuron.
            weight: One weight for all, an array of one for each, or a function of a key and a shape, such as
                ``jax.random.normal``.
            allow_self: Whether a neuron may connect to itself (an autapse); if not, the matrix must be square.
            replace: Whether a pair may be connected more than once (a multapse); not with ``density``.

        Raises:
            ShapeError: ``shape`` is not that of a matrix, or not square, or the weights do not fit.
            StructureError: Not exactly one of ``density``, ``fan_out`` and ``fan_in``, or more than can be had.

        Example:
            >>> import jax
            >>> from spikax_kernels import CSR
            >>> CSR.random(jax.random.key(0), (1000, 200), fan_out=20, weight=0.5)
            CSR(shape=(1000, 200), nse=20000, dtype=float32, homogeneous)
        """
        sizes = as_shape(shape)
        majors = (fan_out, fan_in)[:: 1 if cls.major == 0 else -1]
        indices, indptr = random_compressed(
            key,
            (sizes[cls.major], sizes[1 - cls.major]),
            density=density,
            per_row=majors[0],
            per_col=majors[1],
            allow_self=allow_self,
            replace=replace,
        )
        return cls._of(sizes, random_weights(key, weight, indices.shape), indices, indptr, None)

    def _check(self, values: bool) -> None:
        check_indices("indices", self.indices, 1)
        check_indices("indptr", self.indptr, 1)
        (majors, minors), axes = self._lengths, self._axes
        if (pointers := self.indptr.shape[0]) != majors + 1:
            name = axes.major
            raise ShapeError(f"indptr: got {pointers} {name} pointers for {majors} {name}s; expected {majors + 1}")
        if not values or not is_known(self.indptr):
            return
        indptr = np.asarray(self.indptr)
        check_pointers(indptr, self.indices.shape[0], axes)
        if is_known(self.indices):
            used = np.asarray(self.indices)[: indptr[-1]]
            wrong = first_outside(used, minors)
            if wrong is not None:
                major = int(np.searchsorted(indptr, wrong, side="right")) - 1
                raise outside(axes, major, used[wrong], minors)

    @property
    def _pointers(self) -> jax.Array:
        return self.indptr

    def _check_alone(self) -> None:
        if self.indptr.ndim != 1:
            raise ShapeError(f"got {self!r} with indptr of shape {self.indptr.shape}; for a stack use jax.vmap")
        super()._check_alone()
