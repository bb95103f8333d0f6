"""What an operator costs beside a hand-written primitive of the same lowering: ``python -m tests.benchmarks.core``.

Prints, asserts nothing. Times are the best of several repeats, in microseconds.
"""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from spikax_core import XLACustomKernel
from spikax_core._compat import Primitive, bind, new_primitive, set_lowering

W, X = jnp.ones((4, 4)), jnp.ones(4)


def operator() -> XLACustomKernel:
    """A product as an operator, with a param and a rule per input."""
    product = XLACustomKernel("product", reference=lambda w, x, *, by: w @ x)
    product.def_shape_rule(lambda w, x, *, by: jax.ShapeDtypeStruct((w.shape[0],), w.dtype))
    product.def_jvp_rule2(lambda t, w, x, *, by: t @ x, lambda t, w, x, *, by: w @ t)
    return product


def primitive() -> Primitive:
    """The same product written by hand."""
    product = new_primitive("product_p")
    product.def_abstract_eval(lambda w, x, *, by: [jax.core.ShapedArray((w.shape[0],), w.dtype)])
    set_lowering(product, None, lambda i, o, params, _: lambda w, x: [w @ x])
    return product


def best(f: Callable[[], Any], number: int, repeats: int = 9) -> float:
    """Microseconds of one call."""
    f()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(number):
            f()
        times.append((time.perf_counter() - start) / number)
    return 1e6 * min(times)


def traced(f: Callable[..., Any], binds: int = 100) -> float:
    """Microseconds that one bind takes while a function is traced."""

    def trace() -> None:
        def chain(w: jax.Array, x: jax.Array) -> jax.Array:
            for _ in range(binds):
                x = f(w, x)
            return x

        jax.make_jaxpr(chain)(W, X)

    return best(trace, 5) / binds


def main() -> None:
    """Print both."""
    product, product_p = operator(), primitive()

    def ours(w: jax.Array, x: jax.Array) -> Any:
        return product(w, x, by=3)

    def bare(w: jax.Array, x: jax.Array) -> Any:
        return bind(product_p, (w, x), {"by": 3})[0]

    print(f"jax {jax.__version__}: microseconds per bind, operator beside hand-written primitive")
    for name, cost in (("eager", lambda f: best(lambda: f(W, X), 3000)), ("traced", traced)):
        a, b = cost(ours), cost(bare)
        print(f"{name:8s} {a:8.1f} {b:8.1f}   {a - b:+.1f}, x {a / b:.2f}")


if __name__ == "__main__":
    main()
