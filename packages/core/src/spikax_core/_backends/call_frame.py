"""What XLA hands to an FFI handler: the structs of ``xla/ffi/api/c_api.h`` as far as a handler in Python needs them.

The names of structs and fields are the header's. A new minor version of the API only appends to structs.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

API_MAJOR = 0
"""The major version of the API whose layout this is; another one may have another."""

METADATA = 1  # XLA_FFI_Extension_Metadata
BUFFER = 1  # XLA_FFI_ArgType_BUFFER and XLA_FFI_RetType_BUFFER
EXECUTE = 3  # XLA_FFI_ExecutionStage_EXECUTE
INTERNAL = 13  # XLA_FFI_Error_Code_INTERNAL

DATA_TYPES: Mapping[str, int] = MappingProxyType(
    {
        "bool": 1,
        "int8": 2,
        "int16": 3,
        "int32": 4,
        "int64": 5,
        "uint8": 6,
        "uint16": 7,
        "uint32": 8,
        "uint64": 9,
        "float32": 11,
        "float64": 12,
        "complex64": 15,
        "complex128": 18,
    }
)
"""The ``XLA_FFI_DataType`` of each dtype that NumPy and C share."""


class Extension(ctypes.Structure):
    """``XLA_FFI_InternalExtension``, before API 0.5 ``XLA_FFI_Extension_Base``."""

    _fields_ = (("struct_size", ctypes.c_size_t), ("type", ctypes.c_int), ("next", ctypes.c_void_p))


class ApiVersion(ctypes.Structure):
    """``XLA_FFI_Api_Version``."""

    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("extension_start", ctypes.c_void_p),
        ("major_version", ctypes.c_int),
        ("minor_version", ctypes.c_int),
    )


class Metadata(ctypes.Structure):
    """``XLA_FFI_Metadata``."""

    _fields_ = (("struct_size", ctypes.c_size_t), ("api_version", ApiVersion), ("traits", ctypes.c_uint32))


class MetadataExtension(ctypes.Structure):
    """``XLA_FFI_Metadata_Extension``."""

    _fields_ = (("extension_base", Extension), ("metadata", ctypes.POINTER(Metadata)))


class ErrorCreateArgs(ctypes.Structure):
    """``XLA_FFI_Error_Create_Args``."""

    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("extension_start", ctypes.c_void_p),
        ("message", ctypes.c_char_p),
        ("errc", ctypes.c_int),
    )


class Api(ctypes.Structure):
    """``XLA_FFI_Api``."""

    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("extension_start", ctypes.c_void_p),
        ("api_version", ApiVersion),
        ("internal_api", ctypes.c_void_p),
        ("XLA_FFI_Error_Create", ctypes.c_void_p),
    )


class Buffer(ctypes.Structure):
    """``XLA_FFI_Buffer``."""

    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("extension_start", ctypes.c_void_p),
        ("dtype", ctypes.c_int),
        ("data", ctypes.c_void_p),
        ("rank", ctypes.c_int64),
        ("dims", ctypes.POINTER(ctypes.c_int64)),
    )


class Args(ctypes.Structure):
    """``XLA_FFI_Args``."""

    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("extension_start", ctypes.c_void_p),
        ("size", ctypes.c_int64),
        ("types", ctypes.POINTER(ctypes.c_int)),
        ("args", ctypes.POINTER(ctypes.POINTER(Buffer))),
    )


class Rets(ctypes.Structure):
    """``XLA_FFI_Rets``."""

    _fields_ = (*Args._fields_[:-1], ("rets", ctypes.POINTER(ctypes.POINTER(Buffer))))


class CallFrame(ctypes.Structure):
    """``XLA_FFI_CallFrame``."""

    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("extension_start", ctypes.c_void_p),
        ("api", ctypes.POINTER(Api)),
        ("ctx", ctypes.c_void_p),
        ("stage", ctypes.c_int),
        ("args", Args),
        ("rets", Rets),
    )


def offset(struct: Any, *path: str) -> int:
    """How many bytes after the start of ``struct`` a field lies, or a field of a field."""
    total = 0
    for name in path:
        total += getattr(struct, name).offset
        struct = next(field[1] for field in struct._fields_ if field[0] == name)
    return total


def error_args(message: str) -> ErrorCreateArgs:
    """What ``XLA_FFI_Error_Create`` takes, for an internal error."""
    size = ErrorCreateArgs.errc.offset + ErrorCreateArgs.errc.size
    return ErrorCreateArgs(struct_size=size, message=message.encode(), errc=INTERNAL)


def create_error(frame: CallFrame, message: str) -> int:
    """The address of a new ``XLA_FFI_Error``, which belongs to XLA as soon as a handler returns it."""
    create = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.POINTER(ErrorCreateArgs))
    error: int = create(frame.api.contents.XLA_FFI_Error_Create)(error_args(message))
    return error


def arrays(frame: CallFrame) -> tuple[list[np.ndarray[Any, Any]], list[np.ndarray[Any, Any]]]:
    """NumPy's views of a call's operands, which are read-only, and of its results."""
    names = {code: name for name, code in DATA_TYPES.items()}

    def view(buffer: Any) -> np.ndarray[Any, Any]:
        shape, dtype = tuple(buffer.dims[: buffer.rank]), np.dtype(names[buffer.dtype])
        size = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        memory: Any = (ctypes.c_char * size).from_address(buffer.data or 0)
        return np.ndarray(shape, dtype, memory)

    operands = [view(frame.args.args[i].contents) for i in range(frame.args.size)]
    for operand in operands:
        operand.flags.writeable = False
    return operands, [view(frame.rets.rets[i].contents) for i in range(frame.rets.size)]
