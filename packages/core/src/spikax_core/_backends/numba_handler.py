"""The XLA FFI handler of a Numba kernel: native code that unpacks a call frame and calls the kernel's function."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numba
import numpy as np
from numba import threading_layer  # type: ignore[attr-defined, unused-ignore] # public, but not typed so
from numba.core import types
from numba.extending import is_jitted

from spikax_core._errors import BackendRefusedError, ParameterError
from spikax_core._ffi import running_api_version

from .call_frame import (
    API_MAJOR,
    BUFFER,
    DATA_TYPES,
    EXECUTE,
    METADATA,
    Api,
    Args,
    Buffer,
    CallFrame,
    Extension,
    Metadata,
    MetadataExtension,
    arrays,
    create_error,
    error_args,
    offset,
)
from .numba_memory import INT, INT_SIZE, WORD, WORD_SIZE, invoke, load, store, unpacker

ArrayType: TypeAlias = tuple[str, int]
"""The name of a dtype, and a rank."""

_Function: TypeAlias = Callable[..., Any]

# Numba takes a number that a function finds in its module for a constant.
_FRAME_SIZE = ctypes.sizeof(CallFrame)
_EXTENSION = offset(CallFrame, "extension_start")
_API = offset(CallFrame, "api")
_STAGE = offset(CallFrame, "stage")
_ARGS = offset(CallFrame, "args")
_RETS = offset(CallFrame, "rets")
_SIZE = offset(Args, "size")
_TYPES = offset(Args, "types")
_BUFFERS = offset(Args, "args")
_DTYPE = offset(Buffer, "dtype")
_RANK = offset(Buffer, "rank")
_ERROR_CREATE = offset(Api, "XLA_FFI_Error_Create")
_EXTENSION_TYPE = offset(Extension, "type")
_METADATA = offset(MetadataExtension, "metadata")
_MAJOR = offset(Metadata, "api_version", "major_version")
_MINOR = offset(Metadata, "api_version", "minor_version")
_TRAITS = offset(Metadata, "traits")


@dataclass(frozen=True)
class Handler:
    """A compiled handler.

    Attributes:
        pointer: What ``jax.ffi.pycapsule`` takes.
        kept: What must live for as long as XLA may call it.
    """

    pointer: Any
    kept: tuple[Any, ...]


def compile_handler(operator: str, function: _Function, ins: Sequence[ArrayType], outs: Sequence[ArrayType]) -> Handler:
    """Compile the handler that calls ``function(*ins, *outs)``, with bounds checks unless it is jitted already.

    Raises:
        numba.core.errors.NumbaError: The function does not compile for these types.
        ParameterError: It returns something.
        BackendRefusedError: It is parallel, and Numba's threads cannot be entered by several threads at once.
    """
    jitted = function if is_jitted(function) else numba.njit(boundscheck=True)(function)
    mismatch = error_args(f"the Numba kernel of {operator} was called with other types than it was compiled for")
    unnamed = error_args(f"the Numba kernel of {operator} raised an exception")
    explain = ctypes.CFUNCTYPE(ctypes.c_ssize_t, ctypes.c_ssize_t)(_explain(operator, jitted))
    handle = numba.cfunc(WORD(WORD))(
        _handle(
            jitted,
            unpacker([_array(t, readonly=True) for t in ins], [_array(t, readonly=False) for t in outs]),
            (_codes(ins), _codes(outs)),
            (ctypes.addressof(mismatch), ctypes.addressof(unnamed)),
            ctypes.cast(explain, ctypes.c_void_p).value or 0,
        )
    )
    _check_result(jitted)
    _check_threads(handle)
    return Handler(handle.ctypes, (handle, mismatch, unnamed, explain))


def _check_result(jitted: Any) -> None:
    for signature in jitted.nopython_signatures:
        if signature.return_type != types.none:
            raise ParameterError(
                f"got a function that returns {signature.return_type}; expected one that writes into its last "
                "arguments, the results, and returns nothing"
            )


def _check_threads(handle: Any) -> None:
    """Refuse what would end the process as soon as XLA makes two calls at once, as the layer ``workqueue`` does."""
    if "@numba_parallel_for" in handle.inspect_llvm() and threading_layer() == "workqueue":
        raise BackendRefusedError(
            "got parallel=True on Numba's threading layer 'workqueue', which several threads must not enter; expected "
            "'tbb' or 'omp'. Install tbb, or leave out parallel=True"
        )


def _array(kind: ArrayType, *, readonly: bool) -> Any:
    """Numba's type of a C-contiguous array."""
    dtype, rank = kind
    return types.Array(numba.from_dtype(np.dtype(dtype)), rank, "C", readonly=readonly)


def _codes(kinds: Sequence[ArrayType]) -> np.ndarray[Any, Any]:
    """What XLA says of buffers of these types: a row of dtype and rank for each."""
    return np.array([(DATA_TYPES[dtype], rank) for dtype, rank in kinds], np.int64).reshape(-1, 2)


def _handle(
    function: _Function,
    unpack: _Function,
    expected: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]],
    errors: tuple[int, int],
    explain: int,
) -> _Function:
    """The handler, from the address of a call frame to that of an error, or 0; Numba compiles all of it."""
    (ins, outs), (mismatch, unnamed) = expected, errors
    minor = running_api_version()[1]

    def handle(frame: Any) -> Any:
        extension = load(frame + _EXTENSION, WORD)
        if extension != 0 and load(extension + _EXTENSION_TYPE, INT) == METADATA:
            metadata = load(extension + _METADATA, WORD)
            store(metadata + _MAJOR, API_MAJOR)
            store(metadata + _MINOR, minor)
            store(metadata + _TRAITS, 0)
            return 0
        create_error = load(load(frame + _API, WORD) + _ERROR_CREATE, WORD)
        known = load(frame, WORD) >= _FRAME_SIZE and load(frame + _STAGE, INT) == EXECUTE
        if not (known and _fits(frame + _ARGS, ins) and _fits(frame + _RETS, outs)):
            return invoke(create_error, mismatch)
        raised = False
        try:
            function(*unpack(frame))
        except Exception:  # noqa: BLE001 - Numba knows no other; which it was, `explain` finds out
            raised = True
        if not raised:
            return 0
        report = np.array([frame, 0])
        invoke(explain, report.ctypes.data)
        return report[1] if report[1] != 0 else invoke(create_error, unnamed)

    return handle


@numba.njit
def _fits(section: Any, expected: Any) -> Any:
    """Whether the operands or results at ``section`` are buffers of the expected dtypes and ranks."""
    if load(section + _SIZE, WORD) != len(expected):
        return False
    kinds, buffers = load(section + _TYPES, WORD), load(section + _BUFFERS, WORD)
    for i in range(len(expected)):
        buffer = load(buffers + i * WORD_SIZE, WORD)
        if load(kinds + i * INT_SIZE, INT) != BUFFER:
            return False
        if load(buffer + _DTYPE, INT) != expected[i, 0] or load(buffer + _RANK, WORD) != expected[i, 1]:
            return False
    return True


def _explain(operator: str, function: _Function) -> Callable[[int], int]:
    """What names an exception, in Python: native code knows only that there was one, so it is raised once more."""

    def explain(address: int) -> int:
        # The error is written beside the frame's address and not returned: if this function is interrupted, ctypes
        # returns any number.
        report = (ctypes.c_ssize_t * 2).from_address(address)
        frame = CallFrame.from_address(report[0])
        what = "an exception, and none when it was run again"
        try:
            operands, results = arrays(frame)
            for result in results:
                result[...] = 0
            function(*operands, *results)
        except Exception as error:  # noqa: BLE001 - whatever it is, XLA is told
            what = f"{type(error).__name__}: {error}"
        report[1] = create_error(
            frame, f"the Numba kernel of {operator} raised {what}; call its function on NumPy arrays to debug it"
        )
        return 0

    return explain
