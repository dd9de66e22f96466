"""The checkpoint benchmark: shares are of what it timed, and only after the warm-up."""

from dataclasses import replace

import pytest

from tests.processes import SMALL
from trpo.agents.trainer import Trainer
from trpo.scripts import __main__
from trpo.scripts.benchmarks.checkpoint import measure
from trpo.scripts.cli.options import parse_train_options


def test_the_cost_of_a_checkpoint():
    options = parse_train_options(["CartPole-v1", *SMALL.split()])
    row = measure(options, resume_points=2)
    each = (row["saving_ms"] + row["fresh_environments_ms"]) / 1000
    assert row["share_of_time"] == pytest.approx(2 * each / row["seconds"])
    assert 0 < row["share_of_time"] < 1
    loop = replace(options.learner.trainer, total_steps=10**9)
    trainer = Trainer(options.make_env, replace(options.learner, trainer=loop))
    steps, cut = [0], [0]
    for record in trainer.updates():
        steps.append(record.steps)
        cut.append(int(trainer.environments.collector.lengths.sum()))
        if record.update == 9:
            break
    trainer.close()
    share = (cut[6] + cut[9]) / (steps[9] - steps[3])  # an interval is 3 updates, the first warm-up
    assert row["share_of_steps_in_cut_episodes"] == share


def test_its_options_are_validated(capsys):
    assert __main__.main(["benchmark", "checkpoint", "--resume-points", "0"]) == 2
    assert "resume_points = 0 is out of range: expected an integer ≥ 1" in capsys.readouterr().err
