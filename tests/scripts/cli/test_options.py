"""Options of `trpo train`: a preset is that of the environment, whatever other words there are."""

import pytest

from trpo.scripts import __main__
from trpo.scripts.cli.options import parse_train_options


def test_the_preset_is_the_environments():
    preset = parse_train_options(["Pendulum-v1"]).learner
    assert preset.trainer.gamma == 0.95
    assert parse_train_options(["--gamma", "0.8", "Pendulum-v1"]).learner.trainer.gamma == 0.8


@pytest.mark.parametrize("option", ["--name", "--runs"])
def test_a_name_that_is_also_an_environments_brings_no_preset(option):
    options = parse_train_options(["Ant-v5", option, "Pendulum-v1"])
    assert options.env == "Ant-v5"
    assert options.learner == parse_train_options(["Ant-v5"]).learner


def test_help_shows_the_environments_own_defaults(capsys):
    with pytest.raises(SystemExit) as end:
        __main__.main(["train", "Pendulum-v1", "--help"])
    assert end.value.code == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "default: 0.95)" in out[out.index("--gamma FLOAT") :][:120]
