"""A matrix divided over two processes: each has the pieces of the products of one, and only bits of events move."""

from pathlib import Path

from tests.processes import assert_all_agree


def test_two_processes_agree_with_the_dense_product(tmp_path: Path) -> None:
    assert_all_agree("tests.kernels.two_processes", tmp_path)
