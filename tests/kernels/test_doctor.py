"""``python -m spikax_core doctor`` knows the native library and the operators over it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from spikax_core import running_api_version


def test_the_doctor_knows_the_library_and_its_operators(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "spikax_core", "doctor", "--json"],
        env={**os.environ, "SPIKAX_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    report = json.loads(done.stdout)
    library = report["packages"]["spikax-kernels"]
    assert "libspikax_kernels" in library["native_library"]
    assert tuple(map(int, library["built_for_ffi_api"].split("."))) <= running_api_version()
    assert "spikax_cuda" in library["handlers"]
    assert re.search(r'nvrtc\S* \d+|pip install "spikax-kernels\[cuda13\]"', library["cuda_compiler"])
    assert library["cuda_cache"] == str(tmp_path)
    kernels = {operator["name"]: operator["kernels"] for operator in report["operators"]}
    cpp = {"backend": "cpp", "platform": "cpu", "exportable": True, "reason": None}
    assert [cpp in kernels[f"spikax_{name}"] for name in ("scatter", "gather", "sddmm")] == [True] * 3
