"""Event-driven sparse operators for JAX: products of spikes with sparse matrices that cost what the events cost."""

from ._binary import BinaryArray as BinaryArray
from ._errors import DTypeError as DTypeError
from ._errors import MissingExtraError as MissingExtraError
from ._errors import NativeLibraryError as NativeLibraryError
from ._errors import ShapeError as ShapeError
from ._errors import StructureError as StructureError
from ._library import register as _register
from .formats.csr import CSR as CSR

__version__ = "0.1.0"

_register()
