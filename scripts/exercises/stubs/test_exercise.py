"""`pytest` in this folder: a test a function of exercise.py."""

from pathlib import Path

import pytest

from trpo.scripts.exercises.check import Result, check
from trpo.scripts.exercises.probes import FUNCTIONS


@pytest.fixture(scope="session")
def report() -> dict[str, Result]:
    """Return what the checker says, asked once for all tests."""
    return {result.function: result for result in check(Path(__file__).parent)}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_function(function: str, report: dict[str, Result]) -> None:
    """Say what is wrong with a function."""
    assert report[function].right, report[function].says
