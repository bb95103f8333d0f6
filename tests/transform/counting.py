"""Count what a test must not do too often: compile, and run the user's Python."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, ParamSpec, TypeVar

from jax import monitoring

P = ParamSpec("P")
R = TypeVar("R")

_compiled: list[str] = []


def _listen(event: str, duration_secs: float, **_: Any) -> None:
    if "backend_compile" in event:
        _compiled.append(event)


monitoring.register_event_duration_secs_listener(_listen)


@contextmanager
def compiles() -> Iterator[Callable[[], int]]:
    """How many programs XLA compiled since the block began."""
    start = len(_compiled)
    yield lambda: len(_compiled) - start


class Counted(Generic[P, R]):
    """A function that counts its calls."""

    def __init__(self, function: Callable[P, R]) -> None:
        self.function = function
        self.runs = 0

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        self.runs += 1
        return self.function(*args, **kwargs)
