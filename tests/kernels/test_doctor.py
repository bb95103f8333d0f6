"""``python -m spikax_core doctor`` knows the native library and the operators over it."""

import json
import subprocess
import sys

from spikax_core import running_api_version


def test_the_doctor_knows_the_library_and_its_operators() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "spikax_core", "doctor", "--json"], capture_output=True, text=True, check=False
    )
    report = json.loads(done.stdout)
    library = report["packages"]["spikax-kernels"]
    assert "libspikax_kernels" in library["native_library"]
    assert tuple(map(int, library["built_for_ffi_api"].split("."))) <= running_api_version()
    kernels = {operator["name"]: operator["kernels"] for operator in report["operators"]}
    cpp = {"backend": "cpp", "platform": "cpu", "exportable": True, "reason": None}
    assert [cpp in kernels[f"spikax_{name}"] for name in ("scatter", "gather", "sddmm")] == [True] * 3
