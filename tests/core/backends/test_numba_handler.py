"""A Numba handler answers XLA by the rules of its interface, and trusts nothing that it is called with."""

import ctypes
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from spikax_core._backends.call_frame import METADATA, Extension, Metadata, MetadataExtension
from spikax_core._ffi import running_api_version
from tests.core.backends.frames import Frame

numba_handler = pytest.importorskip("spikax_core._backends.numba_handler")


def double(x: Any, out: Any) -> None:
    for i in range(len(x)):
        out[i] = 2 * x[i]


@pytest.fixture(scope="module")
def handler() -> Any:
    """From one vector of float32 to another."""
    return numba_handler.compile_handler("double", double, [("float32", 1)], [("float32", 1)])


def frame() -> tuple[Frame, Any]:
    """A frame that the handler takes, and its result."""
    result = np.full(3, -1, np.float32)
    return Frame([np.arange(3, dtype=np.float32)], [result]), result


def test_it_runs_the_function_on_the_buffers(handler: Any) -> None:
    call, result = frame()
    assert handler.pointer(call.address) == 0
    assert result.tolist() == [0, 2, 4]


def test_asked_for_its_metadata_it_answers_with_the_running_api_and_runs_nothing(handler: Any) -> None:
    call, result = frame()
    metadata = Metadata(struct_size=ctypes.sizeof(Metadata), traits=7)
    base = Extension(ctypes.sizeof(MetadataExtension), METADATA, None)
    extension = MetadataExtension(base, ctypes.pointer(metadata))
    call.struct.extension_start = ctypes.addressof(extension)
    assert handler.pointer(call.address) == 0
    version = metadata.api_version
    assert ((version.major_version, version.minor_version), metadata.traits) == (running_api_version(), 0)
    assert result.tolist() == [-1, -1, -1]


def test_an_extension_that_it_does_not_know_changes_nothing(handler: Any) -> None:
    call, result = frame()
    extension = Extension(ctypes.sizeof(Extension), METADATA + 1, None)
    call.struct.extension_start = ctypes.addressof(extension)
    assert handler.pointer(call.address) == 0
    assert result.tolist() == [0, 2, 4]


def first(section: Any) -> Any:
    return getattr(section, section._fields_[-1][0])[0].contents


STRANGE: dict[str, Callable[[Any], None]] = {
    "another stage": lambda f: setattr(f, "stage", 1),
    "a shorter frame": lambda f: setattr(f, "struct_size", f.struct_size - 1),
    "no operand": lambda f: setattr(f.args, "size", 0),
    "two results": lambda f: setattr(f.rets, "size", 2),
    "an operand that is no buffer": lambda f: f.args.types.__setitem__(0, 2),
    "an operand of another dtype": lambda f: setattr(first(f.args), "dtype", 12),
    "an operand of another rank": lambda f: setattr(first(f.args), "rank", 2),
    "a result of another dtype": lambda f: setattr(first(f.rets), "dtype", 4),
    "a result of another rank": lambda f: setattr(first(f.rets), "rank", 0),
}


@pytest.mark.parametrize("name", STRANGE)
def test_a_call_that_it_was_not_compiled_for_is_an_error(handler: Any, name: str) -> None:
    call, result = frame()
    STRANGE[name](call.struct)
    assert handler.pointer(call.address) == 1
    assert call.messages == ["the Numba kernel of double was called with other types than it was compiled for"]
    assert result.tolist() == [-1, -1, -1]


def test_an_exception_that_is_not_raised_again_is_still_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def once(x: Any, out: Any) -> None:
        if x[0] == 1:
            raise ValueError("once")

    one, zero, out = np.ones(1, np.float32), np.zeros(1, np.float32), np.zeros(1, np.float32)
    call = Frame([one], [out])
    monkeypatch.setattr(numba_handler, "arrays", lambda frame: ([zero], [out]))
    handler = numba_handler.compile_handler("once", once, [("float32", 1)], [("float32", 1)])
    assert handler.pointer(call.address) == 1
    (message,) = call.messages
    assert message.startswith("the Numba kernel of once raised an exception, and none when it was run again; ")


def test_an_exception_is_an_error_even_if_naming_it_is_interrupted(
    handler: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    unraisable: list[Any] = []
    monkeypatch.setattr(numba_handler, "create_error", interrupted)
    monkeypatch.setattr(sys, "unraisablehook", lambda hook: unraisable.append(hook.exc_type))
    call = Frame([np.zeros(3, np.float32)], [np.zeros(2, np.float32)])  # the result is too short
    assert handler.pointer(call.address) == 1
    assert call.messages == ["the Numba kernel of double raised an exception"]
    assert unraisable == [KeyboardInterrupt]
