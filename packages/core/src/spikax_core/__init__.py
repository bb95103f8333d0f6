"""Turn a kernel into a full JAX primitive: differentiable, batchable, with one kernel per platform and backend."""

import sys as _sys

# Python runs this file before `python -m spikax_core doctor`, which is there to say what is broken. The doctor's own
# process needs nothing of what follows, so that it cannot end with it; that which it asks imports what it can.
_program = _sys.orig_argv[-len(_sys.argv)].removeprefix("-m") if _sys.argv[:1] == ["-m"] else ""

if _program != __name__:
    try:
        from ._batching import general_batching_rule as general_batching_rule
        from ._benchmark import BenchmarkConfig as BenchmarkConfig
        from ._benchmark_result import BenchmarkRecord as BenchmarkRecord
        from ._benchmark_result import BenchmarkResult as BenchmarkResult
        from ._context import use_backend as use_backend
        from ._errors import BackendFallbackWarning as BackendFallbackWarning
        from ._errors import BackendRefusedError as BackendRefusedError
        from ._errors import BenchmarkMismatchError as BenchmarkMismatchError
        from ._errors import MissingExtraError as MissingExtraError
        from ._errors import NoBackendError as NoBackendError
        from ._errors import NoRuleError as NoRuleError
        from ._errors import NotAPrimitiveError as NotAPrimitiveError
        from ._errors import OutputMismatchError as OutputMismatchError
        from ._errors import ParameterError as ParameterError
        from ._errors import RuleCountError as RuleCountError
        from ._errors import RuleOutputError as RuleOutputError
        from ._errors import SpikaxError as SpikaxError
        from ._errors import UnknownBackendError as UnknownBackendError
        from ._export import disabled_checks as disabled_checks
        from ._ffi import running_api_version as running_api_version
        from ._jvp import defjvp as defjvp
        from ._kernel import XLACustomKernel as XLACustomKernel
        from ._registry import KernelEntry as KernelEntry
    except (Exception, SystemExit):
        if _program != f"{__name__}._doctor_probe":
            raise

__version__ = "0.1.0"
