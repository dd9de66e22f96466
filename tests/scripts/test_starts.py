"""What training starts from: a file's options, a run's options, a run's policy."""

from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import pytest
import torch

import tests.environments  # noqa: F401 registers environments
from tests.processes import differences
from trpo.agents.agent import Agent, AgentConfig
from trpo.agents.config import LearnerConfig
from trpo.agents.randomness import Randomness
from trpo.agents.runs import Run
from trpo.agents.updates.ppo import PpoConfig
from trpo.scripts import __main__
from trpo.scripts.cli.options import parse_train_options

SMALL = ["--total-steps=600", "--batch-size=256", "--num-envs=8", "--hidden", "8", "--threads=1"]

FILE = """
env: Hopper-v5
max_kl: 1e-3
total-steps: 5000
hidden: [32, 16]
value: {fit: adam, hidden: [9]}
ppo.learning_rate: 0.01
normalize:
  rewards: false
resume: true
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    runs = tmp_path_factory.mktemp("runs")
    words = ["train", "CartPole-v1", *SMALL, "--runs", str(runs), "--name", "x", "--max-kl=0.03"]
    assert __main__.main(words) == 0
    return Run.open(runs / "CartPole-v1" / "x")


def test_a_file_says_what_the_command_line_would_and_the_command_line_wins(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(FILE, encoding="utf-8")
    words = "Hopper-v5 --max-kl 1e-3 --total-steps 5000 --hidden 32 16 --value.fit adam"
    words += " --value.hidden 9 --normalize.no-rewards --resume"
    said, read = parse_train_options(words.split()), parse_train_options(["--config", str(path)])
    ppo = PpoConfig(learning_rate=0.01)  # which a file may have beside TRPO's options
    learner = replace(said.learner, ppo=ppo)
    assert (read.env, read.learner, read.resume) == (said.env, learner, said.resume)
    more = ["CartPole-v1", "--max-kl", "0.5", f"--config={path}", "--no-resume"]
    read = parse_train_options(more)
    assert (read.env, read.learner.max_kl, read.resume) == ("CartPole-v1", 0.5, False)
    assert read.learner.trainer.total_steps == 5000


@pytest.mark.parametrize(
    "content",
    [
        "env_kwargs: {is_slippery: false, map_name: 8x8, desc: [SF, HG]}",
        """env-kwargs: [is_slippery=false, 'map_name="8x8"', 'desc=["SF", "HG"]']""",
    ],
)
def test_arguments_of_the_environment_are_a_mapping_or_words(content, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(f"env: FrozenLake-v1\n{content}", encoding="utf-8")
    kwargs = {"is_slippery": False, "map_name": "8x8", "desc": ["SF", "HG"]}
    assert parse_train_options(["--config", str(path)]).environment.env_kwargs == kwargs


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("max_kll: 1", "mine.yaml: Unrecognized options"),
        ("max_kl: -1", "mine.yaml: max_kl = -1.0 is out of range"),
        ("max_kl:", "mine.yaml: max-kl has no value: expected one, or no such"),
        ("hidden: null", "mine.yaml: hidden has no value: expected one, or no such line, for the"),
        ("like: runs/x", "mine.yaml: like = runs/x is for the command line: expected other"),
        ("config: x.yaml", "mine.yaml: config = x.yaml is for the command line: expected other"),
        ("[1, 2", "mine.yaml is no YAML"),
        ("just words", "mine.yaml holds no options"),
        (None, "mine.yaml cannot be read: No such file"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(content, said, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if content:
        Path("mine.yaml").write_text(content, encoding="utf-8")
    assert __main__.main(["train", "CartPole-v1", "--config", "mine.yaml"]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert len(err.splitlines()) == 1


def test_a_runs_options_are_a_start(run):
    like = parse_train_options(["--like", str(run.folder), "--seed", "3"])
    assert (like.env, like.learner.trainer.seed, like.name) == ("CartPole-v1", 3, "")
    assert like.threads == 0  # whatever this machine has
    assert like.learner.max_kl == 0.03
    assert like.learner.policy == run.config.learner.policy
    assert parse_train_options(["Acrobot-v1", "--like", str(run.folder)]).env == "Acrobot-v1"


def test_a_run_is_not_trusted_to_name_a_module(tmp_path, capsys):
    env_id = "tests.hidden:Env-v0"
    words = ["train", "CartPole-v1", *SMALL, "--runs", str(tmp_path), "--name", "x"]
    assert __main__.main(words) == 0
    config = tmp_path / "CartPole-v1" / "x" / "config.json"
    config.write_text(
        config.read_text(encoding="utf-8").replace("CartPole-v1", env_id), encoding="utf-8"
    )
    assert __main__.main(["train", "--like", str(config.parent)]) == 2
    assert f"if you trust it, name it: trpo train {env_id} --like" in capsys.readouterr().err


def test_training_goes_on_from_a_runs_policy_and_statistics(run, tmp_path, monkeypatch):
    words = ["train", "CartPole-v1", *SMALL, "--runs", str(tmp_path), "--seed=5"]
    words += ["--from", str(run.folder), "--checkpoint-interval=2", "--max-kl=1e-12"]
    assert __main__.main([*words, "--name", "whole"]) == 0
    whole = Run.open(tmp_path / "CartPole-v1" / "whole")
    assert whole.config.started_from == str(run.folder)
    begun, tuned = Agent.load(run.folder), Agent.load(whole.folder)
    for name, tensor in begun.policy.named_parameters():  # at so small a δ, the same
        assert torch.allclose(tensor, dict(tuned.policy.named_parameters())[name], atol=1e-4)
    counts = [agent.tensors()["reward_scaler.moments.count"] for agent in (begun, tuned)]
    assert counts[1] > counts[0] > 0

    monkeypatch.setattr("trpo.scripts.train.train_into", lambda *_: None)  # killed as it begins
    again = [*words, "--name", "killed", "--resume"]
    assert __main__.main(again) == 0
    monkeypatch.undo()
    assert __main__.main(again) == 0
    assert not differences(whole.folder, tmp_path / "CartPole-v1" / "killed")


def test_a_policy_that_does_not_fit_is_told(run, tmp_path, capsys):
    words = ["train", "CartPole-v1", "--runs", str(tmp_path), "--from", str(run.folder)]
    assert __main__.main(words) == 2
    error = "is float32 [8, 4]: expected float32 [64, 4]; --like takes a run's options"
    assert error in capsys.readouterr().err
    assert __main__.main([*words[:-1], "/nowhere"]) == 2
    assert not list(tmp_path.iterdir())


BETA = "--distribution beta"


@pytest.mark.parametrize(
    ("theirs", "own"),
    [
        ("--log-std state", BETA),
        (BETA, f"{BETA} --initial-concentration 7"),
        ("--log-std state", "--log-std state --initial-log-std -1"),
    ],
)
def test_a_policy_of_another_distribution_is_told(theirs, own, tmp_path, capsys):
    """Though its tensors have the same names and shapes."""
    words = ["train", "Pendulum-v1", *SMALL, "--runs", str(tmp_path / "old"), "--name=x"]
    assert __main__.main([*words, *theirs.split()]) == 0
    words = ["train", "Pendulum-v1", *SMALL, "--runs", str(tmp_path / "new")]
    words += ["--from", str(tmp_path / "old" / "Pendulum-v1" / "x"), *own.split()]
    assert __main__.main(words) == 2
    assert "its actions have another distribution; --like takes" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_policy_of_other_choices_is_told(tmp_path, capsys):
    """Though there are as many logits."""
    spaces, learner = (gym.spaces.Discrete(500), gym.spaces.MultiDiscrete([2, 4])), LearnerConfig()
    networks = learner.policy, learner.value, learner.normalize, learner.images
    config = AgentConfig(*spaces, *networks, gamma=0.99)
    Agent(config, Randomness(0)).save(tmp_path / "agent.safetensors")
    words = ["train", "Taxi-v4", "--runs", str(tmp_path / "new"), "--threads=1"]
    assert __main__.main([*words, "--from", str(tmp_path / "agent.safetensors")]) == 2
    assert "its actions have another distribution; --like takes" in capsys.readouterr().err
