"""Every operator launches its kernels with the arguments that these take, which the native library checks on a GPU."""

import re
from collections.abc import Sequence
from typing import Any, TypeAlias

import pytest

from spikax_kernels.cuda import _compile, _steps
from spikax_kernels.cuda._steps import Buffer, Launch, Program
from tests.kernels.cuda._calls import lowered

ENTRY = re.compile(r"\.entry (\w+)\((.*?)\)", re.DOTALL)
PARAMETER = re.compile(
    r"\.param (?:\.align \d+ )?\.([bfsu])(\d+)(?: \.ptr(?: \.\w+)?(?: \.align \d+)?)? \w+(?:\[(\d+)\])?"
)

Sizes: TypeAlias = tuple[int, ...]


def taken(program: Program) -> dict[str, Sizes]:
    """The bytes of each argument of each kernel, from its PTX."""
    included = _compile.headers()
    (handle,) = _compile._call(
        "nvrtcCreateProgram",
        program.source.encode(),
        program.name.encode(),
        len(included),
        [text.encode() for text in included.values()],
        [name.encode() for name in included],
    )
    options = ["--gpu-architecture=compute_90", "--std=c++17", *program.options]
    _compile._call("nvrtcCompileProgram", handle, len(options), [option.encode() for option in options])
    entries = ENTRY.findall(_compile._read(handle, "PTX").decode())
    _compile._call("nvrtcDestroyProgram", handle)
    return {
        name: tuple(int(bits) // 8 * int(count or 1) for _, bits, count in PARAMETER.findall(parameters))
        for name, parameters in entries
    }


@pytest.mark.usefixtures("nvrtc")
@pytest.mark.parametrize("backend", ["cuda", "cuda_deterministic"])
def test_a_kernel_gets_the_arguments_that_it_takes(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[Program, set[tuple[str, Sizes]]] = {}
    original = _steps._attributes

    def attributes(program: Program, steps: Sequence[_steps.Step]) -> dict[str, Any]:
        for step in steps:
            if isinstance(step, Launch):
                sizes = tuple(8 if isinstance(argument, Buffer) else argument.nbytes for argument in step.arguments)
                given.setdefault(program, set()).add((step.function, sizes))
        return original(program, steps)

    monkeypatch.setattr(_steps, "_attributes", attributes)
    monkeypatch.setattr(_steps, "machine_code", lambda *_: b"machine code")
    monkeypatch.setenv("SPIKAX_CUDA_ARCH", "90")
    for name, text in lowered(backend):
        assert "@spikax_cuda(" in text, name
    assert len(given) > 20
    for program, launches in given.items():
        sizes = taken(program)
        assert launches == {(name, sizes[name]) for name, _ in launches}, program.options
