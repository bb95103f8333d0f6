"""Call frames made by hand, as XLA makes them, for handlers called without XLA."""

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from spikax_core._backends.call_frame import (
    BUFFER,
    DATA_TYPES,
    EXECUTE,
    Api,
    Args,
    Buffer,
    CallFrame,
    ErrorCreateArgs,
    Rets,
)

Array = np.ndarray[Any, Any]


class Frame:
    """A call frame over NumPy arrays; ``messages`` are those of the errors that were made through its API."""

    def __init__(self, operands: Sequence[Array], results: Sequence[Array]) -> None:
        self.messages: list[str] = []
        self._create = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.POINTER(ErrorCreateArgs))(self._record)
        api = Api(XLA_FFI_Error_Create=ctypes.cast(self._create, ctypes.c_void_p))
        args = Args(ctypes.sizeof(Args), None, len(operands), *_buffers(operands))
        rets = Rets(ctypes.sizeof(Rets), None, len(results), *_buffers(results))
        self.struct = CallFrame(ctypes.sizeof(CallFrame), None, ctypes.pointer(api), None, EXECUTE, args, rets)
        self._arrays = (*operands, *results)

    @property
    def address(self) -> int:
        """What a handler is called with."""
        return ctypes.addressof(self.struct)

    def _record(self, args: Any) -> int:
        self.messages.append(args.contents.message.decode())
        return len(self.messages)


def _buffers(arrays: Sequence[Array]) -> tuple[Any, Any]:
    """The kinds of some buffers, and pointers to them."""
    kinds = (ctypes.c_int * len(arrays))(*[BUFFER] * len(arrays))
    buffers = (ctypes.POINTER(Buffer) * len(arrays))()
    for i, array in enumerate(arrays):
        dims = (ctypes.c_int64 * array.ndim)(*array.shape)
        code = DATA_TYPES[array.dtype.name]
        buffer = Buffer(ctypes.sizeof(Buffer), None, code, array.ctypes.data, array.ndim, dims)
        buffers[i] = ctypes.pointer(buffer)
    types: dict[str, Any] = dict(Args._fields_)
    return ctypes.cast(kinds, types["types"]), ctypes.cast(buffers, types["args"])
