"""Mutable State for JAX models, and JAX's transforms over it."""

from ._bounded import bounded_while_loop as bounded_while_loop
from ._branches import cond as cond
from ._branches import ifelse as ifelse
from ._branches import switch as switch
from ._error_if import jit_error_if as jit_error_if
from ._errors import ArgumentNumberError as ArgumentNumberError
from ._errors import AuxError as AuxError
from ._errors import BranchTypeError as BranchTypeError
from ._errors import CarryTypeError as CarryTypeError
from ._errors import FrozenStateError as FrozenStateError
from ._errors import GradStatesError as GradStatesError
from ._errors import LoopLengthError as LoopLengthError
from ._errors import MissingExtraError as MissingExtraError
from ._errors import OverwrittenStateWarning as OverwrittenStateWarning
from ._errors import PredicateError as PredicateError
from ._errors import ProgressError as ProgressError
from ._errors import RandomKeyError as RandomKeyError
from ._errors import RawTransformError as RawTransformError
from ._errors import SpikaxTransformError as SpikaxTransformError
from ._errors import StateArgumentError as StateArgumentError
from ._errors import StateAxesError as StateAxesError
from ._errors import StateTreeError as StateTreeError
from ._errors import StateUnavailableError as StateUnavailableError
from ._errors import StateValueError as StateValueError
from ._errors import UnitsNotSupportedError as UnitsNotSupportedError
from ._errors import UnreadStateError as UnreadStateError
from ._errors import UnstableFunctionError as UnstableFunctionError
from ._gradient import GradientTransform as GradientTransform
from ._gradient import PyTree as PyTree
from ._gradient_api import grad as grad
from ._gradient_api import jacobian as jacobian
from ._gradient_api import jacrev as jacrev
from ._gradient_api import vector_grad as vector_grad
from ._jit import JitFunction as JitFunction
from ._jit import jit as jit
from ._loops import for_loop as for_loop
from ._loops import scan as scan
from ._paths import states as states
from ._paths import to_pytree as to_pytree
from ._paths import update_from_pytree as update_from_pytree
from ._progress import ProgressBar as ProgressBar
from ._random_state import RandomState as RandomState
from ._state import BatchState as BatchState
from ._state import HiddenState as HiddenState
from ._state import LongTermState as LongTermState
from ._state import ParamState as ParamState
from ._state import ShortTermState as ShortTermState
from ._state import State as State
from ._state import catch_new_states as catch_new_states
from ._unvmap import unvmap as unvmap
from ._while import while_loop as while_loop
from ._vmap import map as map  # noqa: A004 - the name that JAX gives it
from ._vmap import vmap as vmap
from ._vmap import vmap_new_states as vmap_new_states

__version__ = "0.1.0"
