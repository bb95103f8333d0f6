"""What Numba cannot say by itself: numbers, arrays and C functions at an address, as LLVM instructions."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.np import arrayobj

from .call_frame import Args, Buffer, CallFrame, offset

INT = types.int32
"""A C ``int``, and an ``enum``."""

WORD = types.intp
"""An address, and a ``size_t`` or an ``int64_t``; signed, because Numba adds unsigned and signed as floats."""

WORD_SIZE = ctypes.sizeof(ctypes.c_void_p)
INT_SIZE = ctypes.sizeof(ctypes.c_int)

# Given a type here, as Numba is not typed.
_intrinsic: Callable[..., Any] = numba.extending.intrinsic


@_intrinsic
def load(_: Any, address: Any, kind: Any) -> Any:
    """The number of type ``kind`` at an address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(builder.inttoptr(args[0], context.get_value_type(signature.return_type).as_pointer()))

    return kind.instance_type(WORD, kind), generate


@_intrinsic
def store(_: Any, address: Any, number: Any) -> Any:
    """Write a C ``int`` to an address."""

    def generate(context: Any, builder: Any, _: Any, args: Any) -> Any:
        builder.store(args[1], builder.inttoptr(args[0], context.get_value_type(INT).as_pointer()))
        return context.get_dummy_value()

    return types.none(WORD, INT), generate


@_intrinsic
def invoke(_: Any, function: Any, argument: Any) -> Any:
    """Call the C function at an address, which takes and returns one pointer."""

    def generate(context: Any, builder: Any, _: Any, args: Any) -> Any:
        word = context.get_value_type(WORD)
        return builder.call(builder.inttoptr(args[0], ir.FunctionType(word, [word]).as_pointer()), [args[1]])

    return WORD(WORD, WORD), generate


def unpacker(operands: Sequence[Any], results: Sequence[Any]) -> Any:
    """What gives the arrays of a call frame of these types, as a tuple of views of XLA's buffers.

    Results become zeros: XLA's memory holds whatever was there, which a kernel that leaves a gap would return.
    """
    sections = (
        (offset(CallFrame, "args") + offset(Args, "args"), operands, False),
        (offset(CallFrame, "rets") + offset(Args, "args"), results, True),
    )

    def unpack(_: Any, frame: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            views = []
            for section, kinds, zeroed in sections:
                buffers = _word(builder, args[0], section)
                for i, kind in enumerate(kinds):
                    views.append(_view(context, builder, _word(builder, buffers, i * WORD_SIZE), kind, zeroed=zeroed))
            return context.make_tuple(builder, signature.return_type, views)

        return types.Tuple((*operands, *results))(WORD), generate

    return _intrinsic(unpack)


def _word(builder: Any, address: Any, distance: int) -> Any:
    """The word that lies ``distance`` bytes after an address."""
    word = address.type
    return builder.load(builder.inttoptr(builder.add(address, word(distance)), word.as_pointer()))


def _view(context: Any, builder: Any, buffer: Any, kind: Any, *, zeroed: bool) -> Any:
    """The array, of Numba's type ``kind``, over the memory that an ``XLA_FFI_Buffer`` describes."""
    dims = _word(builder, buffer, offset(Buffer, "dims"))
    shape = [_word(builder, dims, i * WORD_SIZE) for i in range(kind.ndim)]
    itemsize = context.get_abi_sizeof(context.get_data_type(kind.dtype))
    strides = [dims.type(itemsize)]
    for length in shape[:0:-1]:
        strides.insert(0, builder.mul(strides[0], length))
    array = arrayobj.make_array(kind)(context, builder)
    data = builder.inttoptr(_word(builder, buffer, offset(Buffer, "data")), array.data.type)
    if zeroed:
        size = functools.reduce(builder.mul, shape, dims.type(itemsize))
        cgutils.memset(builder, data, size, 0)
    arrayobj.populate_array(
        array, data=data, shape=shape, strides=strides[: kind.ndim], itemsize=itemsize, meminfo=None
    )
    return array._getvalue()
