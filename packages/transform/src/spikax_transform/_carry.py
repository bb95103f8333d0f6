"""The types that a loop carries: unchanged by the body, except that weakly typed first values take the body's type."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from . import _compat, _overlay
from ._errors import CarryTypeError
from ._state import State
from ._trace import Traced


def promote(name: str, traced: Traced, carry: list[Any], carry_tree: Any, starts: dict[State[Any], Any]) -> bool:
    """Check that the carry and the States keep their types; make weakly typed ones strong where the body does.

    Returns whether something was changed, so that the body has to be traced again.
    """
    children = traced.out_tree.children()
    if len(children) != 2 or traced.out_tree.node_data()[0] is not tuple:
        raise CarryTypeError(f"The body of {name} must return a pair (carry, y); got {traced.out_tree}.")
    out = traced.out_avals
    if children[0] != carry_tree:
        raise CarryTypeError(
            f"The body of {name} returned a carry of another structure: got {children[0]}, expected {carry_tree} "
            f"as in the first carry."
        )
    titles = [f"carry{_key_path(path)}" for path, _ in _paths(carry_tree)]
    changed = False
    for i, (leaf, aval) in enumerate(zip(carry, out, strict=False)):
        promoted = _promoted(f"the body of {name} changes {titles[i]}", _compat.aval_of(leaf), aval)
        if promoted is not None:
            carry[i] = lax.convert_element_type(leaf, promoted)
            changed = True
    position = len(out) - sum(tree.num_leaves for tree in traced.writes.values())
    for state, tree in traced.writes.items():
        after = out[position : position + tree.num_leaves]
        position += tree.num_leaves
        changed |= _promote_state(name, state, tree, after, starts)
    return changed


def _promote_state(
    name: str, state: State[Any], tree: Any, after: list[_compat.Aval], starts: dict[State[Any], Any]
) -> bool:
    value = starts.get(state)
    if state not in starts:
        value = _overlay.peek(state, len(_overlay.frames()))
    leaves, before_tree = jax.tree.flatten(value)
    if before_tree != tree:
        raise CarryTypeError(
            f"The body of {name} changes the structure of {state.describe()}: got {tree}, expected {before_tree}. "
            f"Give the State a first value of the structure that the body writes."
        )
    label = f"the body of {name} changes {state.describe()}"
    avals = [_compat.aval_of(leaf) for leaf in leaves]
    wanted = [_promoted(label, old, new) for old, new in zip(avals, after, strict=True)]
    if all(dtype is None for dtype in wanted):
        return False
    current = jax.tree.leaves(_overlay.read(state, False)) if state not in starts else leaves
    strong = [x if d is None else lax.convert_element_type(x, d) for x, d in zip(current, wanted, strict=True)]
    starts[state] = jax.tree.unflatten(tree, strong)
    return True


def _promoted(label: str, before: _compat.Aval, after: _compat.Aval) -> Any:
    """The dtype that a weakly typed first value takes, `None` if it may stay; otherwise an error."""
    same = before.shape == after.shape and before.dtype == after.dtype
    if same and (after.weak_type or not before.weak_type):
        return None
    dtype = promoted_dtype(before, after)
    return _mismatch(label, before, after) if dtype is None else dtype


def promoted_dtype(before: _compat.Aval, after: _compat.Aval) -> Any:
    """The dtype that a plain number takes beside an array of the same shape, `None` if it cannot."""
    if before.shape == after.shape and before.weak_type and not after.weak_type:
        return after.dtype if _result_type(before, after) == after.dtype else None
    return None


def same_strength(leaf: Any, before: Any) -> Any:
    """Drop a weak type that the carry does not have, as ``s.value = 0.0`` would bring into a strong State."""
    if _compat.aval_of(leaf).weak_type and not _compat.aval_of(before).weak_type:
        return lax.convert_element_type(leaf, _compat.aval_of(leaf).dtype)
    return leaf


def _result_type(before: _compat.Aval, after: _compat.Aval) -> Any:
    kinds = (jnp.bool_, jnp.integer, jnp.floating, jnp.complexfloating)
    rank = [next((i for i, kind in enumerate(kinds) if jnp.issubdtype(a.dtype, kind)), -1) for a in (before, after)]
    return after.dtype if 0 <= rank[0] <= rank[1] else before.dtype


def _mismatch(label: str, before: _compat.Aval, after: _compat.Aval) -> Any:
    raise CarryTypeError(
        f"{label[0].upper()}{label[1:]}: got {after.str_short(True)}, expected {before.str_short(True)} as before the "
        f"first step. Write a value of that shape and dtype, or start with one of the other."
    )


def _paths(tree: Any) -> list[tuple[Any, Any]]:
    return jax.tree_util.tree_flatten_with_path(jax.tree.unflatten(tree, range(tree.num_leaves)))[0]


def _key_path(path: Any) -> str:
    return jax.tree_util.keystr(path)
