"""Event-driven sparse operators for JAX: products of spikes with sparse matrices that cost what the events cost."""

from . import functional as functional
from ._binary import BinaryArray as BinaryArray
from ._errors import ArchitectureError as ArchitectureError
from ._errors import CudaCompileError as CudaCompileError
from ._errors import DTypeError as DTypeError
from ._errors import LaunchError as LaunchError
from ._errors import MissingExtraError as MissingExtraError
from ._errors import NativeLibraryError as NativeLibraryError
from ._errors import ShapeError as ShapeError
from ._errors import StructureError as StructureError
from ._errors import SurrogateError as SurrogateError
from ._library import register as _register
from ._spike import spike as spike
from .cuda._kernel import cuda_kernel as cuda_kernel
from .formats.coo import COO as COO
from .formats.csc import CSC as CSC
from .formats.csr import CSR as CSR
from .formats.dense import Dense as Dense
from .formats.fixed_num_per_post import FixedNumPerPost as FixedNumPerPost
from .formats.fixed_num_per_pre import FixedNumPerPre as FixedNumPerPre
from .formats.matrix import SparseMatrix as SparseMatrix
from .formats.sharded import ShardedByPost as ShardedByPost

__version__ = "0.1.0"

_register()
