"""`pytest` in this folder: one test per function of exercise.py."""

from functools import cache
from pathlib import Path
from typing import Any

from trpo.scripts.exercises.check import Result, check
from trpo.scripts.exercises.probes import FUNCTIONS


@cache
def report() -> dict[str, Result]:
    """Return what the checker says, asked once for all tests."""
    return {result.function: result for result in check(Path(__file__).parent)}


def pytest_generate_tests(metafunc: Any) -> None:
    """Make a test of each function."""
    metafunc.parametrize("function", FUNCTIONS)


def test_function(function: str) -> None:
    """Say what is wrong with a function."""
    result = report()[function]
    assert result.right, result.says
