"""Ahead-of-time stages of `jit`: like JAX's, but the compiled object reads and writes the States."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from ._errors import StateUnavailableError
from ._plan import Plan

R = TypeVar("R", covariant=True)


class Compiled(Generic[R]):
    """A function compiled for fixed shapes. A call reads the States, runs, and writes them back."""

    def __init__(self, plan: Plan, stage: Any) -> None:
        self._plan = plan
        self.stage = stage
        """JAX's own object."""

    def __call__(self, *args: Any, **kwargs: Any) -> R:
        """Run it, without the static arguments, as in JAX."""
        try:
            states = self._plan.gather()
        except ReferenceError:
            raise StateUnavailableError(
                "A State that this function was compiled for does not exist any more; lower and compile it again."
            ) from None
        try:
            out, values = self.stage(*states, *args, **kwargs)
        except Exception:
            self._plan.mark_lost()
            raise
        self._plan.scatter(values)
        return out  # type: ignore[no-any-return]

    def as_text(self) -> str:
        """The optimised program."""
        return str(self.stage.as_text())

    def cost_analysis(self) -> Any:
        """JAX's estimate of operations and memory traffic."""
        return self.stage.cost_analysis()

    def memory_analysis(self) -> Any:
        """JAX's estimate of memory in use."""
        return self.stage.memory_analysis()


class Lowered(Generic[R]):
    """A function lowered to StableHLO for fixed shapes."""

    def __init__(self, plan: Plan, stage: Any) -> None:
        self._plan = plan
        self.stage = stage
        """JAX's own object."""

    def compile(self, compiler_options: dict[str, Any] | None = None) -> Compiled[R]:
        """Compile it."""
        return Compiled(self._plan, self.stage.compile(compiler_options=compiler_options))

    def as_text(self) -> str:
        """The lowered program."""
        return str(self.stage.as_text())

    def cost_analysis(self) -> Any:
        """JAX's estimate of operations and memory traffic."""
        return self.stage.cost_analysis()


class Staged(Generic[R]):
    """A function traced for fixed shapes; the values of its States are among the inputs and outputs."""

    def __init__(self, plan: Plan, stage: Any) -> None:
        self._plan = plan
        self.stage = stage
        """JAX's own object."""

    @property
    def jaxpr(self) -> Any:
        """The program: inputs are the States that are written, those only read, then the arguments."""
        return self.stage.jaxpr

    def lower(self) -> Lowered[R]:
        """Lower it to StableHLO."""
        return Lowered(self._plan, self.stage.lower())
