"""The conformance kit: check a kernel against all that JAX may ask of it. It needs no test runner."""

from ._case import Case as Case
from ._case import Property as Property
from ._check import check_kernel as check_kernel
from ._failure import ConformanceError as ConformanceError
from ._failure import NotConformingError as NotConformingError
from ._traces import TooManyTracesError as TooManyTracesError
from ._traces import assert_max_traces as assert_max_traces
