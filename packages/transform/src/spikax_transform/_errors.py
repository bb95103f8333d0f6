"""Every error of this package: one class per cause, and each is also the builtin one would expect."""

from __future__ import annotations


class SpikaxTransformError(Exception):
    """Base of all errors raised by this package."""


class RawTransformError(SpikaxTransformError, RuntimeError):
    """A State was used inside a raw JAX transform that caches or would leak its value.

    ``jax.jit``, ``jax.lax.scan`` and their like keep what they traced. A State read there would be frozen
    into the program at its present value, so the read is refused. Use this package's transform of the same name.
    """


class StateArgumentError(SpikaxTransformError, TypeError):
    """A State was passed to, or returned from, a transformed function. Close over it instead."""


class StateValueError(SpikaxTransformError, TypeError):
    """A State holds something that JAX cannot trace, such as a string."""


class FrozenStateError(SpikaxTransformError, ValueError):
    """A write would change the structure, shape or dtype of a ``State(..., frozen=True)``."""


class StateUnavailableError(SpikaxTransformError, RuntimeError):
    """A State has no value: it was created inside a trace that is over, or lost to a failed call."""


class UnstableFunctionError(SpikaxTransformError, RuntimeError):
    """A jitted function uses other States each time it is traced, for the same arguments."""


class CarryTypeError(SpikaxTransformError, TypeError):
    """A loop's body changes the structure, shape or dtype of its carry or of a State."""


class BranchTypeError(SpikaxTransformError, TypeError):
    """Branches return, or write to a State, values of different structures, shapes or dtypes."""


class PredicateError(SpikaxTransformError, TypeError):
    """A condition or index is not a scalar of the right kind, or chooses none of the branches."""


class LoopLengthError(SpikaxTransformError, ValueError):
    """The inputs of a loop disagree about its length, or none gives one."""


class StateAxesError(SpikaxTransformError, ValueError):
    """A State under `vmap` has no axis of the right length, or is written with mapped values and has no axis at all."""


class ArgumentNumberError(SpikaxTransformError, ValueError):
    """``argnums`` names an argument that the call does not have."""


class GradStatesError(SpikaxTransformError, TypeError):
    """``grad_states`` holds something that is not a State, or a State that has no derivative."""


class UnreadStateError(SpikaxTransformError, ValueError):
    """A State in ``grad_states`` is never read by the function."""


class AuxError(SpikaxTransformError, TypeError):
    """``has_aux=True`` but the function did not return a pair."""


class RandomKeyError(SpikaxTransformError, TypeError):
    """A value that is neither an integer seed nor a JAX random key."""


class StateTreeError(SpikaxTransformError, KeyError):
    """A plain tree does not have the paths of the States that it should update."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would show the quoted representation


class ProgressError(SpikaxTransformError, ValueError):
    """A progress bar was asked for in a way that makes no sense."""


class MissingExtraError(SpikaxTransformError, ImportError):
    """An optional dependency is not installed; the message names the extra that brings it."""


class OverwrittenStateWarning(UserWarning):
    """A State in ``grad_states`` is overwritten before it is read, so its gradient is zero."""
