"""`pytest` in this folder: a test a function of exercise.py."""

from pathlib import Path

import pytest

from trpo.scripts.exercises.check import FUNCTIONS, check


@pytest.fixture(scope="session")
def report():
    return {result.function: result for result in check(Path(__file__).parent)}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_function(function, report):
    assert report[function].right, report[function].says
