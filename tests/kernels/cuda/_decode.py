"""Another reader of what the native library reads."""

import itertools
from collections.abc import Iterator
from typing import Any


def decode(steps: Any, values: Any, functions: str) -> Iterator[tuple[Any, ...]]:
    """Each step as a tuple; an argument as the number of a buffer, or as bytes."""
    memory, names = values.tobytes(), functions.split(" ")
    numbers = iter(steps.tolist())
    for kind in numbers:
        if kind == 0:
            yield "fill", next(numbers), next(numbers)
            continue
        assert kind == 1
        function = names[next(numbers)]
        grid, block = (tuple(itertools.islice(numbers, 3)) for _ in range(2))
        shared, resident, count = itertools.islice(numbers, 3)
        arguments = []
        for _ in range(count):
            where, size = itertools.islice(numbers, 2)
            assert size == -1 or where % 8 == 0  # as an argument of a kernel has to be aligned
            arguments.append(where if size == -1 else memory[where : where + size])
        yield "launch", function, grid, block, shared, bool(resident), arguments
