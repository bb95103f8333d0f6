"""Two processes of two devices each on one machine: how a test runs a program that needs them."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        port: int = listener.getsockname()[1]
        return port


def start(module: str, process: int, port: int, output: Path) -> subprocess.Popen[bytes]:
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "XLA_"))}
    path = [str(ROOT), *filter(None, [variables.get("PYTHONPATH")])]
    with output.open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-W", "error", "-m", module, str(process), str(port)],
            env={
                **variables,
                "JAX_PLATFORMS": "cpu",
                "PYTHONPATH": os.pathsep.join(path),
                "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
            },
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def wait(processes: list[subprocess.Popen[bytes]], seconds: float) -> None:
    """Wait for all, but not for what would wait for one that failed; none is left running."""
    end = time.monotonic() + seconds
    while any(process.poll() is None for process in processes) and time.monotonic() < end:
        if any(process.poll() for process in processes):
            end = min(end, time.monotonic() + 5)
        time.sleep(0.1)
    for process in processes:
        process.kill()
        process.wait()


def assert_all_agree(module: str, folder: Path) -> None:
    """Run ``module`` as two processes, which say so if they find all as expected."""
    port = free_port()
    outputs = [folder / f"{i}.txt" for i in range(2)]
    processes = [start(module, i, port, output) for i, output in enumerate(outputs)]
    wait(processes, 240)
    told = [
        f"process {i} ended with {process.returncode}:\n{output.read_text()}"
        for i, (process, output) in enumerate(zip(processes, outputs, strict=True))
    ]
    assert all(process.returncode == 0 for process in processes), "\n".join(told)
    assert all("all agree" in text for text in told)
