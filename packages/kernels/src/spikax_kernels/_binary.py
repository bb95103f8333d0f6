"""``BinaryArray``: numbers marked as binary events, where being active is all that counts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar, NoReturn

import jax
import jax.numpy as jnp
import numpy as np


def _plain(other: Any) -> Any:
    return other.value if isinstance(other, BinaryArray) else other


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

    def __add__(self, other: Any) -> jax.Array:
        return jnp.add(self.value, _plain(other))

    def __radd__(self, other: Any) -> jax.Array:
        return jnp.add(_plain(other), self.value)

    def __sub__(self, other: Any) -> jax.Array:
        return jnp.subtract(self.value, _plain(other))

    def __rsub__(self, other: Any) -> jax.Array:
        return jnp.subtract(_plain(other), self.value)

    def __mul__(self, other: Any) -> jax.Array:
        return jnp.multiply(self.value, _plain(other))

    def __rmul__(self, other: Any) -> jax.Array:
        return jnp.multiply(_plain(other), self.value)

    def __truediv__(self, other: Any) -> jax.Array:
        return jnp.true_divide(self.value, _plain(other))

    def __rtruediv__(self, other: Any) -> jax.Array:
        return jnp.true_divide(_plain(other), self.value)

    def __floordiv__(self, other: Any) -> jax.Array:
        return jnp.floor_divide(self.value, _plain(other))

    def __rfloordiv__(self, other: Any) -> jax.Array:
        return jnp.floor_divide(_plain(other), self.value)

    def __mod__(self, other: Any) -> jax.Array:
        return jnp.remainder(self.value, _plain(other))

    def __rmod__(self, other: Any) -> jax.Array:
        return jnp.remainder(_plain(other), self.value)

    def __pow__(self, other: Any) -> jax.Array:
        return jnp.power(self.value, _plain(other))

    def __rpow__(self, other: Any) -> jax.Array:
        return jnp.power(_plain(other), self.value)

    def __lt__(self, other: Any) -> jax.Array:
        return jnp.less(self.value, _plain(other))

    def __le__(self, other: Any) -> jax.Array:
        return jnp.less_equal(self.value, _plain(other))

    def __gt__(self, other: Any) -> jax.Array:
        return jnp.greater(self.value, _plain(other))

    def __ge__(self, other: Any) -> jax.Array:
        return jnp.greater_equal(self.value, _plain(other))

    def __eq__(self, other: Any) -> jax.Array:  # type: ignore[override]  # elementwise, as for any array
        return jnp.equal(self.value, _plain(other))

    def __ne__(self, other: Any) -> jax.Array:  # type: ignore[override]  # elementwise, as for any array
        return jnp.not_equal(self.value, _plain(other))

    __hash__: ClassVar[None] = None  # type: ignore[assignment]  # as for any array

    def __neg__(self) -> jax.Array:
        return -self.value

    def __abs__(self) -> jax.Array:
        return jnp.abs(self.value)
