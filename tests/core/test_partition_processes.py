"""Operators divided over two processes: each has the pieces of the results of one, and nothing large moves."""

from pathlib import Path

from tests.processes import assert_all_agree


def test_two_processes_agree_with_one_and_gather_nothing_large(tmp_path: Path) -> None:
    assert_all_agree("tests.core.two_processes", tmp_path)
