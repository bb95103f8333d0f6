"""``FixedNumPerPre``: every presynaptic neuron has the same number of synapses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

import jax
import jax.numpy as jnp
import numpy as np

from spikax_kernels._random import Weight
from spikax_kernels.formats import _convert, _entries
from spikax_kernels.formats._fixed import FixedNum
from spikax_kernels.formats.csr import CSR
from spikax_kernels.formats.matrix import SparseMatrix

if TYPE_CHECKING:
    from spikax_kernels.formats.fixed_num_per_post import FixedNumPerPost


@final
@jax.tree_util.register_pytree_with_keys_class
class FixedNumPerPre(FixedNum):
    """A sparse matrix of shape ``(n_pre, n_post)`` whose rows all hold ``k`` entries: a fixed number of targets.

    Like a :class:`CSR` without row pointers: ``spikes @ A`` visits the rows of active neurons and nothing else.

    Args:
        data: Weights: one for all entries, of shape ``()`` or ``(1,)``, or one each, ``[n_pre, k]``.
        indices: The column of each entry, ``int32`` or ``int64[n_pre, k]``.
        shape: ``(n_pre, n_post)``.
        check: Whether to check the values of ``indices`` where they are known. Without it, an entry out of range is
            dropped, so that rows may hold fewer.

    Raises:
        ShapeError: Arrays or ``shape`` do not fit each other.
        DTypeError: Structure that is not ``int32`` or ``int64``, or weights that are not real numbers.
        StructureError: A column out of range; the message names the row.

    Example:
        >>> import jax.numpy as jnp
        >>> from spikax_kernels import FixedNumPerPre
        >>> A = FixedNumPerPre(0.5, jnp.array([[0, 2], [2, 1]]), shape=(2, 3))
        >>> jnp.array([True, True]) @ A
        Array([0.5, 0.5, 1. ], dtype=float32)
    """

    __slots__ = ()

    major: ClassVar[Literal[0, 1]] = 0
    _scipy: ClassVar[Literal["csr"]] = "csr"

    @classmethod
    def random(
        cls,
        key: jax.Array,
        shape: tuple[int, int],
        *,
        fan_out: int,
        weight: Weight = 1.0,
        allow_self: bool = True,
        replace: bool = False,
    ) -> FixedNumPerPre:
        """Draw who connects to whom, the same for the same key on every platform; works inside ``jit``.

        Args:
            key: A key of ``jax.random``.
            shape: ``(n_pre, n_post)``.
            fan_out: The number of targets of each presynaptic neuron.
            weight: One weight for all, an array of one for each, or a function of a key and a shape, such as
                ``jax.random.normal``.
            allow_self: Whether a neuron may connect to itself (an autapse); if not, the matrix must be square.
            replace: Whether a pair may be connected more than once (a multapse).

        Raises:
            ShapeError: ``shape`` is not that of a matrix, or not square, or the weights do not fit.
            StructureError: More synapses than can be had.

        Example:
            >>> import jax
            >>> from spikax_kernels import FixedNumPerPre
            >>> FixedNumPerPre.random(jax.random.key(0), (1000, 200), fan_out=20)
            FixedNumPerPre(shape=(1000, 200), nse=20000, dtype=float32, homogeneous)
        """
        return cls._random(key, shape, fan_out, weight, allow_self, replace)

    @property
    def T(self) -> FixedNumPerPost:  # noqa: N802  (NumPy's name)
        """The transpose, over the same arrays."""
        from spikax_kernels.formats.fixed_num_per_post import FixedNumPerPost  # which imports this module

        return FixedNumPerPost._of(self.shape[::-1], *self._values())

    @classmethod
    def _like(cls, A: SparseMatrix) -> CSR:
        return A.tocsr()

    def _some_rows(self, rows: Any, nse: int | None) -> FixedNumPerPre:
        _entries.settle(np.asarray(rows.size * self.indices.shape[1]), nse, "slice_rows")
        at = jnp.where(jnp.asarray(rows) < 0, self.shape[0], rows)
        indices = self.indices.at[at].get(mode="fill", fill_value=self.shape[1])
        data = self.data if _convert.is_shared(self.data) else self.data.at[at].get(mode="fill", fill_value=0)
        return FixedNumPerPre._of((rows.size, self.shape[1]), data, indices, None)
