"""The checkpoint benchmark: shares are of what it timed, and only after the warm-up."""

import pytest

from tests.processes import SMALL
from trpo.scripts import __main__
from trpo.scripts.benchmarks.checkpoint import measure
from trpo.scripts.cli.options import parse_train_options


def test_the_cost_of_a_checkpoint():
    row = measure(parse_train_options(["CartPole-v1", *SMALL.split()]), boundaries=2)
    each = (row["saving_ms"] + row["fresh_environments_ms"]) / 1000
    assert row["share_of_time"] == pytest.approx(2 * each / row["seconds"])
    assert 0 < row["share_of_time"] < 1
    assert 0 < row["share_of_steps_in_cut_episodes"] < 1


def test_its_options_are_validated(capsys):
    assert __main__.main(["benchmark", "checkpoint", "--boundaries", "0"]) == 2
    assert "boundaries = 0 is out of range: expected an integer ≥ 1" in capsys.readouterr().err
