"""What an operator costs beside a hand-written primitive with the same FFI target: ``python -m tests.benchmarks.core``.

Prints, asserts nothing. Times are the best of several repeats, in microseconds. The target is a product of
spikax_kernels with a matrix of four entries.
"""

import re
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import spikax_kernels
from spikax_core import XLACustomKernel
from spikax_core._compat import Primitive, bind, new_primitive, set_lowering

TARGET = "spikax_gather_cpu"
MATRIX = jnp.ones(1), jnp.arange(4, dtype=jnp.int32), jnp.arange(5, dtype=jnp.int32)
X = jnp.ones(4)


def operator() -> XLACustomKernel:
    """The product as an operator, with a param and a rule per input."""
    product = XLACustomKernel("product")
    product.def_shape_rule(lambda data, indices, indptr, x, *, by: jax.ShapeDtypeStruct(x.shape, x.dtype))
    product.def_kernel("ffi", "cpu", lambda ins, outs, *, by: call, exportable=True, target=TARGET)
    product.def_jvp_rule2(None, None, None, lambda t, data, indices, indptr, x, *, by: product(*MATRIX, t, by=by))
    return product


def primitive() -> Primitive:
    """The same product written by hand."""
    product = new_primitive("product_p")
    product.def_abstract_eval(lambda data, indices, indptr, x, *, by: [jax.core.ShapedArray(x.shape, x.dtype)])
    set_lowering(product, "cpu", lambda i, o, params, _: lambda *ins: [call(*ins)])
    return product


def call(data: jax.Array, indices: jax.Array, indptr: jax.Array, x: jax.Array) -> jax.Array:
    """The FFI call itself."""
    y: jax.Array = jax.ffi.ffi_call(TARGET, jax.ShapeDtypeStruct(x.shape, x.dtype))(data, indices, indptr, x)
    return y


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
        def chain(x: jax.Array) -> jax.Array:
            for _ in range(binds):
                x = f(x)
            return x

        jax.make_jaxpr(chain)(X)

    return best(trace, 5) / binds


def instructions(f: Callable[..., Any]) -> list[str]:
    """The instructions that XLA compiles it to."""
    text = jax.jit(f).lower(X).compile().as_text() or ""
    return re.findall(r"^ +(?:ROOT )?%?\S+ = \S+ ([\w-]+)\(", text, re.MULTILINE)


def main() -> None:
    """Print the costs of both, and whether they compile to one program."""
    product, product_p = operator(), primitive()

    def ours(x: jax.Array) -> Any:
        return product(*MATRIX, x, by=3)

    def bare(x: jax.Array) -> Any:
        return bind(product_p, (*MATRIX, x), {"by": 3})[0]

    print(f"JAX {jax.__version__}, spikax_kernels {spikax_kernels.__version__}")
    print("microseconds per bind, operator beside hand-written primitive")
    for name, cost in (("eager", lambda f: best(lambda: f(X), 3000)), ("traced", traced)):
        a, b = cost(ours), cost(bare)
        print(f"{name:8s} {a:8.1f} {b:8.1f}   {a - b:+.1f}, x {a / b:.2f}")
    print("compiled:", *instructions(ours), "beside", *instructions(bare))


if __name__ == "__main__":
    main()
