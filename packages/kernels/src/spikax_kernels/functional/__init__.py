"""The products as functions of raw arrays: ``csrmv``, ``csrmm``, and so on for each format.

``mv`` takes a vector of events, ``mm`` a matrix with events in its columns; ``binary_`` takes events of any dtype as
binary. Structure is not checked: an entry out of range is dropped.
"""

from .coo import binary_coomm as binary_coomm
from .coo import binary_coomv as binary_coomv
from .coo import coomm as coomm
from .coo import coomv as coomv
from .csc import binary_cscmm as binary_cscmm
from .csc import binary_cscmv as binary_cscmv
from .csc import cscmm as cscmm
from .csc import cscmv as cscmv
from .csr import binary_csrmm as binary_csrmm
from .csr import binary_csrmv as binary_csrmv
from .csr import csrmm as csrmm
from .csr import csrmv as csrmv
from .dense import binary_densemm as binary_densemm
from .dense import binary_densemv as binary_densemv
from .dense import densemm as densemm
from .dense import densemv as densemv
from .fcn import binary_fcnmm as binary_fcnmm
from .fcn import binary_fcnmv as binary_fcnmv
from .fcn import fcnmm as fcnmm
from .fcn import fcnmv as fcnmv
