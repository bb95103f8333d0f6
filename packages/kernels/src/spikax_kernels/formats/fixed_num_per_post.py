"""``FixedNumPerPost``: every postsynaptic neuron has the same number of synapses."""

from __future__ import annotations

from typing import ClassVar, Literal, final

import jax

from spikax_kernels._random import Weight
from spikax_kernels.formats._fixed import FixedNum
from spikax_kernels.formats.csc import CSC
from spikax_kernels.formats.fixed_num_per_pre import FixedNumPerPre
from spikax_kernels.formats.matrix import SparseMatrix


@final
@jax.tree_util.register_pytree_with_keys_class
class FixedNumPerPost(FixedNum):
    """A sparse matrix of shape ``(n_pre, n_post)`` whose columns all hold ``k`` entries: a fixed number of sources.

    Like a :class:`CSC` without column pointers: ``A @ events`` visits the columns of active neurons and nothing else;
    in ``spikes @ A`` each column collects.

    Args:
        data: Weights: one for all entries, of shape ``()`` or ``(1,)``, or one each, ``[n_post, k]``.
        indices: The row of each entry, ``int32`` or ``int64[n_post, k]``.
        shape: ``(n_pre, n_post)``.
        check: Whether to check the values of ``indices`` where they are known. Without it, an entry out of range is
            dropped, so that columns may hold fewer.

    Raises:
        ShapeError: Arrays or ``shape`` do not fit each other.
        DTypeError: Structure that is not ``int32`` or ``int64``, or weights that are not real numbers.
        StructureError: A row out of range; the message names the column.

    Example:
        >>> import jax.numpy as jnp
        >>> from spikax_kernels import FixedNumPerPost
        >>> A = FixedNumPerPost(0.5, jnp.array([[0, 1], [1, 1], [0, 0]]), shape=(2, 3))
        >>> jnp.array([True, False]) @ A
        Array([0.5, 0. , 1. ], dtype=float32)
    """

    __slots__ = ()

    major: ClassVar[Literal[0, 1]] = 1
    _scipy: ClassVar[Literal["csc"]] = "csc"

    @classmethod
    def random(
        cls,
        key: jax.Array,
        shape: tuple[int, int],
        *,
        fan_in: int,
        weight: Weight = 1.0,
        allow_self: bool = True,
        replace: bool = False,
    ) -> FixedNumPerPost:
        """Draw who connects to whom, the same for the same key on every platform; works inside ``jit``.

        Args:
            key: A key of ``jax.random``.
            shape: ``(n_pre, n_post)``.
            fan_in: The number of sources of each postsynaptic neuron.
            weight: One weight for all, an array of one for each, or a function of a key and a shape, such as
                ``jax.random.normal``.
            allow_self: Whether a neuron may connect to itself (an autapse); if not, the matrix must be square.
            replace: Whether a pair may be connected more than once (a multapse).

        Raises:
            ShapeError: ``shape`` is not that of a matrix, or not square, or the weights do not fit.
            StructureError: More synapses than can be had.

        Example:
            >>> import jax
            >>> from spikax_kernels import FixedNumPerPost
            >>> FixedNumPerPost.random(jax.random.key(0), (200, 1000), fan_in=20)
            FixedNumPerPost(shape=(200, 1000), nse=20000, dtype=float32, homogeneous)
        """
        return cls._random(key, shape, fan_in, weight, allow_self, replace)

    @property
    def T(self) -> FixedNumPerPre:  # noqa: N802  (NumPy's name)
        """The transpose, over the same arrays."""
        return FixedNumPerPre._of(self.shape[::-1], *self._values())

    @classmethod
    def _like(cls, A: SparseMatrix) -> CSC:
        return A.tocsc()
