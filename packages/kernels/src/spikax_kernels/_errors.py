"""Every error this package raises: one class per cause, each also the builtin that fits it."""

from __future__ import annotations

from spikax_core import SpikaxError


class NativeLibraryError(SpikaxError, ImportError):
    """The library of CPU kernels is missing, or was built for a newer XLA than the jaxlib that is installed."""


class ShapeError(SpikaxError, ValueError):
    """Arrays whose shapes do not fit each other."""


class DTypeError(SpikaxError, TypeError):
    """An array of a dtype that the operation does not take."""


class StructureError(SpikaxError, ValueError):
    """Sparse structure that does not describe a matrix: an index out of range, or row pointers that decrease."""


class SurrogateError(SpikaxError, ValueError):
    """A surrogate derivative that there is no such name for, or one that does not give a number for each number."""


class MissingExtraError(SpikaxError, ImportError):
    """An optional dependency is not installed; the message names the extra that brings it."""


class CudaCompileError(SpikaxError, RuntimeError):
    """CUDA C++ that NVRTC does not compile; the message has what it says."""


class ArchitectureError(SpikaxError, ValueError):
    """Text that names no GPU architecture."""


class LaunchError(SpikaxError, ValueError):
    """The launch of a CUDA kernel with a grid, a block or an argument that CUDA does not take."""
