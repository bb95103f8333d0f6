"""The C++ code that launches kernels, on a driver that only writes down how it is called: ``tests/kernels/native``."""

import ctypes
import dataclasses
import fcntl
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import jax
import numpy as np
import pytest

from spikax_kernels import _library
from spikax_kernels.cuda import _steps
from spikax_kernels.cuda._steps import Buffer, Fill, Launch, Program, Step
from tests.processes import ROOT

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("g++") is None, reason="builds with g++ what only runs on Linux"
)

HERE = ROOT / "tests" / "kernels" / "native"
NATIVE = ROOT / "packages" / "kernels" / "native"
FLAGS = ["-std=c++17", "-O0", "-g1", "-pthread", "-fno-sanitize-recover=all"]
# A runtime that is loaded ahead of Python, to watch it, is not for these programs, which have their own.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}

Sanitizer = Literal["address,undefined", "thread"]


def compile_driver(folder: Path, *flags: str) -> Path:
    """A folder that has the stand-in under the name of the CUDA driver."""
    folder.mkdir(parents=True, exist_ok=True)
    sources = [str(HERE / "stand_in_driver.cc"), "-o", str(folder / "libcuda.so.1")]
    subprocess.run(["g++", *FLAGS, *flags, "-shared", "-fPIC", *sources], check=True, env=ENVIRONMENT)
    return folder


def compile_launcher(folder: Path, sanitizer: Sanitizer) -> Path:
    """A folder that has the program, and the driver that is for it."""
    compile_driver(folder, f"-fsanitize={sanitizer}")
    sources = [HERE / "launcher.cc", NATIVE / "cuda_launch.cc", NATIVE / "cuda_driver.cc"]
    includes = [f"-I{NATIVE}", "-isystem", jax.ffi.include_dir()]
    output = ["-ldl", "-o", str(folder / "launcher")]
    command = ["g++", *FLAGS, f"-fsanitize={sanitizer}", *includes, *map(str, sources), *output]
    subprocess.run(command, check=True, env=ENVIRONMENT)
    return folder


def built(factory: pytest.TempPathFactory, sanitizer: Sanitizer) -> Path:
    """Such a folder, built by the first of the processes that share the tests."""
    shared = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder = shared / f"launcher-{sanitizer}"
    with (shared / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "launcher").exists():
            compile_launcher(folder, sanitizer)
    return folder


@pytest.fixture(scope="session")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory, "address,undefined")


@pytest.fixture(scope="session")
def launcher_with_watched_threads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory, "thread")


def run(launcher: Path, *lines: str, driver: Path | None = None, **variables: str) -> list[str]:
    """What the driver wrote down and the calls gave, a line each."""
    libraries = [str(driver or launcher), *filter(None, [ENVIRONMENT.get("LD_LIBRARY_PATH")])]
    ended = subprocess.run(
        [launcher / "launcher"],
        env={**ENVIRONMENT, "LD_LIBRARY_PATH": os.pathsep.join(libraries), **variables},
        input="".join(f"{line}\n" for line in lines),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


def numbers(values: Sequence[int]) -> str:
    return " ".join(map(str, values))


@dataclasses.dataclass(frozen=True)
class Call:
    """What a handler is called with. A buffer has an address, which nothing may read or write, and its bytes."""

    steps: Sequence[int] = ()
    functions: str = "add"
    values: bytes = b""
    operands: Sequence[tuple[int, int]] = ((0x1000, 16), (0x2000, 32))
    results: Sequence[tuple[int, int]] = ((0x3000, 24),)
    # Code for two architectures, 5 and 16 bytes of it, each in whole numbers of 8 bytes.
    architectures: Sequence[int] = (80, 90)
    sizes: Sequence[int] = (5, 16)
    images: Sequence[int] = (8080, 9090, 9191)
    key: Sequence[int] = (-1, 2**62)
    device: int = 0

    def lines(self) -> list[str]:
        padded = self.values + bytes(-len(self.values) % 8)
        return [
            f"functions {self.functions}",
            f"device {self.device}",
            f"key {numbers(self.key)}",
            f"architectures {numbers(self.architectures)}",
            f"sizes {numbers(self.sizes)}",
            f"images {numbers(self.images)}",
            f"steps {numbers(self.steps)}",
            f"values {numbers(struct.unpack(f'{len(padded) // 8}q', padded))}",
            f"operands {numbers([n for buffer in self.operands for n in buffer])}",
            f"results {numbers([n for buffer in self.results for n in buffer])}",
        ]

    def executed(self, threads: int = 1) -> list[str]:
        return [*self.lines(), f"execute {threads}"]


def launch(
    *arguments: tuple[int, int],
    function: int = 0,
    grid: tuple[int, int, int] = (1, 1, 1),
    block: tuple[int, int, int] = (32, 1, 1),
    shared: int = 0,
    resident: bool = False,
) -> list[int]:
    """The numbers of a step that launches a kernel."""
    return [1, function, *grid, *block, shared, int(resident), len(arguments), *(n for pair in arguments for n in pair)]


def only(lines: Sequence[str], function: str) -> list[str]:
    return [line for line in lines if line.split()[0] == function]


def test_without_a_driver_a_call_says_so(launcher: Path, tmp_path: Path) -> None:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        pass
    else:
        pytest.skip("this machine has a driver")
    (line,) = run(launcher, *Call().executed(), driver=tmp_path)
    assert line.startswith("error 9: spikax_kernels: the CUDA driver cannot be opened: libcuda.so.1: cannot open")


def test_a_driver_that_is_damaged_is_told(launcher: Path, tmp_path: Path) -> None:
    (tmp_path / "libcuda.so.1").write_bytes(b"no library")
    (line,) = run(launcher, *Call().executed(), driver=tmp_path)
    assert line.startswith("error 9: spikax_kernels: the CUDA driver cannot be opened: ")
    assert "libcuda.so.1" in line


@pytest.mark.parametrize("function", ["cuCtxPushCurrent_v2", "cuGetErrorString"])
def test_a_driver_that_lacks_a_function_is_too_old(launcher: Path, tmp_path: Path, function: str) -> None:
    driver = compile_driver(tmp_path, f"-D{function}=cuAnotherName")
    lines = run(launcher, *Call().executed(), driver=driver)
    assert lines == [f"error 9: spikax_kernels: the CUDA driver is too old: it has no {function}"]


def test_a_driver_that_does_not_start_says_why(launcher: Path) -> None:
    lines = run(launcher, *Call().executed(), "execute 1", STAND_IN_FAILS="cuInit 100")
    error = "error 9: spikax_kernels: the CUDA driver does not start: what error 100 means (CUDA error 100)"
    assert lines == ["cuInit 0", error, error]


def test_an_import_opens_no_driver() -> None:
    program = "import spikax_kernels; print('libcuda' in open('/proc/self/maps').read())"
    assert subprocess.check_output([sys.executable, "-c", program], text=True, timeout=60) == "False\n"


def test_the_installed_library_has_both_stages() -> None:
    library = _library._load()
    for name in _library.CUDA_STAGES.values():
        assert ctypes.cast(getattr(library, name), ctypes.c_void_p).value


@pytest.mark.parametrize(
    ("device", "image"),
    [(75, 75), (80, 80), (86, 86), (87, 86), (89, 86), (90, 90), (100, 100), (103, 100), (120, 120)],
)
def test_a_device_gets_the_newest_code_that_runs_on_it(launcher: Path, device: int, image: int) -> None:
    architectures = [75, 80, 86, 90, 100, 120]
    images = [n for architecture in architectures for n in (architecture, 0)]
    call = Call(architectures=architectures, sizes=[9, 16, 10, 11, 15, 16], images=images)
    lines = run(launcher, *call.executed(), STAND_IN_DEVICE=f"{device} 4")
    assert only(lines, "cuModuleLoadData") == [f"cuModuleLoadData {image}"]
    assert lines[-1] == "ok"


@pytest.mark.parametrize("device", [70, 79, 100, 1])
def test_code_for_other_devices_names_what_there_is_and_what_there_would_have_to_be(
    launcher: Path, device: int
) -> None:
    lines = run(launcher, *Call().executed(), STAND_IN_DEVICE=f"{device} 4")
    assert lines[-1] == (
        f"error 9: spikax_kernels: compiled for sm_80, sm_90, but device 0 is sm_{device}; "
        f"compile the program where it has such a device, or set SPIKAX_CUDA_ARCH={device}"
    )
    assert not only(lines, "cuModuleLoadData")


def test_code_is_loaded_once_for_a_device_and_a_key(launcher: Path) -> None:
    first, other_key, other_device = Call(), Call(key=(2, -1)), Call(device=1)
    calls = [first, other_key, other_device, first, other_key, other_device]
    lines = run(launcher, *[line for call in calls for line in call.executed()])
    assert lines.count("ok") == len(calls)
    assert only(lines, "cuModuleLoadData") == ["cuModuleLoadData 9090"] * 3
    assert only(lines, "cuDevicePrimaryCtxRetain") == [f"cuDevicePrimaryCtxRetain {device}" for device in (0, 0, 1)]
    assert only(lines, "cuInit") == ["cuInit 0"]


@pytest.mark.parametrize("program", ["launcher", "launcher_with_watched_threads"])
def test_threads_that_come_together_load_code_once(request: pytest.FixtureRequest, program: str) -> None:
    steps = [0, 2, 0, *launch((0, -1), (0, 8), resident=True)]
    call = Call(functions="add_8_8", steps=steps, values=bytes(8))
    other = dataclasses.replace(call, key=(5, 6))
    lines = run(request.getfixturevalue(program), *call.executed(threads=8), *other.executed(threads=8))
    assert lines.count("ok") == 16
    assert len(only(lines, "cuModuleLoadData")) == 2
    assert len(only(lines, "cuModuleGetFunction")) == 2
    assert len(only(lines, "cuLaunchKernel")) == len(only(lines, "cuMemsetD8Async")) == 16


@pytest.mark.parametrize("function", ["cuDevicePrimaryCtxRetain", "cuModuleLoadData", "cuModuleGetFunction"])
def test_code_that_failed_to_load_is_loaded_by_the_next_call(launcher: Path, function: str) -> None:
    lines = run(launcher, *Call().executed(), "set STAND_IN_FAILS", "execute 1", STAND_IN_FAILS=f"{function} 2")
    told = [line for line in lines if not line.startswith("cu")]
    assert len(told) == 2
    assert told[0].endswith("what error 2 means (CUDA error 2)")
    assert told[1] == "ok"


def test_before_it_executes_a_program_loads_its_code_and_launches_nothing(launcher: Path) -> None:
    call = Call(steps=[0, 2, 0, *launch()])
    lines = run(launcher, *call.lines(), "initialize 1", "execute 1")
    initialized, executed = lines[: lines.index("ok")], lines[lines.index("ok") + 1 :]
    assert only(initialized, "cuModuleLoadData") == ["cuModuleLoadData 9090"]
    assert not only(initialized, "cuLaunchKernel")
    assert not only(initialized, "cuMemsetD8Async")
    # Nothing but this is allowed while a CUDA graph is captured.
    assert [line.split()[0] for line in executed] == [
        "cuCtxPushCurrent_v2",
        "cuMemsetD8Async",
        "cuLaunchKernel",
        "cuCtxPopCurrent_v2",
        "ok",
    ]


@pytest.mark.parametrize("device", [0, 1])
def test_all_is_done_in_the_context_of_the_device_which_is_left_again(launcher: Path, device: int) -> None:
    lines = run(launcher, *Call(device=device, steps=[*launch(), 0, 2, 0]).executed())
    context = f"0xc{device}"
    entered = [line for line in lines if line.startswith("cuCtx")]
    assert entered == [f"cuCtxPushCurrent_v2 {context}", f"cuCtxPopCurrent_v2 {context}"] * 2


LAUNCHING = "launching sub with grid 6 x 2 x 1, block 32 x 4 x 1, 65536 bytes of shared memory: "
FAILING_LOADS = {
    "cuDeviceGet": "device 0: ",
    "cuDeviceGetAttribute": "device 0: ",
    "cuDevicePrimaryCtxRetain": "device 0: ",
    "cuModuleLoadData": "loading the kernels add_8 sub: ",
    "cuModuleGetFunction": "looking for the kernel add_8: ",
}
FAILING_CALLS = {
    "cuCtxPushCurrent_v2": "device 0: ",
    "cuMemsetD8Async": "filling 24 bytes: ",
    "cuFuncSetAttribute": LAUNCHING,
    "cuOccupancyMaxActiveBlocksPerMultiprocessor": LAUNCHING,
    "cuLaunchKernel": LAUNCHING,
}


def assert_told(launcher: Path, function: str, what: str, *earlier: str) -> None:
    step = launch(function=1, grid=(6, 2, 1), block=(32, 4, 1), shared=1 << 16, resident=True)
    call = Call(functions="add_8 sub", steps=[0, 2, 0, *step])
    lines = run(launcher, *call.lines(), *earlier, f"set STAND_IN_FAILS {function} 719", "execute 1")
    assert lines[-1] == f"error 13: spikax_kernels: {what}what error 719 means (CUDA error 719)"
    # The context of another program on this thread is current again.
    entered = len(only(lines, "cuCtxPushCurrent_v2")) - (function == "cuCtxPushCurrent_v2")
    assert len(only(lines, "cuCtxPopCurrent_v2")) == entered


@pytest.mark.parametrize("function", [*FAILING_LOADS, *FAILING_CALLS])
def test_what_fails_is_told_with_the_drivers_text(launcher: Path, function: str) -> None:
    assert_told(launcher, function, (FAILING_LOADS | FAILING_CALLS)[function])


@pytest.mark.parametrize("function", FAILING_CALLS)
def test_so_is_what_fails_when_the_code_has_been_loaded(launcher: Path, function: str) -> None:
    assert_told(launcher, function, FAILING_CALLS[function], "initialize 1")


def test_an_error_that_the_driver_has_no_text_for_is_told_by_its_number(launcher: Path) -> None:
    lines = run(launcher, *Call(steps=launch()).executed(), STAND_IN_FAILS="cuLaunchKernel 999")
    assert lines[-1].endswith("unknown error (CUDA error 999)")


def test_a_device_that_there_is_not_is_told(launcher: Path) -> None:
    lines = run(launcher, *Call(device=7).executed())
    assert lines[-1] == "error 13: spikax_kernels: device 7: what error 101 means (CUDA error 101)"


def test_steps_are_taken_in_order_on_the_stream_of_the_call(launcher: Path) -> None:
    steps = [0, 2, 255, *launch(function=1, grid=(1, 2, 3), block=(4, 5, 6), shared=7), 0, 0, 0, *launch()]
    lines = run(launcher, *Call(functions="add sub", steps=steps).executed())
    assert lines[lines.index("cuCtxPopCurrent_v2 0xc0") + 2 :] == [
        "cuMemsetD8Async 0x3000 255 24 stream 0x57",
        "cuLaunchKernel sub grid 1 2 3 block 4 5 6 shared 7 stream 0x57 arguments",
        "cuMemsetD8Async 0x1000 0 16 stream 0x57",
        "cuLaunchKernel add grid 1 1 1 block 32 1 1 shared 0 stream 0x57 arguments",
        "cuCtxPopCurrent_v2 0xc0",
        "ok",
    ]


def arguments(lines: Sequence[str]) -> list[bytes]:
    """What the only kernel that was launched got."""
    (line,) = only(lines, "cuLaunchKernel")
    return [bytes.fromhex(argument) for argument in line.partition(" arguments")[2].split()]


def test_arguments_arrive_as_they_are(launcher: Path) -> None:
    values = struct.pack("=fxxxx3qB", 0.1, -1, 2**62, 3, 200)
    pairs = [(1, -1), (0, 4), (2, -1), (8, 24), (0, -1), (32, 1)]
    call = Call(functions="mul_8_4_8_24_8_1", values=values, steps=launch(*pairs))
    assert arguments(run(launcher, *call.executed())) == [
        (0x2000).to_bytes(8, "little"),
        struct.pack("f", 0.1),
        (0x3000).to_bytes(8, "little"),
        struct.pack("3q", -1, 2**62, 3),
        (0x1000).to_bytes(8, "little"),
        b"\xc8",
    ]


def test_the_steps_of_a_program_are_taken_as_they_were_described(
    launcher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = {80: struct.pack("q", 8080) + b"odd", 90: struct.pack("q", 9090)}
    monkeypatch.setattr(_steps, "machine_code", lambda source, name, options, architecture: codes[architecture])
    shape, one = np.array([7, -1], np.int64), np.float16(1)
    steps: list[Step] = [
        Fill(2, 1),
        Launch("sum_8_16_2", (5, 2, 1), (64, 1, 1), [Buffer(0), shape, one], shared=9, resident=True),
        Launch("add_4_8", (1, 1, 3), (32, 2, 1), [np.int32(-2), Buffer(2)]),
    ]
    described = _steps._attributes(Program("source", "name", (), (80, 90)), steps)
    call = Call(
        **{name: described[name].tolist() for name in ("key", "architectures", "sizes", "images", "steps")},
        functions=described["functions"],
        values=described["values"].tobytes(),
    )
    lines = run(launcher, *call.executed(), STAND_IN_DEVICE="90 2")
    assert only(lines, "cuModuleLoadData") == ["cuModuleLoadData 9090"]
    assert only(lines, "cuMemsetD8Async") == ["cuMemsetD8Async 0x3000 1 24 stream 0x57"]
    first, second = only(lines, "cuLaunchKernel")
    assert first.startswith("cuLaunchKernel sum_8_16_2 grid 4 2 1 block 64 1 1 shared 9 ")
    assert arguments([first]) == [(0x1000).to_bytes(8, "little"), struct.pack("2q", 7, -1), b"\x00\x3c"]
    assert second.startswith("cuLaunchKernel add_4_8 grid 1 1 3 block 32 2 1 shared 0 ")
    assert arguments([second]) == [struct.pack("i", -2), (0x3000).to_bytes(8, "little")]


def test_a_value_may_end_where_the_values_end(launcher: Path) -> None:
    call = Call(functions="last_8_1", values=bytes(range(16)), steps=launch((8, 8), (15, 1)))
    assert arguments(run(launcher, *call.executed())) == [bytes(range(8, 16)), bytes([15])]


def test_a_kernel_takes_up_to_64_arguments(launcher: Path) -> None:
    call = Call(functions="many" + "_8" * 64, steps=launch(*[(i % 3, -1) for i in range(64)]))
    expected = [((i % 3 + 1) * 0x1000).to_bytes(8, "little") for i in range(64)]
    assert arguments(run(launcher, *call.executed())) == expected


@pytest.mark.parametrize(
    ("function", "given", "told"),
    [
        ("add_8_4", [(0, -1)], "got arguments of 8 bytes; the kernel takes 8, 4 bytes"),
        ("add_8", [(0, -1), (0, 4)], "got arguments of 8, 4 bytes; the kernel takes 8 bytes"),
        ("add_8_8", [(0, -1), (0, 4)], "got arguments of 8, 4 bytes; the kernel takes 8, 8 bytes"),
        ("add_40", [(0, 16)], "got arguments of 16 bytes; the kernel takes 40 bytes"),
        ("add", [(0, -1)], "got arguments of 8 bytes; the kernel takes no bytes"),
        ("add_4", [], "got arguments of no bytes; the kernel takes 4 bytes"),
    ],
)
def test_arguments_that_a_kernel_does_not_take_are_refused(
    launcher: Path, function: str, given: Sequence[tuple[int, int]], told: str
) -> None:
    lines = run(launcher, *Call(functions=function, steps=launch(*given), values=bytes(16)).executed())
    assert lines[-1] == f"error 3: spikax_kernels: launching {function}: {told}"
    assert not only(lines, "cuLaunchKernel")


def test_a_driver_that_does_not_tell_what_a_kernel_takes_launches_it(launcher: Path) -> None:
    call = Call(functions="add_8", steps=launch((0, -1), (0, 4)), values=bytes(8))
    assert run(launcher, *call.executed(), STAND_IN_FAILS="cuFuncGetParamInfo 801")[-1] == "ok"


def test_a_driver_that_does_not_know_what_a_kernel_takes_launches_it(launcher: Path, tmp_path: Path) -> None:
    driver = compile_driver(tmp_path, "-DcuFuncGetParamInfo=cuAnotherName")
    call = Call(functions="add_8", steps=launch((0, -1), (0, 4)), values=bytes(8))
    assert run(launcher, *call.executed(), driver=driver)[-1] == "ok"


def test_a_buffer_without_elements_is_passed_but_not_filled(launcher: Path) -> None:
    call = Call(functions="add_8", results=[(0, 0)], steps=[0, 2, 0, *launch((2, -1))])
    lines = run(launcher, *call.executed())
    assert not only(lines, "cuMemsetD8Async")
    assert arguments(lines) == [bytes(8)]


@pytest.mark.parametrize("grid", [(0, 1, 1), (1, 0, 1), (1, 1, 0), (0, 0, 0)])
def test_a_grid_without_blocks_is_not_launched_and_what_follows_is(launcher: Path, grid: tuple[int, int, int]) -> None:
    steps = [*launch((0, -1), grid=grid, shared=1 << 17, resident=True), 0, 2, 0]
    lines = run(launcher, *Call(functions="add_8", steps=steps).executed())
    assert not only(lines, "cuLaunchKernel")
    assert not only(lines, "cuFuncSetAttribute")
    assert only(lines, "cuMemsetD8Async")
    assert lines[-1] == "ok"


@pytest.mark.parametrize(
    ("shared", "asked"), [(0, False), (48 << 10, False), ((48 << 10) + 1, True), (200 << 10, True)]
)
def test_shared_memory_beyond_48_kilobytes_is_asked_for(launcher: Path, shared: int, asked: bool) -> None:
    lines = run(launcher, *Call(steps=launch(shared=shared)).executed())
    # 8 is CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES.
    assert only(lines, "cuFuncSetAttribute") == ([f"cuFuncSetAttribute add 8 {shared}"] if asked else [])
    assert f" shared {shared} " in only(lines, "cuLaunchKernel")[0]


@pytest.mark.parametrize(("x", "launched"), [(1, 1), (395, 395), (396, 396), (397, 396), (2**31 - 1, 396)])
def test_a_resident_grid_is_no_longer_than_what_runs_at_once(launcher: Path, x: int, launched: int) -> None:
    call = Call(steps=launch(grid=(x, 7, 2), block=(64, 2, 2), shared=100, resident=True))
    lines = run(launcher, *call.executed(), STAND_IN_DEVICE="90 132", STAND_IN_BLOCKS="3")
    assert only(lines, "cuOccupancyMaxActiveBlocksPerMultiprocessor")[0].split()[1:] == ["add", "256", "100"]
    assert f" grid {launched} 7 2 " in only(lines, "cuLaunchKernel")[0]


def test_a_kernel_that_does_not_fit_at_once_still_gets_a_block_for_each_multiprocessor(launcher: Path) -> None:
    call = Call(steps=launch(grid=(1000, 1, 1), resident=True))
    lines = run(launcher, *call.executed(), STAND_IN_DEVICE="90 132", STAND_IN_BLOCKS="0")
    assert " grid 132 1 1 " in only(lines, "cuLaunchKernel")[0]


def test_other_grids_are_launched_as_they_are(launcher: Path) -> None:
    lines = run(launcher, *Call(steps=launch(grid=(10**6, 2, 1))).executed())
    assert not only(lines, "cuOccupancyMaxActiveBlocksPerMultiprocessor")
    assert " grid 1000000 2 1 " in only(lines, "cuLaunchKernel")[0]


FILL = [0, 2, 0]
LAUNCH = launch((0, -1), (0, 8))
MOST, LEAST = 2**63 - 1, -(2**63)

MALFORMED: Mapping[str, Sequence[int]] = {
    **{f"a fill that ends after {n} numbers": FILL[:n] for n in range(1, len(FILL))},
    **{f"a launch that ends after {n} numbers": LAUNCH[:n] for n in range(1, len(LAUNCH))},
    **{f"step {kind}": [kind, 0, 0] for kind in (-1, 2, MOST, LEAST)},
    **{f"filling buffer {index}": [0, index, 0] for index in (-1, 3, 2**32, MOST, LEAST)},
    **{f"filling with {byte}": [0, 2, byte] for byte in (-1, 256, MOST, LEAST)},
    **{f"passing buffer {index}": launch((index, -1)) for index in (-1, 3, 2**32, MOST, LEAST)},
    **{
        f"{size} bytes at {where}": launch((where, size))
        for where, size in [
            *((-1, 1), (-8, 16), (LEAST, 8), (16, 1), (17, 1), (MOST, 1), (MOST, MOST)),
            *((0, 0), (0, -2), (0, LEAST), (0, 17), (9, 8), (15, 2), (8, MOST), (1, MOST)),
        ]
    },
    **{f"function {index}": launch(function=index) for index in (-1, 1, 2**32, MOST, LEAST)},
    **{
        f"{size} as number {at} of the sizes": [*LAUNCH[: 2 + at], size, *LAUNCH[3 + at :]]
        for at in range(7)
        for size in (-1, 2**32, LEAST)
    },
    **{
        f"{count} arguments, of which there are 65": [*launch()[:-1], count, *[0, -1] * 65]
        for count in (-1, 65, 2**32, 2**32 + 1, MOST)
    },
}


def test_malformed_steps_are_refused_and_nothing_beyond_them_is_touched(launcher: Path) -> None:
    # All in one process, each with memory of its own that ends where it ends.
    lines = run(launcher, *[line for steps in MALFORMED.values() for line in attempt(steps)])
    outcomes = [line for line in lines if not line.startswith("cu")]
    refused = "error 3: spikax_kernels: the steps of a launch are malformed"
    assert dict(zip(MALFORMED, outcomes, strict=True)) == dict.fromkeys(MALFORMED, refused)
    assert not only(lines, "cuLaunchKernel")
    assert not only(lines, "cuMemsetD8Async")


def attempt(steps: Sequence[int]) -> list[str]:
    return Call(functions="add_8_8", steps=steps, values=bytes(16)).executed()


def test_what_was_malformed_is_taken_when_it_is_not(launcher: Path) -> None:
    assert run(launcher, *attempt([*FILL, *LAUNCH]))[-1] == "ok"


@pytest.mark.parametrize(
    "call",
    [
        Call(key=()),
        Call(key=(1,)),
        Call(key=(1, 2, 3)),
        Call(architectures=(80,)),
        Call(sizes=(5,)),
        Call(sizes=(5, 17)),
        Call(sizes=(17, 16)),
        Call(sizes=(0, 16)),
        Call(sizes=(-8, 16)),
        Call(sizes=(5, LEAST)),
        Call(sizes=(MOST, 16)),
        Call(sizes=(5, MOST)),
        Call(images=()),
    ],
    ids=repr,
)
def test_code_that_is_not_all_there_is_refused(launcher: Path, call: Call) -> None:
    lines = run(launcher, *call.lines(), "initialize 1", "execute 1")
    told = [line for line in lines if not line.startswith("cu")]
    assert told == ["error 3: spikax_kernels: the steps of a launch are malformed"] * 2
    assert not only(lines, "cuModuleLoadData")
