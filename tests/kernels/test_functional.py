"""The products as functions of raw arrays: those of the dense matrix, and what they refuse."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikax_core import UnknownBackendError
from spikax_kernels import COO, CSC, CSR, Dense, DTypeError, FixedNumPerPre, ShapeError, functional
from tests.kernels._oracle import assert_close, effective, spikes, through
from tests.kernels.formats._formats import dense, example

FAMILIES: dict[str, Any] = {"csr": CSR, "csc": CSC, "coo": COO, "fcn": FixedNumPerPre, "dense": Dense}
families = pytest.mark.parametrize("family", FAMILIES)
transposed = pytest.mark.parametrize("transpose", [False, True], ids=["A", "A.T"])


def arrays_of(family: str, **kind: Any) -> tuple[list[Any], dict[str, Any], Any]:
    """The raw arrays, the shape where it is asked for, and the dense matrix."""
    A = example(FAMILIES[family], **kind)
    return jax.tree.leaves(A), {} if family == "dense" else {"shape": A.shape}, dense(A)


@families
@transposed
@pytest.mark.parametrize("binary", [False, True], ids=["valued", "binary"])
@pytest.mark.parametrize("form", ["mv", "mm"])
def test_products_are_those_of_the_dense_matrix(family: str, transpose: bool, binary: bool, form: str) -> None:
    arrays, options, matrix = arrays_of(family)
    matrix = matrix.T if transpose else matrix
    x = spikes(matrix.shape[1]) if form == "mv" else spikes(4, lanes=(matrix.shape[1],))
    function = getattr(functional, f"{'binary_' if binary else ''}{family}{form}")
    assert_close(function(*arrays, x, transpose=transpose, **options), matrix @ effective(x, binary))
    assert_close(function(*arrays, x != 0, transpose=transpose, **options), matrix @ effective(x, True))


@families
def test_one_weight_for_all(family: str) -> None:
    if family != "dense":
        arrays, options, matrix = arrays_of(family, homogeneous=True)
        function = getattr(functional, f"{family}mv")
        assert_close(function(*arrays, spikes(5), **options), matrix @ spikes(5))


@families
@transposed
def test_derivatives_are_those_of_the_dense_matrix(family: str, transpose: bool) -> None:
    arrays, options, _ = arrays_of(family)
    A, x = example(FAMILIES[family]), spikes(6 if transpose else 5)
    row, col = A.coordinates()
    function = getattr(functional, f"binary_{family}mv")

    def ours(data: jax.Array, x: jax.Array) -> jax.Array:
        return jnp.sum(jnp.sin(function(data, *arrays[1:], x, transpose=transpose, **options)))

    def expected(data: jax.Array, x: jax.Array) -> jax.Array:
        matrix = jnp.zeros(A.shape).at[row, col].add(data.reshape(-1))
        return jnp.sum(jnp.sin((matrix.T if transpose else matrix) @ through(x, True)))

    assert_close(jax.jit(jax.grad(ours, (0, 1)))(A.data, x), jax.grad(expected, (0, 1))(A.data, x))


@families
def test_the_backend_of_a_call_is_the_one_that_runs(family: str) -> None:
    arrays, options, matrix = arrays_of(family)
    function = getattr(functional, f"{family}mv")
    for backend, native in (("reference", False), ("cpp", True)):
        run = jax.jit(lambda *arrays, backend=backend: function(*arrays, backend=backend, **options))
        assert ("custom_call @spikax" in run.lower(*arrays, spikes(5)).as_text()) == native
        assert_close(run(*arrays, spikes(5)), matrix @ spikes(5))
    with pytest.raises(UnknownBackendError, match="abacus"):
        function(*arrays, spikes(5), backend="abacus", **options)


@families
def test_what_does_not_fit_is_named(family: str) -> None:
    arrays, options, _ = arrays_of(family)
    mv, mm = (getattr(functional, f"{family}{form}") for form in ("mv", "mm"))
    with pytest.raises(ShapeError, match=rf"{family}mv: got x of shape \(5, 2\); expected rank 1, see also {family}mm"):
        mv(*arrays, np.ones((5, 2)), **options)
    with pytest.raises(ShapeError, match=rf"{family}mm: got x of shape \(5,\); expected rank 2, see also {family}mv"):
        mm(*arrays, np.ones(5), **options)
    with pytest.raises(ShapeError, match=r"got \(6, 5\) @ \(6,\)"):
        mv(*arrays, np.ones(6), **options)
    with pytest.raises(DTypeError, match=f"{family}mv: got x of type list; expected an array"):
        mv(*arrays, [1.0] * 5, **options)


def test_the_table_of_functions_is_complete() -> None:
    names = {f"{binary}{family}{form}" for binary in ("", "binary_") for family in FAMILIES for form in ("mv", "mm")}
    assert names == {name for name in dir(functional) if name.endswith(("mv", "mm"))}
