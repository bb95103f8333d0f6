"""What one call does on the GPU: buffers are filled and kernels launched, one after the other, on XLA's stream.

All of it is decided when a program is compiled, and handed to the native library as attributes, in the order that
``native/cuda_launch.cc`` reads them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import numpy as np

from ._cache import machine_code

TARGET = "spikax_cuda"
"""The XLA FFI target."""


@dataclass(frozen=True)
class Program:
    """CUDA C++ and how it is compiled.

    Attributes:
        source: The text.
        name: What messages call it.
        options: Options of NVRTC.
        architectures: The compute capabilities it is compiled for, in order.
    """

    source: str
    name: str
    options: tuple[str, ...]
    architectures: tuple[int, ...]


@dataclass(frozen=True)
class Buffer:
    """An argument of a kernel: the address of an operand, or of a result, which are counted after the operands."""

    index: int


Argument: TypeAlias = "Buffer | np.generic | np.ndarray[Any, Any]"
"""An address, or a value that is passed as it is: a number, or the numbers of a struct."""


@dataclass(frozen=True)
class Fill:
    """Set all bytes of a buffer."""

    buffer: int
    byte: int = 0


@dataclass(frozen=True)
class Launch:
    """Launch a kernel.

    Attributes:
        function: Its name.
        grid: The number of blocks along x, y and z.
        block: The number of threads of a block along x, y and z.
        arguments: What it is called with.
        shared: Bytes of dynamic shared memory.
        resident: Whether the grid is made no longer along x than what the device runs at once, for kernels that go
            through their work in strides of the grid.
    """

    function: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    arguments: Sequence[Argument]
    shared: int = 0
    resident: bool = False


Step: TypeAlias = Fill | Launch


def call(
    program: Program,
    steps: Sequence[Step],
    results: Sequence[jax.ShapeDtypeStruct],
    scratch: Sequence[jax.ShapeDtypeStruct] = (),
) -> Callable[..., list[jax.Array]]:
    """The call that takes these steps, as a function of its operands.

    Args:
        program: What the kernels are compiled from.
        steps: What is done, in this order.
        results: The types of the results.
        scratch: Those of buffers that are only written and read in between, counted after the results.
    """
    attributes = _attributes(program, steps)
    function = jax.ffi.ffi_call(TARGET, [*results, *scratch])

    def run(*operands: jax.Array) -> list[jax.Array]:
        return list(function(*operands, **attributes)[: len(results)])

    return run


def _attributes(program: Program, steps: Sequence[Step]) -> dict[str, Any]:
    functions = sorted({step.function for step in steps if isinstance(step, Launch)})
    numbers: list[int] = []
    values = bytearray()
    for step in steps:
        if isinstance(step, Fill):
            numbers += [0, step.buffer, step.byte]
            continue
        sizes = (*step.grid, *step.block, step.shared)
        numbers += [1, functions.index(step.function), *sizes, step.resident, len(step.arguments)]
        for argument in step.arguments:
            if isinstance(argument, Buffer):
                numbers += [argument.index, -1]
            else:
                values.extend(bytes(-len(values) % 8))  # aligned
                numbers += [len(values), argument.nbytes]
                values.extend(argument.tobytes())
    images = [
        machine_code(program.source, program.name, program.options, architecture)
        for architecture in program.architectures
    ]
    digest = hashlib.sha256("\0".join(functions).encode() + b"\0".join(images)).digest()
    return {
        "key": np.frombuffer(digest[:16], np.int64),
        "architectures": np.array(program.architectures, np.int64),
        "sizes": np.array([len(image) for image in images], np.int64),
        "images": np.frombuffer(b"".join(map(_padded, images)), np.int64),
        "functions": " ".join(functions),
        "steps": np.array(numbers, np.int64),
        "values": np.frombuffer(_padded(bytes(values)), np.int64),
    }


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 8)
