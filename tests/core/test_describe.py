"""Types in messages read as JAX prints them."""

from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from spikax_core._describe import describe, describe_all


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.zeros((3, 4), np.float32), "f32[3,4]"),
        (jax.ShapeDtypeStruct((), jnp.float16), "f16[]"),
        (jax.core.ShapedArray((2,), jnp.dtype("int8")), "i8[2]"),
        (jax.ShapeDtypeStruct((0, 1), jnp.uint32), "u32[0,1]"),
        (jax.ShapeDtypeStruct((5,), jnp.bfloat16), "bf16[5]"),
        (np.zeros(1, ml_dtypes.float8_e4m3fn), "f8_e4m3fn[1]"),
        (np.zeros(1, np.complex64), "c64[1]"),
        (np.zeros(1, bool), "bool[1]"),
        (np.zeros(2, jax.dtypes.float0), "float0[2]"),
        ("text", "str"),
        (3, "int"),
        (None, "NoneType"),
        ((1, 2), "tuple"),
    ],
)
def test_a_value_reads_as_its_dtype_and_shape_or_as_its_type(value: Any, text: str) -> None:
    assert describe(value) == text


def test_random_keys_read_as_jax_calls_them() -> None:
    assert describe(jax.random.split(jax.random.key(0), 3)) == "key<fry>[3]"


def test_several_values_read_as_a_list() -> None:
    assert describe_all([np.zeros(2, np.int32), 1]) == "(i32[2], int)"
    assert describe_all([]) == "()"
