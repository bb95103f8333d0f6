"""Philox 4x32-10: random words that are a function of a key and a counter, in integers only."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

Words: TypeAlias = Any
"""``uint32`` arrays, NumPy's or JAX's: only operators are applied to them."""

# The constants and the number of rounds of Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as easy as 1, 2, 3"
# (SC'11, doi:10.1145/2063384.2063405).
_MULTIPLIERS = (np.uint32(0xD2511F53), np.uint32(0xCD9E8D57))
_WEYL = (np.uint32(0x9E3779B9), np.uint32(0xBB67AE85))
_ROUNDS = 10

_LOW = np.uint32(0xFFFF)
_HALF = np.uint32(16)


def high(a: Words, b: Words) -> Words:
    """The upper 32 bits of ``a * b``; JAX has no 64-bit integers by default, so it is put together from halves."""
    a_low, a_high = a & _LOW, a >> _HALF
    b_low, b_high = b & _LOW, b >> _HALF
    middle = a_high * b_low + ((a_low * b_low) >> _HALF)
    carry = (middle & _LOW) + a_low * b_high
    return a_high * b_high + (middle >> _HALF) + (carry >> _HALF)


def philox(counter: tuple[Words, Words, Words, Words], key: tuple[Words, Words]) -> tuple[Words, Words, Words, Words]:
    """The four random words of each counter.

    Args:
        counter: Four ``uint32`` arrays whose shapes broadcast.
        key: Two more.

    Returns:
        Four ``uint32`` arrays, the same on every platform.

    Example:
        >>> import numpy as np
        >>> from spikax_kernels.ops.random_columns.philox import philox
        >>> zero = np.zeros(1, np.uint32)
        >>> [hex(int(word[0])) for word in philox((zero, zero, zero, zero), (zero, zero))]
        ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    m0, m1 = _MULTIPLIERS
    for _ in range(_ROUNDS):
        c0, c1, c2, c3 = high(m1, c2) ^ c1 ^ k0, m1 * c2, high(m0, c0) ^ c3 ^ k1, m0 * c0
        k0, k1 = k0 + _WEYL[0], k1 + _WEYL[1]
    return c0, c1, c2, c3
