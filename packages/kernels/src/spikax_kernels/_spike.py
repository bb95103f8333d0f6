"""``spike``: the Heaviside step, with a surrogate for its derivative, which is zero almost everywhere."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from ._errors import DTypeError, SurrogateError

Name: TypeAlias = Literal["sigmoid", "fast_sigmoid", "atan", "triangle", "gaussian"]


def _sigmoid(x: jax.Array, alpha: jax.Array) -> jax.Array:
    """Zenke & Vogels, Neural Computation 33:899 (2021), times ``alpha``: the derivative of the logistic function."""
    # Not 1 - sigmoid(z), which loses its digits where z is large.
    return alpha * jax.nn.sigmoid(alpha * x) * jax.nn.sigmoid(-alpha * x)


def _fast_sigmoid(x: jax.Array, alpha: jax.Array) -> jax.Array:
    """SuperSpike: Zenke & Ganguli, Neural Computation 30:1514 (2018)."""
    return 1 / (1 + alpha * jnp.abs(x)) ** 2


def _atan(x: jax.Array, alpha: jax.Array) -> jax.Array:
    """Fang et al., ICCV 2021, "Incorporating learnable membrane time constant": of ``atan(pi / 2 alpha x) / pi``."""
    return alpha / 2 / (1 + (math.pi / 2 * alpha * x) ** 2)


def _triangle(x: jax.Array, alpha: jax.Array) -> jax.Array:
    """Esser et al., PNAS 113:11441 (2016); Bellec et al., NeurIPS 2018."""
    return jax.nn.relu(1 - alpha * jnp.abs(x))


def _gaussian(x: jax.Array, alpha: jax.Array) -> jax.Array:
    """Yin, Corradi & Bohte, Nature Machine Intelligence 3:905 (2021), with ``sigma = 1 / alpha``."""
    return alpha / math.sqrt(2 * math.pi) * jnp.exp(-((alpha * x) ** 2) / 2)


class _Surrogate(NamedTuple):
    derivative: Callable[[jax.Array, jax.Array], jax.Array]
    alpha: float  # the default


_SURROGATES = {
    "sigmoid": _Surrogate(_sigmoid, 4.0),  # at its peak the derivative is 1
    "fast_sigmoid": _Surrogate(_fast_sigmoid, 10.0),  # for potentials of order 1; libraries have 10 to 100
    "atan": _Surrogate(_atan, 2.0),  # as Fang et al.; 1 at its peak
    "triangle": _Surrogate(_triangle, 1.0),  # as Bellec et al., who also scale it by 0.3
    "gaussian": _Surrogate(_gaussian, 2.0),  # sigma 0.5, as Yin et al.
}


def spike(
    x: jax.typing.ArrayLike,
    *,
    surrogate: Name | Callable[[jax.Array], jax.Array] = "sigmoid",
    alpha: jax.typing.ArrayLike | None = None,
) -> jax.Array:
    r"""Spike where ``x`` has reached zero: 1 where ``x >= 0``, else 0, differentiated by a surrogate.

    ``x`` is usually the membrane potential minus the threshold, in units in which the distance from rest to threshold
    is about 1. Reaching the threshold is enough, as in NEST. NaN gives no spike, and NaN as the derivative.

    ============== ========================================== ===== ===================================
    surrogate      derivative                                 alpha from
    ============== ========================================== ===== ===================================
    sigmoid        ``alpha s(x) (1 - s(x))``, s: logistic     4     Zenke & Vogels 2021
    fast_sigmoid   ``1 / (1 + alpha abs(x))^2``               10    Zenke & Ganguli 2018 (SuperSpike)
    atan           ``alpha / 2 / (1 + (pi alpha x / 2)^2)``   2     Fang et al. 2021
    triangle       ``max(0, 1 - alpha abs(x))``               1     Esser et al. 2016, Bellec et al. 2018
    gaussian       the normal density of sigma ``1 / alpha``  2     Yin, Corradi & Bohte 2021
    ============== ========================================== ===== ===================================

    Args:
        x: Any shape, of a floating dtype.
        surrogate: The derivative: a name, or an elementwise function of ``x``. It is differentiated by JAX where higher
            derivatives are asked for.
        alpha: How steep the surrogate is, in units of 1 over those of ``x``; any shape that broadcasts to that of
            ``x``. No gradient flows to it. The default of the table if left out; not for a function.

    Returns:
        Zeros and ones, of the shape and the dtype of ``x``.

    Raises:
        DTypeError: ``x`` is not floating.
        SurrogateError: An unknown name, ``alpha`` that does not fit ``x``, or ``alpha`` for a function; or a function
            that does not return one number for each of ``x``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from spikax_kernels import spike
        >>> spike(jnp.array([-0.5, 0.0, 0.5]))
        Array([0., 1., 1.], dtype=float32)
        >>> jax.grad(spike)(0.0)
        Array(1., dtype=float32, weak_type=True)
        >>> jax.grad(lambda v: spike(v, surrogate="triangle", alpha=0.5))(1.0)
        Array(0.5, dtype=float32, weak_type=True)
        >>> jax.grad(lambda v: spike(v, surrogate=lambda x: jnp.exp(-jnp.abs(x))))(0.0)
        Array(1., dtype=float32, weak_type=True)
    """
    x = jnp.asarray(x)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise DTypeError(
            f"x: got {x.dtype}; expected a floating dtype, because the result has it and is differentiated"
        )
    if not callable(surrogate):
        return _named(surrogate, x, alpha)
    if alpha is not None:
        raise SurrogateError("alpha: got it with a function; expected a name, or the function to use its own")
    # What the function closes over may be traced, too, and must not stay in the rule as a tracer.
    derivative, closed = jax.closure_convert(functools.partial(_own, surrogate), x)
    return _heaviside(derivative, x, tuple(closed))


def _named(surrogate: str, x: jax.Array, alpha: jax.typing.ArrayLike | None) -> jax.Array:
    if surrogate not in _SURROGATES:
        raise SurrogateError(f"surrogate: got {surrogate!r}; expected {', '.join(_SURROGATES)}, or a function")
    derivative, default = _SURROGATES[surrogate]
    slope = jnp.asarray(default if alpha is None else alpha).astype(x.dtype)
    if slope.ndim > x.ndim or any(n not in (1, m) for n, m in zip(slope.shape[::-1], x.shape[::-1], strict=False)):
        raise SurrogateError(f"alpha: got shape {slope.shape} for x of shape {x.shape}; expected one that broadcasts")
    return _heaviside(derivative, x, (slope,))


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _heaviside(derivative: Callable[..., jax.Array], x: jax.Array, options: tuple[jax.Array, ...]) -> jax.Array:
    return (x >= 0).astype(x.dtype)


@_heaviside.defjvp
def _jvp(derivative: Callable[..., jax.Array], primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    (x, options), (t, _) = primals, tangents
    return _heaviside(derivative, x, options), derivative(x, *options) * t


def _own(function: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
    slope = jnp.asarray(function(x))
    if slope.shape != x.shape or not jnp.issubdtype(slope.dtype, jnp.floating):
        raise SurrogateError(
            f"surrogate: got {slope.dtype}{list(slope.shape)} for x {x.dtype}{list(x.shape)}; "
            "expected a floating number for each of x"
        )
    return slope.astype(x.dtype)
