"""A run that is killed and resumed equals a run never stopped; `make kill` tries 30."""

from pathlib import Path

import pytest

from tests.kill import survive


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_run_ends_as_if_it_never_was(seed: int, tmp_path: Path):
    outcome = survive(seed, tmp_path)
    assert not outcome.differences
    assert outcome.kills
