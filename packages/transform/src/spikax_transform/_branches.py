"""`cond`, `switch` and `ifelse`: one of several functions runs, and each may touch other States."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, TypeVarTuple

import jax
import jax.numpy as jnp
from jax import lax

from . import _compat
from ._carry import promoted_dtype
from ._entry import Inputs, store, union
from ._error_if import jit_error_if
from ._errors import BranchTypeError, PredicateError
from ._run import FlatProgram, Leaves, run
from ._state import State
from ._trace import Traced, refuse_states, trace_once

R = TypeVar("R")
Ts = TypeVarTuple("Ts")


def cond(pred: Any, true_fun: Callable[[*Ts], R], false_fun: Callable[[*Ts], R], *operands: *Ts) -> R:
    """`jax.lax.cond` for functions that read and write States.

    The Python of both functions runs on each call, once. They may touch different States: one that is written by the
    function that is not taken keeps its value.

    Args:
        pred: a scalar, boolean or number.
        true_fun: called with the operands if ``pred`` is true.
        false_fun: called otherwise; its result has the structure, shapes and dtypes of the other's.
        *operands: pytrees of arrays.

    Returns:
        What the function that was taken returns.

    Raises:
        PredicateError: ``pred`` is not a scalar number.
        BranchTypeError: the functions return, or write to a State, values of different types.

    >>> import jax.numpy as jnp
    >>> from spikax_transform import State, cond
    >>> spikes = State(jnp.int32(0))
    >>> def fire(v):
    ...     spikes.value += 1
    ...     return v - 1.0
    >>> cond(True, fire, lambda v: v, jnp.float32(1.5))
    Array(0.5, dtype=float32)
    >>> int(spikes.value)
    1
    """
    pred = _predicate("cond", pred)
    result: R = _branch("cond", ("true_fun", "false_fun"), pred, (true_fun, false_fun), operands)
    return result


def switch(index: Any, branches: Sequence[Callable[[*Ts], R]], *operands: *Ts) -> R:
    """`jax.lax.switch` for functions that read and write States.

    Args:
        index: a scalar integer; one out of range is clamped.
        branches: the functions; their results agree in structure, shapes and dtypes.
        *operands: pytrees of arrays.

    Returns:
        What the function that was taken returns.

    Raises:
        PredicateError: ``index`` is not a scalar integer, or there are no branches.
        BranchTypeError: the functions return, or write to a State, values of different types.

    >>> import jax.numpy as jnp
    >>> from spikax_transform import switch
    >>> switch(2, [jnp.sin, jnp.cos, jnp.square], jnp.float32(3))
    Array(9., dtype=float32)
    """
    index = _as_array("switch", "index", index)
    if index.shape or not jnp.issubdtype(index.dtype, jnp.integer):
        raise PredicateError(
            f"switch got an index of type {_compat.aval_of(index).str_short(True)}; expected a scalar integer. "
            f"For true and false there is cond."
        )
    if not branches:
        raise PredicateError("switch got no branches; expected one or more functions.")
    names = tuple(f"branches[{i}]" for i in range(len(branches)))
    result: R = _branch("switch", names, index, tuple(branches), operands)
    return result


def ifelse(
    conditions: Sequence[Any], branches: Sequence[Callable[[*Ts], R]], *operands: *Ts, check_cond: bool = True
) -> R:
    """The branch of the first condition that is true: ``if``, ``elif``, and ``else``.

    Args:
        conditions: scalars.
        branches: a function for each condition, and perhaps one more, which is the ``else``.
        *operands: pytrees of arrays.
        check_cond: without an ``else``, raise if no condition is true; otherwise the last branch runs then.

    Returns:
        What the function that was taken returns.

    Raises:
        PredicateError: a condition is not a scalar number, the numbers of conditions and branches do not fit, or no
            condition is true (inside `jit`: a ``jax.errors.JaxRuntimeError`` that says so, when the result is awaited).
        BranchTypeError: the functions return, or write to a State, values of different types.

    >>> import jax.numpy as jnp
    >>> from spikax_transform import ifelse
    >>> x = jnp.float32(7)
    >>> ifelse([x > 10, x > 5], [lambda: 2, lambda: 1, lambda: 0]).item()
    1
    """
    if not conditions or len(branches) - len(conditions) not in (0, 1):
        raise PredicateError(
            f"ifelse got {len(conditions)} conditions and {len(branches)} branches; expected as many branches as "
            f"conditions, or one more for the else."
        )
    flags = jnp.stack([_predicate("ifelse", condition) for condition in conditions])
    some = flags.any()
    if check_cond and len(branches) == len(conditions) and conditions[-1] is not True:
        jit_error_if(~some, PredicateError("ifelse: no condition is true, and there is no branch for the else."))
    index = jnp.where(some, jnp.argmax(flags), len(branches) - 1).astype(jnp.int32)
    return switch(index, branches, *operands)


@dataclass(frozen=True)
class _Branch:
    """How one branch takes and gives leaves: of its constants, the operands and the values of States."""

    consts: int
    sources: tuple[int, ...]
    results: tuple[tuple[bool, int], ...]  # (an output of its own, or else a State's leaf as it was; which)


@dataclass(frozen=True)
class _Choice:
    branches: tuple[_Branch, ...]
    dtypes: tuple[Any, ...]  # what a leaf is converted to so that all branches agree; `None` if nothing
    is_cond: bool


def _branch(
    name: str, names: tuple[str, ...], chooser: Any, functions: Sequence[Callable[..., Any]], operands: Any
) -> Any:
    for label, function in zip(names, functions, strict=True):
        if not callable(function):
            raise TypeError(f"{name} got a {type(function).__name__} as {label}; expected a function.")
    leaves, in_tree = jax.tree.flatten((operands, {}))
    refuse_states(leaves, name, "passed to")
    leaves = [jnp.asarray(leaf) for leaf in leaves]
    avals = [_compat.aval_of(leaf) for leaf in leaves]
    traces = [trace_once(function, in_tree, avals, name=name) for function in functions]
    _check_structures(name, names, traces)
    inputs, written = Inputs(traces), union(traces)
    outlets = [_outlets(traced, written, inputs) for traced in traces]
    dtypes = _joined_types(name, names, traces, written, inputs, outlets)
    branches = tuple(
        _Branch(len(traced.consts), inputs.sources(traced), outlet)
        for traced, outlet in zip(traces, outlets, strict=True)
    )
    spec = _Choice(branches, dtypes, name == "cond")
    consts = [list(traced.consts) for traced in traces]
    out = run(_make, [traced.jaxpr for traced in traces], spec, chooser, consts, leaves, inputs.leaves)
    size = traces[0].out_tree.num_leaves
    store(written, out[size:], inputs)
    return jax.tree.unflatten(traces[0].out_tree, out[:size])


def _make(jaxprs: Sequence[_compat.Jaxpr], choice: _Choice) -> FlatProgram:
    def one(i: int) -> Callable[..., Leaves]:
        jaxpr, branch = jaxprs[i], choice.branches[i]

        def taken(consts: list[Leaves], operands: Leaves, states: Leaves) -> Leaves:
            out = _compat.eval_jaxpr(jaxpr, [*consts[i], *operands, *(states[place] for place in branch.sources)])
            leaves = [out[place] if own else states[place] for own, place in branch.results]
            return [
                leaf if dtype is None else lax.convert_element_type(leaf, dtype)
                for leaf, dtype in zip(leaves, choice.dtypes, strict=True)
            ]

        return taken

    functions = [one(i) for i in range(len(jaxprs))]

    def program(chooser: Any, consts: list[Leaves], operands: Leaves, states: Leaves) -> Leaves:
        if choice.is_cond:
            return lax.cond(chooser, functions[0], functions[1], consts, operands, states)  # type: ignore[no-any-return]
        return lax.switch(chooser, functions, consts, operands, states)  # type: ignore[no-any-return]

    return program


def _outlets(traced: Traced, written: dict[State[Any], Any], inputs: Inputs) -> tuple[tuple[bool, int], ...]:
    """Where each leaf that comes out is from: a result, a State that this branch writes, or one that it leaves."""
    position = traced.out_tree.num_leaves
    outlets = [(True, i) for i in range(position)]
    own: dict[State[Any], int] = {}
    for state, tree in traced.writes.items():
        own[state] = position
        position += tree.num_leaves
    for state, tree in written.items():
        if state in own:
            outlets += [(True, own[state] + i) for i in range(tree.num_leaves)]
        else:
            outlets += [(False, place) for place in inputs.places(state)]
    return tuple(outlets)


def _check_structures(name: str, names: tuple[str, ...], traces: Sequence[Traced]) -> None:
    first = traces[0]
    for label, other in zip(names[1:], traces[1:], strict=True):
        if other.out_tree != first.out_tree:
            raise BranchTypeError(
                f"{name}: {label} returns another structure than {names[0]}: got {other.out_tree}, expected "
                f"{first.out_tree}. Let all branches return the same structure."
            )


def _joined_types(
    name: str,
    names: tuple[str, ...],
    traces: Sequence[Traced],
    written: dict[State[Any], Any],
    inputs: Inputs,
    outlets: Sequence[tuple[tuple[bool, int], ...]],
) -> tuple[Any, ...]:
    """The dtype that each leaf is converted to, `None` where all branches agree already."""
    titles = [f"result{jax.tree_util.keystr(path)}" for path in _leaf_paths(traces[0].out_tree)]
    for state, tree in written.items():
        _check_state_structures(name, names, state, tree, traces, inputs)
        titles += [state.describe()] * tree.num_leaves
    dtypes = []
    for i, title in enumerate(titles):
        avals = [
            traced.out_avals[outlet[i][1]] if outlet[i][0] else _compat.aval_of(inputs.leaves[outlet[i][1]])
            for traced, outlet in zip(traces, outlets, strict=True)
        ]
        dtypes.append(_joined(name, names, title, avals, [outlet[i][0] for outlet in outlets]))
    return tuple(dtypes)


def _check_state_structures(
    name: str, names: tuple[str, ...], state: State[Any], tree: Any, traces: Sequence[Traced], inputs: Inputs
) -> None:
    for label, traced in zip(names, traces, strict=True):
        theirs = traced.writes[state] if state in traced.writes else inputs.tree(state)
        if theirs != tree:
            raise BranchTypeError(
                f"{name}: after {label}, {state.describe()} has another structure than after another branch: got "
                f"{theirs}, expected {tree}. Write the same structure in all branches."
            )


def _joined(name: str, names: tuple[str, ...], title: str, avals: list[_compat.Aval], own: list[bool]) -> Any:
    # what a branch computed decides; a State's value as it was may follow, if it is a plain number
    leader = next(i for i, (aval, mine) in enumerate(zip(avals, own, strict=True)) if mine)
    leader = next((i for i, (a, mine) in enumerate(zip(avals, own, strict=True)) if mine and not a.weak_type), leader)
    wanted = avals[leader]
    for label, aval, mine in zip(names, avals, own, strict=True):
        same = aval.shape == wanted.shape and aval.dtype == wanted.dtype
        if not same and (mine or promoted_dtype(aval, wanted) is None):
            raise BranchTypeError(
                f"{name}: {title} differs between branches: got {aval.str_short(True)} after {label}, expected "
                f"{wanted.str_short(True)} as after {names[leader]}. Convert one of them."
            )
    weak = {aval.weak_type for aval in avals}
    return wanted.dtype if len(weak) > 1 or any(aval.dtype != wanted.dtype for aval in avals) else None


def _predicate(name: str, pred: Any) -> Any:
    flag = _as_array(name, "condition", pred)
    if flag.shape or jnp.issubdtype(flag.dtype, jnp.complexfloating) or not jnp.issubdtype(flag.dtype, jnp.generic):
        raise PredicateError(
            f"{name} got a condition of type {_compat.aval_of(flag).str_short(True)}; expected a scalar. "
            f"Use .any() or .all(), or jnp.where for a choice element by element."
        )
    return flag if flag.dtype == jnp.bool_ else flag != 0


def _as_array(name: str, what: str, value: Any) -> Any:
    try:
        return jnp.asarray(value)
    except TypeError:
        raise PredicateError(f"{name} got a {type(value).__name__} as its {what}; expected a scalar.") from None


def _leaf_paths(tree: Any) -> list[Any]:
    return [
        path for path, _ in jax.tree_util.tree_flatten_with_path(jax.tree.unflatten(tree, range(tree.num_leaves)))[0]
    ]
