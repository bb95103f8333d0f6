"""The structs of a call frame lie in memory as the running jaxlib's own header lays them out."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from spikax_core._backends import call_frame
from spikax_core._backends.call_frame import DATA_TYPES, CallFrame, error_args, offset
from spikax_core._ffi import running_api_version
from tests.core.backends.frames import Frame

COMPILER = shutil.which("c++") or shutil.which("g++")
NEW = running_api_version() >= (0, 5)
STRUCTS: dict[Any, str] = {
    call_frame.Extension: "XLA_FFI_InternalExtension" if NEW else "XLA_FFI_Extension_Base",
    call_frame.ApiVersion: "XLA_FFI_Api_Version",
    call_frame.Metadata: "XLA_FFI_Metadata",
    call_frame.MetadataExtension: "XLA_FFI_Metadata_Extension",
    call_frame.ErrorCreateArgs: "XLA_FFI_Error_Create_Args",
    call_frame.Api: "XLA_FFI_Api",
    call_frame.Buffer: "XLA_FFI_Buffer",
    call_frame.Args: "XLA_FFI_Args",
    call_frame.Rets: "XLA_FFI_Rets",
    call_frame.CallFrame: "XLA_FFI_CallFrame",
}
KINDS = {"bool": "PRED", "int": "S", "uint": "U", "float": "F", "complex": "C"}


def header(tmp_path: Path, expressions: list[str]) -> list[int]:
    """What these expressions are where the header is included."""
    if COMPILER is None:
        pytest.skip("no C++ compiler")
    lines = "\n".join(f'std::printf("%zu\\n", static_cast<size_t>({e}));' for e in expressions)
    source, program = tmp_path / "layout.cc", tmp_path / "layout"
    source.write_text(f"#include <cstdio>\n#include <xla/ffi/api/c_api.h>\nint main() {{\n{lines}\n}}\n")
    subprocess.run([COMPILER, "-std=c++17", "-I", jax.ffi.include_dir(), source, "-o", program], check=True)
    return [int(line) for line in subprocess.check_output([program], text=True).split()]


def test_every_field_lies_where_the_header_has_it(tmp_path: Path) -> None:
    fields = [(struct, field[0]) for struct in STRUCTS for field in struct._fields_]
    places = [f"offsetof({STRUCTS[struct]}, {name})" for struct, name in fields]
    sizes = [f"sizeof({STRUCTS[struct]}::{name})" for struct, name in fields]
    found = header(tmp_path, places + sizes)
    ours = [getattr(struct, name) for struct, name in fields]
    assert found == [field.offset for field in ours] + [field.size for field in ours]


def test_constants_are_the_headers(tmp_path: Path) -> None:
    letters = [(name.rstrip("0123456789"), name) for name in DATA_TYPES]
    codes = [f"XLA_FFI_DataType_{KINDS[kind]}{name.removeprefix(kind)}" for kind, name in letters]
    names = ["Extension_Metadata", "ArgType_BUFFER", "RetType_BUFFER", "ExecutionStage_EXECUTE", "Error_Code_INTERNAL"]
    numbers = ["XLA_FFI_API_MAJOR", "XLA_FFI_API_MINOR", "XLA_FFI_Error_Create_Args_STRUCT_SIZE"]
    found = header(tmp_path, codes + [f"XLA_FFI_{name}" for name in names] + numbers)
    constants = ["METADATA", "BUFFER", "BUFFER", "EXECUTE", "INTERNAL"]
    expected = [*DATA_TYPES.values(), *(getattr(call_frame, name) for name in constants)]
    assert found == [*expected, *running_api_version(), error_args("").struct_size]


def test_the_offset_of_a_field_of_a_field_is_that_in_memory() -> None:
    frame = CallFrame()
    frame.rets.size = 0x0123456789ABCDEF
    place = bytes(frame).index((0x0123456789ABCDEF).to_bytes(8, "little"))
    assert offset(CallFrame, "rets", "size") == place


def test_numpy_sees_operands_read_only_and_results_writable() -> None:
    operand, result = np.arange(6, dtype=np.int16).reshape(2, 3), np.zeros((), np.complex64)
    frame = Frame([operand], [result])
    (seen,), (written,) = call_frame.arrays(frame.struct)
    np.testing.assert_array_equal(seen, operand)
    written[()] = 1 + 2j
    assert result.item() == 1 + 2j
    assert not seen.flags.writeable


def test_numpy_sees_an_empty_buffer_without_memory() -> None:
    frame = Frame([np.zeros((2, 0), np.float32)], [])
    frame.struct.args.args[0].contents.data = None
    assert [array.shape for array in call_frame.arrays(frame.struct)[0]] == [(2, 0)]
