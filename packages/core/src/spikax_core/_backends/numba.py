"""Kernels in Numba: a function, compiled for the types of a call and registered with XLA as an FFI target."""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

import jax
from jax.core import ShapedArray

from spikax_core._call import exactly
from spikax_core._describe import describe_all
from spikax_core._errors import BackendRefusedError
from spikax_core._ffi import running_api_version
from spikax_core._registry import Build

from .call_frame import API_MAJOR, DATA_TYPES

# XLA keeps a handler's address for as long as the process lives, and so the cache of `_register` keeps the handler.
# Threads that compile the same kernel take turns: a cache that is filled twice would let go of one of the two.
_lock = threading.RLock()
_numbers = itertools.count()


def numba_kernel(operator: str, build: Callable[..., Callable[..., None]]) -> Build:
    """The kernel of an operator for which ``build`` makes functions, see :meth:`XLACustomKernel.def_numba_kernel`."""

    @functools.cache
    def target(
        in_avals: tuple[ShapedArray, ...], out_avals: tuple[ShapedArray, ...], _: tuple[Hashable, ...], /, **params: Any
    ) -> str:
        function = build(in_avals, out_avals, **params)
        try:
            name, _ = _register(operator, function, _array_types(in_avals), _array_types(out_avals))
        except Exception as error:
            error.add_note(
                f"That was the Numba kernel of {operator}, for {describe_all(in_avals)} -> {describe_all(out_avals)}. "
                "Its function gets the operands, read-only, then the results, and must compile in nopython mode."
            )
            raise
        return name

    def kernel(
        in_avals: Sequence[ShapedArray], out_avals: Sequence[ShapedArray], /, **params: Any
    ) -> Callable[..., Any]:
        _check_served([*in_avals, *out_avals])
        with _lock:
            name = target(_strong(in_avals), _strong(out_avals), tuple(map(exactly, params.values())), **params)
        results = [jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in out_avals]
        return lambda *ins: jax.ffi.ffi_call(name, results)(*ins)

    return kernel


@functools.cache
def _register(operator: str, function: Any, ins: Any, outs: Any) -> tuple[str, Any]:
    """The FFI target for arrays of these types, and what has to live with it."""
    # Here, because it imports Numba, which takes a second and need not be installed.
    from .numba_handler import compile_handler

    handler = compile_handler(operator, function, ins, outs)
    name = f"spikax_numba_{operator}_{next(_numbers)}"
    jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(handler.pointer), platform="cpu")
    return name, handler


def _check_served(avals: Sequence[ShapedArray]) -> None:
    """Raise unless Numba has a type for each array, and the running jaxlib calls handlers in the way that is known."""
    major, minor = running_api_version()
    if major != API_MAJOR:
        raise BackendRefusedError(
            f"jaxlib speaks XLA FFI API {major}.{minor}; expected {API_MAJOR}.x, upgrade spikax-core"
        )
    unknown = [aval for aval in avals if aval.dtype.name not in DATA_TYPES]
    if unknown:
        raise BackendRefusedError(f"got {describe_all(unknown)}; expected what Numba has: {', '.join(DATA_TYPES)}")


def _array_types(avals: Iterable[ShapedArray]) -> tuple[tuple[str, int], ...]:
    return tuple((aval.dtype.name, aval.ndim) for aval in avals)


def _strong(avals: Iterable[ShapedArray]) -> tuple[ShapedArray, ...]:
    """The types as a key: a number whose dtype is weak has the same bits."""
    return tuple(ShapedArray(aval.shape, aval.dtype) for aval in avals)
