"""Every error this package raises: one class per cause, each also the builtin that fits it."""

from __future__ import annotations


class SpikaxError(Exception):
    """Base of every error of ``spikax_core`` and of the packages built on it."""


class NotAPrimitiveError(SpikaxError, AssertionError, TypeError):
    """Something other than a JAX ``Primitive`` or an ``XLACustomKernel`` was given."""


class RuleCountError(SpikaxError, ValueError):
    """An operator was given another number of per-input rules than it has inputs.

    Register one rule for each input, in order, and ``None`` for an input that contributes nothing.
    """


class RuleOutputError(SpikaxError, TypeError):
    """A rule for ``jvp``, transposition or ``vmap`` returned the wrong structure, shape or dtype."""


class NoRuleError(SpikaxError, NotImplementedError):
    """A derivative was asked for that the operator does not declare.

    It was differentiated in an input that is neither linear nor has a rule, or transposed in one that is not declared
    linear, or in several at once.
    """


class ParameterError(SpikaxError, TypeError):
    """An argument of a call or declaration is wrong: an unhashable param, ``outs`` missing, no such platform."""


class OutputMismatchError(SpikaxError, TypeError):
    """A kernel produced other shapes or dtypes than its operator declares."""


class UnknownBackendError(SpikaxError, ValueError):
    """A backend was named that no operator (or not this operator) has."""


class BackendRefusedError(SpikaxError, NotImplementedError):
    """A backend exists for the operator but does not serve this platform or these arguments."""


class NoBackendError(SpikaxError, ExceptionGroup[Exception]):
    """No backend serves the call and the operator has no reference; the reasons are its members."""


class BackendFallbackWarning(UserWarning):
    """The backend chosen by ``use_backend`` does not serve an operator, so another one ran."""
