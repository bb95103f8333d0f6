"""Operators that may be divided over devices, and what a compiled program exchanges between these."""

import math
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType

from spikax_core import XLACustomKernel
from tests.core.operators import Function, kernel, same

P = jax.P
rng = np.random.default_rng(0)
X = rng.normal(size=8).astype(np.float32)
W = rng.normal(size=(8, 32)).astype(np.float32)
XS = rng.normal(size=(4, 8)).astype(np.float32)
LINE, SQUARE = {"d": 4}, {"a": 2, "b": 2}
KINDS = (AxisType.Auto, AxisType.Explicit)

Placed = tuple[Any, Any]
"""An array and how it is cut."""

# A matrix and a vector: the mesh, how they are cut, and how the product is.
LAYOUTS: dict[str, tuple[Mapping[str, int], Any, Any, tuple[Any, ...]]] = {
    "rows": (LINE, P(), P("d"), ()),
    "rows, and the vector": (LINE, P("d"), P("d"), ()),
    "columns": (LINE, P(), P(None, "d"), ("d",)),
    "columns, and the vector": (LINE, P("d"), P(None, "d"), ("d",)),
    "the vector": (LINE, P("d"), P(), ()),
    "nothing": (LINE, P(), P(), ()),
    "rows and columns": (SQUARE, P(), P("a", "b"), ("b",)),
    "rows and columns, the vector as the rows": (SQUARE, P("a"), P("a", "b"), ("b",)),
    "rows and columns, the vector as the columns": (SQUARE, P("b"), P("a", "b"), ("b",)),
    "rows by one axis of two": (SQUARE, P(), P("b"), ()),
    "rows by one axis, the vector by the other": (SQUARE, P("b"), P("a"), ()),
    "rows by both axes": (SQUARE, P(), P(("a", "b")), ()),
    "rows by both axes, the vector by the second": (SQUARE, P("b"), P(("a", "b")), ()),
    "rows by both axes the other way round": (SQUARE, P(("a", "b")), P(("b", "a")), ()),
    "columns by both axes": (SQUARE, P("b"), P(None, ("a", "b")), (("a", "b"),)),
}


def mesh_of(kind: AxisType, axes: Mapping[str, int]) -> jax.sharding.Mesh:
    return jax.make_mesh(tuple(axes.values()), tuple(axes), axis_types=(kind,) * len(axes))


def put(mesh: jax.sharding.Mesh, *placed: Placed) -> list[jax.Array]:
    return [jax.device_put(array, jax.NamedSharding(mesh, spec)) for array, spec in placed]


def agree(got: Any, expected: Any) -> None:
    same(jax.tree.map(np.asarray, got), jax.tree.map(np.asarray, expected), rtol=1e-5)


def collectives(compiled: jax.stages.Compiled) -> list[tuple[str, int]]:
    """What a program exchanges between devices, and how many elements the arrays have that it makes so."""
    kinds = "all-gather|all-reduce|all-to-all|collective-permute|collective-broadcast|reduce-scatter"
    found = re.findall(rf"^\s*(?:ROOT )?\S+ = (.*?) ({kinds})(?:-start)?\(", compiled.as_text() or "", re.MULTILINE)
    sizes = [
        [math.prod(map(int, filter(None, s.split(",")))) for s in re.findall(r"\[([\d,]*)\]", t)] for t, _ in found
    ]
    return [(what, max(size)) for (_, what), size in zip(found, sizes, strict=True)]


def left_in_place(compiled: jax.stages.Compiled, large: Any) -> None:
    """Assert that nothing as large as what one of four devices holds of an array is exchanged."""
    exchanged = collectives(compiled)
    assert all(size < large.size // 4 for _, size in exchanged), exchanged


def check(mesh: jax.sharding.Mesh, function: Function, oracle: Function, *placed: Placed) -> jax.stages.Compiled:
    """Assert that ``function`` of sharded operands, compiled, is ``oracle`` of whole ones on one device."""
    operands = put(mesh, *placed)
    expected = jax.jit(oracle)(*(array for array, _ in placed))
    with jax.set_mesh(mesh):
        compiled = jax.jit(function).lower(*operands).compile()
        agree(compiled(*operands), expected)
    return compiled


def divisible(name: str, function: Function, rule: Any, **options: Any) -> XLACustomKernel:
    operator = kernel(name, function)
    operator.def_partition(rule, **options)
    return operator


def product(x: Any, w: Any) -> Any:
    return x @ w


def vecmat(**options: Any) -> XLACustomKernel:
    """A vector times a matrix, with its derivatives; the three operators are each other's transposes."""
    operator = divisible("vecmat", product, "i, i k -> k", **{"reduce": "sum", **options})
    back = divisible("matvec", lambda ct, w: w @ ct, "k, i k -> i", reduce="sum")
    outer = divisible("outer", jnp.outer, "i, k -> i k")
    operator.def_linear({0: lambda ct, x, w: back(ct, w), 1: lambda ct, x, w: outer(x, ct)})
    back.def_linear({0: lambda ct, c, w: operator(ct, w), 1: lambda ct, c, w: outer(ct, c)})
    outer.def_linear({0: lambda ct, x, c: back(c, ct), 1: lambda ct, x, c: operator(x, ct)})
    return operator


def matmat() -> XLACustomKernel:
    return divisible("matmat", product, "b i, i k -> b k", reduce="sum")
