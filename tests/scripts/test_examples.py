"""The examples, and the README's Python, do what they say."""

import re
from typing import Any

import gymnasium as gym
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.helpers import HOME
from trpo.agents import Run
from trpo.scripts.__main__ import main
from trpo.scripts.examples import own_environment, own_network


def test_an_environment_of_ones_own(tmp_path):
    thermostat = own_environment.Thermostat()
    thermostat.reset(seed=0)
    idle = sum(thermostat.step(thermostat.action_space.high * 0)[1] for _ in range(100))
    trained = own_environment.main(40_000, str(tmp_path / "thermostat.safetensors"))
    assert trained > idle / 3  # both are negative: discomfort falls by two thirds or more


def test_a_network_of_ones_own():
    assert own_network.main(10_000) > 9  # guesses get 5 of 20


def test_the_readmes_python_trains_saves_loads_and_acts(tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", (HOME / "README.md").read_text("utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(code, names)
    assert names["trainer"].mean_return > 150
    assert gym.spaces.Discrete(2).contains(names["action"])
    assert names["state"] is None
    assert len(capsys.readouterr().out.splitlines()) > 5


def test_the_python_that_writes_a_run_writes_one_that_commands_take(tmp_path, monkeypatch):
    text = (HOME / "runs" / "README.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(code, names)
    folder, run, trainer = tmp_path / "runs" / "mine", names["run"], names["trainer"]
    board = EventAccumulator(str(folder)).Reload()
    assert len(board.Scalars("1_overview/1_return_100")) == len(run.records()) > 5
    assert main(["evaluate", str(folder), "--episodes", "2"]) == 0
    trainer.extend(25_000)
    run.extend(trainer.config.trainer)
    with run.recording(trainer) as updates:
        assert len(list(updates)) > 0
    assert main(["resume", str(folder), "--total-steps", "30000", "--quiet"]) == 0
    records = Run.open(folder).records()
    assert [record.update for record in records] == list(range(1, len(records) + 1))
    assert records[-1].steps >= 30_000


def test_stable_baselines3s_users_evaluate_what_they_trained(capsys):
    page = HOME / "scripts" / "docs" / "pages" / "questions" / "from-sb3.md"
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["mean"] > 100
    assert names["std"] >= 0
    assert names["update"].steps >= 30_000
    assert len(capsys.readouterr().out.splitlines()) > 5


def test_the_readme_is_short():
    text = re.sub(r"\]\([^)]*\)", "]", (HOME / "README.md").read_text("utf-8"))  # but for links
    assert len(re.findall(r"[^\W\d_][\w'-]*", text)) < 700
