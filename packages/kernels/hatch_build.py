"""Says what to install when there is no C++ compiler, before CMake says it in thirty lines."""

import os
import shutil
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompilerCheck(BuildHookInterface):  # type: ignore[type-arg]  # generic only inside hatchling
    """Runs before the hook that calls CMake."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Abort the build unless the compiler that CMake would take exists."""
        wanted = os.environ["CXX"].split()[:1] if os.environ.get("CXX") else ["c++", "g++", "clang++"]
        if not any(map(shutil.which, wanted)):
            self.app.abort(
                f"spikax-kernels needs a C++17 compiler to be built from source (looked for {', '.join(wanted)}): "
                "install one with `apt install g++`, `dnf install gcc-c++` or `xcode-select --install`."
            )
