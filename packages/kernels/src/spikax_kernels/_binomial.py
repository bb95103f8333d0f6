"""Binomial numbers from 64 random bits each, in integers only: the same on every platform."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

_ONE = 1 << 192  # the likeliest count in fixed point: what rounding loses is far below the 64 bits of a draw


def binomial(bits: np.ndarray[Any, Any], trials: int, probability: float) -> np.ndarray[Any, Any]:
    """The number of successes among ``trials``, by inversion of the distribution function.

    Each count has its probability to within 2^-64, the resolution of a draw.

    Args:
        bits: Uniform draws, ``uint64[n]``.
        trials: The number of trials.
        probability: That of a success, 0 to 1.

    Returns:
        ``int32[n]``.

    Example:
        >>> import numpy as np
        >>> from spikax_kernels._binomial import binomial
        >>> binomial(np.array([0, 2**62 - 1, 2**62, 2**64 - 1], np.uint64), 2, 0.5)
        array([0, 0, 1, 2], dtype=int32)
    """
    success = Fraction(float(probability))
    if success in (0, 1):
        return np.full(bits.shape, trials if success else 0, np.int32)
    lowest, weights = _weights(trials, success)
    total, below, thresholds = sum(weights), 0, list[int]()
    for weight in weights:
        below += weight
        threshold = ((below << 64) + total // 2) // total
        if threshold >> 64:
            break  # no draw is beyond
        thresholds.append(threshold)
    return (lowest + np.searchsorted(np.array(thresholds, np.uint64), bits, side="right")).astype(np.int32)


def _weights(trials: int, success: Fraction) -> tuple[int, list[int]]:
    """The first count that has a weight, and the weights of it and those after it, in fixed point."""
    p, q = success.numerator, success.denominator - success.numerator
    mode = min(trials, (trials + 1) * p // (p + q))
    # The ratio of neighbours: P(k + 1) / P(k) = (trials - k) p / ((k + 1) q).
    above, below = [_ONE], [_ONE]
    for k in range(mode, trials):
        weight = above[-1] * (trials - k) * p // ((k + 1) * q)
        if not weight:
            break
        above.append(weight)
    for k in range(mode, 0, -1):
        weight = below[-1] * k * q // ((trials - k + 1) * p)
        if not weight:
            break
        below.append(weight)
    return mode - len(below) + 1, below[:0:-1] + above
