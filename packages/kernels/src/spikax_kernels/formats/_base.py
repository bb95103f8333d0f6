"""A frozen object whose arrays are all leaves of a pytree: what every format is, whatever it stores."""

from __future__ import annotations

import abc
from typing import Any, ClassVar, NoReturn, Self

import jax
import numpy as np

from spikax_kernels._errors import ShapeError
from spikax_kernels.formats._structure import as_weights, check_weights, sharded_over


class FrozenArrays(abc.ABC):
    """Arrays and a static shape, set once.

    A subclass names its ``arrays`` in ``__slots__``, and ``shape`` after them.

    Attributes:
        data: One weight for all entries, or one each.
        shape: ``(n_pre, n_post)``.
        arrays: The names of the arrays, of which the first is ``data``; one may be ``None``.
        entry_rank: The number of axes of the array that has one element for each entry.
    """

    __slots__ = ()

    arrays: ClassVar[tuple[str, ...]]
    entry_rank: ClassVar[int] = 1

    data: jax.Array
    shape: tuple[int, int]

    # NumPy would otherwise take `numpy @ A` apart element by element.
    __array_ufunc__: ClassVar[None] = None

    @property
    @abc.abstractmethod
    def _entries(self) -> Any:
        """An array with one element for each entry."""

    def _set(self, shape: tuple[int, int], *arrays: Any) -> None:
        for name, value in zip((*self.arrays, "shape"), (*arrays, shape), strict=True):
            object.__setattr__(self, name, value)

    @classmethod
    def _of(cls, shape: tuple[int, int], *arrays: Any) -> Self:
        self = object.__new__(cls)
        self._set(shape, *arrays)
        return self

    def __setattr__(self, name: str, value: object) -> None:
        kind = type(self).__name__
        raise AttributeError(f"{kind} is frozen, so {name!r} cannot be set; for other weights use with_data")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen, so {name!r} cannot be deleted")

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        # NumPy would make an array of one object of it.
        raise TypeError(f"{type(self).__name__} does not turn into an array by itself; use todense()")

    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self.arrays)

    def tree_flatten_with_keys(self) -> tuple[tuple[tuple[Any, Any], ...], tuple[int, int]]:
        """The arrays, all of them leaves, with their names; the shape is static."""
        keys = map(jax.tree_util.GetAttrKey, self.arrays)
        return tuple(zip(keys, self._values(), strict=True)), self.shape

    @classmethod
    def tree_unflatten(cls, shape: tuple[int, int], leaves: Any) -> Self:
        """The matrix of these leaves, whatever they are, because JAX also unflattens with placeholders."""
        return cls._of(shape, *leaves)

    def __reduce__(self) -> Any:
        return _restore, (type(self), self.shape, self._values())

    def __repr__(self) -> str:
        name = type(self).__name__
        if not all(isinstance(array, (jax.Array, np.ndarray)) for array in (self.data, self._entries)):
            values = (str(value) for value in self._values() if value is not None)
            return f"{name}({', '.join(values)}, shape={self.shape})"
        weights = "homogeneous" if self._is_homogeneous() else "heterogeneous"
        lead = self._entries.shape[: -self.entry_rank]
        stack = f"stack of {lead}, " if lead else ""
        return f"{name}({stack}shape={self.shape}, nse={self.nse}, dtype={self.dtype}, {weights})"

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the weights."""
        return self.data.dtype

    @property
    def ndim(self) -> int:
        """Always 2."""
        return 2

    @property
    def nse(self) -> int:
        """The number of stored entries, with those out of range."""
        return int(np.prod(self._entries.shape[-self.entry_rank :]))

    def _is_homogeneous(self) -> bool:
        return bool(self.data.shape[-self.entry_rank :] != self._entries.shape[-self.entry_rank :])

    def _check_alone(self) -> None:
        if self._entries.ndim != self.entry_rank or self.data.shape not in ((), (1,), self._entries.shape):
            raise ShapeError(f"got {self!r} with data of shape {self.data.shape}; for a stack of matrices use jax.vmap")

    def _check_whole(self) -> None:
        """Raise where an array is known to be sharded along entries, which divides them by their number.

        How arguments of ``jit`` are sharded over a mesh axis that is Auto is not known; JAX then gathers them.
        """
        for name, value in zip(self.arrays, self._values(), strict=True):
            for array in value if isinstance(value, tuple) else (value,):
                axes = sharded_over(array)[self._rows_may_be_cut(name) :]
                if any(axes):
                    axis = next(filter(None, axes))
                    raise ShapeError(
                        f"got {self!r} with {name} sharded over {axis!r}, which divides its entries by their number;"
                        f" divide them by their targets, with A.shard(mesh, {axis!r})"
                    )

    def _rows_may_be_cut(self, name: str) -> bool:
        """Whether the first axis of this array may be sharded."""
        return False

    def _with(self, data: Any) -> Self:
        check_weights(data, self._entries.shape)
        return self._of(self.shape, as_weights(data), *self._values()[1:])


def _restore(cls: type[FrozenArrays], shape: tuple[int, int], arrays: tuple[Any, ...]) -> FrozenArrays:
    return cls._of(shape, *arrays)
