"""``BinaryArray``: numbers marked as binary events, where being active is all that counts."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NoReturn, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

Method: TypeAlias = Callable[["BinaryArray", Any], jax.Array]
Operator: TypeAlias = Callable[[Any, Any], Any]


def _plain(other: Any) -> Any:
    return other.value if isinstance(other, BinaryArray) else other


def _forward(function: Operator) -> Method:
    def method(self: BinaryArray, other: Any) -> jax.Array:
        result: jax.Array = function(self.value, _plain(other))
        return result

    return method


def _reflected(function: Operator) -> Method:
    def method(self: BinaryArray, other: Any) -> jax.Array:
        result: jax.Array = function(_plain(other), self.value)
        return result

    return method


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class BinaryArray:
    """An array whose active (nonzero) entries are binary events: each contributes a weight ``w``, whatever its value.

    It keeps the values, so that a gradient can flow through them: the derivative of a product with respect to them is
    the straight-through one. Arithmetic and comparisons give plain arrays; indexing, ``reshape`` and ``T`` keep the
    class. It does not turn into an array by itself, since ``array @ it`` would then be a dense product of the values;
    use ``value``.

    Args:
        value: Events of any real dtype and any shape.

    Example:
        >>> import jax.numpy as jnp
        >>> from spikax_kernels import CSR, BinaryArray
        >>> A = CSR.from_dense(jnp.array([[1.0, 2.0], [4.0, 0.0]]))
        >>> BinaryArray(jnp.array([0.5, 3.0])) @ A
        Array([5., 2.], dtype=float32)
    """

    value: jax.Array

    # NumPy would otherwise take `numpy @ it` and `numpy * it` apart element by element.
    __array_ufunc__: ClassVar[None] = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the values."""
        return self.value.shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.value.ndim

    @property
    def size(self) -> int:
        """The number of entries."""
        return self.value.size

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the values."""
        return self.value.dtype

    @property
    def T(self) -> BinaryArray:  # noqa: N802  (NumPy's name)
        """The transpose."""
        return BinaryArray(self.value.T)

    def __getitem__(self, index: Any) -> BinaryArray:
        return BinaryArray(self.value[index])

    def __len__(self) -> int:
        return len(self.value)

    def __iter__(self) -> Iterator[BinaryArray]:
        # Python's default would ask for index after index until one is out of range, which is no error in JAX.
        return map(BinaryArray, self.value)

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("BinaryArray does not turn into an array by itself; use .value")

    def reshape(self, *shape: Any) -> BinaryArray:
        """The same events in another shape."""
        return BinaryArray(self.value.reshape(*shape))

    __add__: ClassVar[Method] = _forward(operator.add)
    __radd__: ClassVar[Method] = _reflected(operator.add)
    __sub__: ClassVar[Method] = _forward(operator.sub)
    __rsub__: ClassVar[Method] = _reflected(operator.sub)
    __mul__: ClassVar[Method] = _forward(operator.mul)
    __rmul__: ClassVar[Method] = _reflected(operator.mul)
    __truediv__: ClassVar[Method] = _forward(operator.truediv)
    __rtruediv__: ClassVar[Method] = _reflected(operator.truediv)
    __floordiv__: ClassVar[Method] = _forward(operator.floordiv)
    __rfloordiv__: ClassVar[Method] = _reflected(operator.floordiv)
    __mod__: ClassVar[Method] = _forward(operator.mod)
    __rmod__: ClassVar[Method] = _reflected(operator.mod)
    __pow__: ClassVar[Method] = _forward(operator.pow)
    __rpow__: ClassVar[Method] = _reflected(operator.pow)
    __lt__: ClassVar[Method] = _forward(operator.lt)
    __le__: ClassVar[Method] = _forward(operator.le)
    __gt__: ClassVar[Method] = _forward(operator.gt)
    __ge__: ClassVar[Method] = _forward(operator.ge)
    # Elementwise and so not hashable, as for any array.
    __eq__: ClassVar[Method] = _forward(operator.eq)  # type: ignore[assignment]
    __ne__: ClassVar[Method] = _forward(operator.ne)  # type: ignore[assignment]
    __hash__: ClassVar[None] = None  # type: ignore[assignment]

    def __neg__(self) -> jax.Array:
        return -self.value

    def __abs__(self) -> jax.Array:
        return jnp.abs(self.value)
