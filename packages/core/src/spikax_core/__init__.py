"""Turn a kernel into a full JAX primitive: differentiable, batchable, with one kernel per platform and backend."""

from ._backend import KernelEntry as KernelEntry
from ._backend import use_backend as use_backend
from ._batching import general_batching_rule as general_batching_rule
from ._errors import BackendFallbackWarning as BackendFallbackWarning
from ._errors import BackendRefusedError as BackendRefusedError
from ._errors import NoBackendError as NoBackendError
from ._errors import NoRuleError as NoRuleError
from ._errors import NotAPrimitiveError as NotAPrimitiveError
from ._errors import OutputMismatchError as OutputMismatchError
from ._errors import ParameterError as ParameterError
from ._errors import RuleCountError as RuleCountError
from ._errors import RuleOutputError as RuleOutputError
from ._errors import SpikaxError as SpikaxError
from ._errors import UnknownBackendError as UnknownBackendError
from ._jvp import defjvp as defjvp
from ._kernel import XLACustomKernel as XLACustomKernel

__version__ = "0.1.0"
