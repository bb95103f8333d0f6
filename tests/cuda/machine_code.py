"""Every CUDA kernel compiles for every architecture, and its machine code is what makes it fast.

No GPU is needed: NVRTC compiles, `nvdisasm` of the package nvidia-cuda-nvdisasm shows the instructions.

    python -m tests.cuda.machine_code [--arch 80,90]
"""

import argparse
import concurrent.futures
import importlib.metadata
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from spikax_kernels.cuda._architecture import parse
from spikax_kernels.cuda._compile import compile_source
from spikax_kernels.cuda._steps import Program
from spikax_kernels.ops._instances import programs

ARCHITECTURES = "80,90,100,120"
INSTRUCTION = re.compile(r"^\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\d+ )?\s*([A-Z][A-Z0-9_.x]*)", re.MULTILINE)
FRAME = re.compile(
    r"Function properties for (\w+)\nptxas\s+\.\s+"
    r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads"
)
FUNCTION = re.compile(r"^\.text\.(\w+):", re.MULTILINE)
ADDING = {"scatter", "scatter_exact", "scatter_together", "largest", "coo", "coo_exact", "sddmm"}
"""The kernels of which several threads add to one number."""


def disassembler() -> Path:
    """Where `nvdisasm` is."""
    files = importlib.metadata.files("nvidia-cuda-nvdisasm") or []
    (path,) = [file.locate() for file in files if file.name == "nvdisasm"]
    return Path(str(path))


def functions(cubin: bytes, nvdisasm: Path) -> dict[str, Counter[str]]:
    """How often each kernel has each instruction."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        text = subprocess.check_output([nvdisasm, "--print-code", file.name], text=True)
    _, *parts = FUNCTION.split(text)
    return {name: Counter(INSTRUCTION.findall(body)) for name, body in zip(parts[::2], parts[1::2], strict=True)}


def is_example(program: Program) -> bool:
    """Whether it is disassembled, which takes longer than to compile it: the types of indices and events do not decide
    how additions are made, so one of each will do."""
    return not any(option.endswith("EVENT=uint8_t") or option == "-DINDEX=int64_t" for option in program.options)


def complaints(program: Program, nvdisasm: Path) -> list[str]:
    """What is wrong with the machine code of a program."""
    (architecture,) = program.architectures
    cubin, log = compile_source(program.source, program.name, (*program.options, "--ptxas-options=-v"), architecture)
    found = []
    frames = FRAME.findall(log)
    if not frames:
        found.append(f"the compiler says nothing of any kernel: {log}")
    for name, *bytes_each in frames:
        if any(map(int, bytes_each)):
            frame, stores, loads = bytes_each
            found.append(f"{name}: {frame} bytes of local memory, {stores} bytes of registers spilled and {loads} read")
    for name, instructions in functions(cubin, nvdisasm).items() if is_example(program) else ():
        opcodes = {instruction.split(".")[0] for instruction in instructions}
        if not instructions:
            found.append(f"{name}: nothing was disassembled")
        if local := opcodes & {"LDL", "STL"}:
            found.append(f"{name}: {sorted(local)}, so something is in local memory")
        if loops := [instruction for instruction in instructions if "CAS" in instruction]:
            found.append(f"{name}: {loops}, so an addition is a loop that compares and swaps")
        if name in ADDING and not opcodes & {"RED", "REDG"}:
            found.append(f"{name}: no RED, so additions wait for their result")
    where = f"{program.name} {' '.join(program.options)} sm_{architecture}"
    return [f"{where}: {complaint}" for complaint in found]


def main() -> int:
    """Check all; the exit status says whether they are as they should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default=ARCHITECTURES, help=f"compute capabilities (default: {ARCHITECTURES})")
    everything = [p for architecture in parse(parser.parse_args().arch) for p in programs(architecture)]
    nvdisasm = disassembler()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        found = [text for texts in pool.map(complaints, everything, [nvdisasm] * len(everything)) for text in texts]
    disassembled = sum(map(is_example, everything))
    print("\n".join([*found, f"{len(everything)} programs, {disassembled} disassembled, {len(found)} complaints"]))
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
