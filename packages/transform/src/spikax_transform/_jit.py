"""`jit`: gather the States, call one `jax.jit`, scatter the results back."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Concatenate, Generic, NoReturn, ParamSpec, Self, TypeVar, overload

import jax

from . import _compat, _overlay
from ._binding import Bindings
from ._errors import SpikaxTransformError, UnstableFunctionError
from ._options import Options
from ._plan import DiscoveredError, JitDisabledError, Plan
from ._signature import discover
from ._stages import Lowered, Staged
from ._state import Creations, State, creation_count
from ._trace import refuse_states

_stack = _overlay.stack
_CURRENT_TRACE = _compat.CURRENT_TRACE
_EVAL_TRACE = _compat.EVAL_TRACE

# One plan to find the States, one that fits them, and some for States that the arguments in between brought in.
_MAX_PLANS = 5

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")


class JitFunction(Generic[P, R]):
    """A function compiled by `jit`; call it like the original."""

    __name__: str
    __qualname__: str

    def __init__(self, fun: Callable[P, R], options: Options) -> None:
        functools.update_wrapper(self, fun)
        self._fun = fun
        self._options = options
        self._plan: Plan | None = None
        self._bindings: Bindings[JitFunction[Any, Any]] = Bindings(lambda method: JitFunction(method, options))

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the compiled function on the present values of its States."""
        # Every tenth of a microsecond counts here: a bare `jax.jit` of one array takes five.
        plan = self._plan
        if plan is None or plan.count != Creations.count or _stack.frames or _CURRENT_TRACE.value is not _EVAL_TRACE:
            return self._call_slowly(args, kwargs)
        states: list[State[Any] | None] = []
        given = []
        try:
            # a State that died is None here, and has no value; one that was lost is refused by `jax.jit`
            for reference in plan.written:
                state = reference()
                states.append(state)
                given.append(state._value)  # type: ignore[union-attr]
            for reference in plan.read_only:
                given.append(reference()._value)  # type: ignore[union-attr] # noqa: PERF401 - slower before Python 3.12
        except AttributeError:
            return self._call_slowly(args, kwargs)
        if plan.write_only:
            states += [reference() for reference in plan.write_only]
            if plan.write_only_died(states):
                return self._call_slowly(args, kwargs)
        try:
            if kwargs:
                out, values = plan.compiled(*given, *args, **kwargs)
            else:
                out, values = plan.compiled(*given, *args)
        except DiscoveredError as found:
            signature = found.signature
        except Exception as error:  # noqa: BLE001 - it is raised again, with its reason
            return self._recover(error, plan, args, kwargs)
        else:
            if states:
                for state, value in zip(states, values):  # noqa: B905 - checking the lengths costs as much as the loop
                    if state is not None:
                        state._value = value
            return out  # type: ignore[no-any-return]
        self._plan = Plan(self._fun, self._options, len(args), signature, plan)
        return self._call_slowly(args, kwargs)

    def _call_slowly(self, args: Any, kwargs: Any) -> R:
        """The same, when States may have changed, or inside another transform."""
        if _compat.jit_disabled():
            return self._fun(*args, **kwargs)
        plan, (out, values) = self._settle(lambda plan: plan.compiled, args, kwargs)
        plan.scatter(values)
        return out  # type: ignore[no-any-return]

    def _settle(self, use: Callable[[Plan], Callable[..., Any]], args: Any, kwargs: Any) -> tuple[Plan, Any]:
        """Call what `use` gives of a plan, with the values of its States; and make a new plan where it does not fit."""
        plan = self._ready(args, kwargs)
        for _ in range(_MAX_PLANS):
            given = plan.gather()
            try:
                result = use(plan)(*given, *args, **kwargs)
            except DiscoveredError as found:
                signature = found.signature
            except Exception as error:  # noqa: BLE001 - it is raised again, with its reason
                self._explain(error, plan, args, kwargs)
            else:
                plan.primed = None  # if `jax.jit` had no use for it: it may hold tracers from around
                return plan, result
            self._plan = plan = Plan(self._fun, self._options, len(args), signature, plan)
        raise UnstableFunctionError(
            f"jit got {self._fun!r}, which used other States each time it was traced ({_MAX_PLANS} times); expected "
            f"the same ones. Choose them by a static argument, or create them outside."
        )

    def _ready(self, args: Any, kwargs: Any) -> Plan:
        """The plan to use for these arguments, discovered anew where it may have become stale."""
        plan = self._plan
        if plan is None or plan.any_died():
            plan = Plan(self._fun, self._options, len(args), self._discover(args, kwargs), None)
        elif plan.count != creation_count():
            plan = self._audited(plan, args, kwargs)
        self._plan = plan
        return plan

    def _audited(self, plan: Plan, args: Any, kwargs: Any) -> Plan:
        """States were made since: run the Python again, and keep the compiled program if it touches the same."""
        plan.audit.begin()
        call = _call_key(args, kwargs)
        if not plan.audit.knows(call):
            signature = self._discover(args, kwargs)
            if plan.audit.changed(signature):
                return Plan(self._fun, self._options, len(args), signature, None)
            if not plan.audit.confirm(call, signature):
                if not plan.accepts(signature):
                    return Plan(self._fun, self._options, len(args), signature, plan)
                plan.primed = signature
        if plan.audit.complete:
            plan.count = creation_count()
        return plan

    def _discover(self, args: Any, kwargs: Any) -> Any:
        try:
            return discover(self._fun, self._options, args, kwargs)
        except TypeError as error:
            self._explain(error, None, args, kwargs)

    def _recover(self, error: Exception, plan: Plan, args: Any, kwargs: Any) -> R:
        """After a failed call: run the Python itself if `jax.jit` did so too, else say what went wrong."""
        if not isinstance(error, JitDisabledError):
            self._explain(error, plan, args, kwargs)
        return self._fun(*args, **kwargs)

    def _explain(self, error: Exception, plan: Plan | None, args: Any, kwargs: Any) -> NoReturn:
        """Raise what went wrong, in terms of States where they are the reason."""
        if isinstance(error, SpikaxTransformError):
            raise error
        if isinstance(error, TypeError):
            refuse_states(jax.tree.leaves((args, kwargs)), "jit", "passed to")
        if plan is not None:
            plan.gather()  # raises if a State has no value
            plan.mark_lost()
        raise error

    def lower(self, *args: P.args, **kwargs: P.kwargs) -> Lowered[R]:
        """Lower for the shapes of these arguments; ``.compile()`` then gives an object that updates the States.

        >>> import jax.numpy as jnp
        >>> from spikax_transform import State, jit
        >>> total = State(jnp.float32(0))
        >>> @jit
        ... def add(x):
        ...     total.value += x
        >>> compiled = add.lower(jnp.float32(1)).compile()
        >>> compiled(jnp.float32(2))
        >>> float(total.value)
        2.0
        """
        return self.trace(*args, **kwargs).lower()

    def trace(self, *args: P.args, **kwargs: P.kwargs) -> Staged[R]:
        """Trace for the shapes of these arguments."""
        plan, stage = self._settle(lambda plan: plan.compiled.trace, args, kwargs)
        return Staged(plan, stage)

    def eval_shape(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Shapes and dtypes of the result; no State changes."""
        return self.trace(*args, **kwargs).stage.out_info[0]

    def clear_cache(self) -> None:
        """Forget everything traced and compiled."""
        self._plan = None

    @overload
    def __get__(self, instance: None, owner: type[Any] | None = None) -> Self: ...
    @overload
    def __get__(
        self: Callable[Concatenate[Any, Q], R], instance: object, owner: type[Any] | None = None
    ) -> JitFunction[Q, R]: ...
    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Any:
        """As a method: compiled for each instance."""
        return self if instance is None else self._bindings.get(self._fun, instance)

    def __repr__(self) -> str:
        return f"jit({self._fun!r})"


@overload
def jit(
    f: Callable[P, R],
    *,
    static_argnums: int | Sequence[int] | None = None,
    static_argnames: str | Iterable[str] | None = None,
    donate_argnums: int | Sequence[int] | None = None,
    donate_argnames: str | Iterable[str] | None = None,
    donate_states: bool = False,
    inline: bool = False,
    keep_unused: bool = False,
    in_shardings: object = None,
    out_shardings: object = None,
) -> JitFunction[P, R]: ...
@overload
def jit(
    *,
    static_argnums: int | Sequence[int] | None = None,
    static_argnames: str | Iterable[str] | None = None,
    donate_argnums: int | Sequence[int] | None = None,
    donate_argnames: str | Iterable[str] | None = None,
    donate_states: bool = False,
    inline: bool = False,
    keep_unused: bool = False,
    in_shardings: object = None,
    out_shardings: object = None,
) -> Callable[[Callable[P, R]], JitFunction[P, R]]: ...
def jit(
    f: Callable[..., Any] | None = None,
    *,
    static_argnums: int | Sequence[int] | None = None,
    static_argnames: str | Iterable[str] | None = None,
    donate_argnums: int | Sequence[int] | None = None,
    donate_argnames: str | Iterable[str] | None = None,
    donate_states: bool = False,
    inline: bool = False,
    keep_unused: bool = False,
    in_shardings: object = None,
    out_shardings: object = None,
) -> Any:
    """`jax.jit` for functions that read and write States; also a decorator, for functions and methods.

    The Python of ``f`` runs when `jax.jit` would trace, and again when States were made or died since: a layer that
    was replaced is noticed. Other attributes and closures follow the rule of `jax.jit`: they are constants.

    Args:
        f: the function; States that it uses are captured by closure.
        static_argnums: positions of arguments that are constants of the program.
        static_argnames: names of such arguments.
        donate_argnums: positions of arguments whose memory may be reused.
        donate_argnames: names of such arguments.
        donate_states: reuse the memory of the States that are written. Other references to their values die.
        inline: as in `jax.jit`.
        keep_unused: as in `jax.jit`.
        in_shardings: shardings of the arguments.
        out_shardings: shardings of the result.

    Raises:
        StateArgumentError: a State is an argument or a result.
        StateUnavailableError: a State has no value.

    >>> import jax.numpy as jnp
    >>> from spikax_transform import State, jit
    >>> count = State(jnp.int32(0))
    >>> @jit
    ... def step(x):
    ...     count.value += 1
    ...     return x * count.value
    >>> step(jnp.int32(5)), step(jnp.int32(5))
    (Array(5, dtype=int32), Array(10, dtype=int32))
    """
    options = Options(
        static_argnums=static_argnums,
        static_argnames=static_argnames,
        donate_argnums=donate_argnums,
        donate_argnames=donate_argnames,
        donate_states=donate_states,
        inline=inline,
        keep_unused=keep_unused,
        in_shardings=in_shardings,
        out_shardings=out_shardings,
    )
    if f is None:
        return lambda fun: JitFunction(fun, options)
    return JitFunction(f, options)


def _call_key(args: Any, kwargs: Any) -> Hashable | None:
    """A key that differs wherever `jax.jit` might trace anew, `None` if there is none."""
    leaves, tree = jax.tree.flatten((args, kwargs))
    parts: list[Hashable] = [tree]
    parts += [_compat.aval_of(leaf) if isinstance(leaf, jax.Array) else (type(leaf), leaf) for leaf in leaves]
    try:
        hash(key := tuple(parts))
    except TypeError:
        return None
    return key
