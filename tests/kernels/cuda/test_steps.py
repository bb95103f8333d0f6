"""What a call does, as the numbers that the native library reads; here they are read by another reader."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spikax_kernels.cuda import _steps
from spikax_kernels.cuda._steps import TARGET, Argument, Buffer, Fill, Launch, Program, Step, call
from tests.kernels.cuda._decode import decode

PROGRAM = Program("source", "name.cu", ("-DA",), (80, 90))


@pytest.fixture(autouse=True)
def images(monkeypatch: pytest.MonkeyPatch) -> dict[int, bytes]:
    """The machine code for each architecture, without a compiler."""
    made = {80: b"image of 80", 90: b"a longer image of 90"}
    monkeypatch.setattr(_steps, "machine_code", lambda source, name, options, architecture: made[architecture])
    return made


def attributes(steps: Sequence[Step], program: Program = PROGRAM) -> dict[str, Any]:
    made = _steps._attributes(program, steps)
    # What XLA gives a handler as a span of 64-bit numbers, and as a string.
    assert all(value.dtype == np.int64 and value.ndim == 1 for name, value in made.items() if name != "functions")
    return made


def plain(argument: Argument) -> int | bytes:
    return argument.index if isinstance(argument, Buffer) else argument.data.tobytes()


def expected(step: Step) -> tuple[Any, ...]:
    if isinstance(step, Fill):
        return "fill", step.buffer, step.byte
    return (
        *("launch", step.function, step.grid, step.block, step.shared, step.resident),
        [plain(argument) for argument in step.arguments],
    )


count = st.integers(0, 2**31 - 1)
sizes = st.tuples(count, count, count)
argument: st.SearchStrategy[Argument] = st.one_of(
    st.builds(Buffer, st.integers(0, 100)),
    st.sampled_from(
        [np.int32(-5), np.int64(-(2**63)), np.float32(0.1), np.float64(-0.0), np.uint8(255), np.bool_(True)]
    ),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=30).map(
        lambda numbers: np.array(numbers, np.int64)
    ),
)
fill = st.builds(Fill, st.integers(0, 100), st.integers(0, 255))
launch = st.builds(
    Launch,
    st.sampled_from(["add", "finish", "largest"]),
    sizes,
    sizes,
    st.lists(argument, max_size=10),
    count,
    st.booleans(),
)


# What the fixture sets is the same for every example.
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(fill | launch, max_size=6))
def test_steps_are_read_as_they_were_written(steps: list[Step]) -> None:
    made = attributes(steps)
    read = list(decode(made["steps"], made["values"], made["functions"]))
    assert read == [expected(step) for step in steps]


def test_a_half_precision_number_is_passed_as_its_two_bytes() -> None:
    one = np.asarray(jnp.bfloat16(1.0))[()]
    made = attributes([Launch("add", (1, 1, 1), (1, 1, 1), [one, np.int64(7)])])
    ((*_, arguments),) = decode(made["steps"], made["values"], made["functions"])
    assert arguments == [b"\x80\x3f", (7).to_bytes(8, "little")]


def test_every_function_is_named_once() -> None:
    steps = [Launch(name, (1, 1, 1), (1, 1, 1), []) for name in ("sub", "add", "sub")]
    assert attributes([Fill(0), *steps])["functions"] == "add sub"


def test_images_follow_each_other_in_whole_numbers(images: dict[int, bytes]) -> None:
    made = attributes([])
    assert made["architectures"].tolist() == [80, 90]
    assert made["sizes"].tolist() == [11, 20]
    assert made["images"].tobytes() == images[80] + bytes(5) + images[90] + bytes(4)


def key(steps: Sequence[Step], program: Program = PROGRAM) -> tuple[int, ...]:
    made = tuple(attributes(steps, program)["key"].tolist())
    assert len(made) == 2
    return made


def test_programs_share_a_key_if_they_share_code_and_functions(images: dict[int, bytes]) -> None:
    add, sub = (Launch(name, (1, 1, 1), (1, 1, 1), []) for name in ("add", "sub"))
    other_grid = Launch("add", (7, 1, 1), (32, 1, 1), [Buffer(3), np.int64(1)])
    assert key([add]) == key([Fill(1), other_grid, add])
    one = Program(PROGRAM.source, PROGRAM.name, PROGRAM.options, (90,))
    keys = [key([add]), key([sub]), key([add, sub]), key([]), key([add], one)]
    images[90] += b"."
    keys.append(key([add]))
    assert len(set(keys)) == len(keys)


def test_scratch_memory_is_asked_for_and_not_returned() -> None:
    result, scratch = jax.ShapeDtypeStruct((3,), jnp.float32), jax.ShapeDtypeStruct((5,), jnp.uint32)
    function = jax.jit(call(PROGRAM, [Fill(1), Fill(2)], [result], [scratch]))
    traced = function.trace(jnp.ones(2))
    assert [(out.shape, out.dtype) for out in traced.out_info] == [((3,), jnp.float32)]
    (line,) = [line for line in lowered(traced).splitlines() if "custom_call" in line]
    assert f"@{TARGET}(" in line
    assert "(tensor<2xf32>) -> (tensor<3xf32>, tensor<5xui32>)" in line


def lowered(traced: Any) -> str:
    text: str = traced.lower(lowering_platforms=("cuda",)).as_text()
    return text
