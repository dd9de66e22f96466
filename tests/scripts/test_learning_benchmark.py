"""The learning benchmark: each number is what its name says, and finished cells are kept."""

import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Normal

from tests.helpers import HOME
from tests.processes import launch
from trpo.agents.runs import Run
from trpo.agents.trainer import TrainingError
from trpo.divergence import kl_divergence
from trpo.scripts import __main__
from trpo.scripts.benchmarks import learning
from trpo.scripts.benchmarks.learners import Outcome, learn, learn_sb3, zoo_settings
from trpo.scripts.benchmarks.learning import Cell, LearningOptions, cells_of, curve, keep
from trpo.scripts.benchmarks.learning_report import distinctions, fell, interval, summarize
from trpo.scripts.cli import options_record
from trpo.scripts.cli.tables import add_rows, read_rows, write_provenance
from trpo.scripts.evaluate import EvaluateOptions, evaluate_run

PANEL = HOME / "runs" / "reference" / "panel"
RECORD: dict[str, Any] = {"words": [], "git_commit": "", "resolved": {}}  # of a run


def test_a_row_is_what_training_and_evaluation_say(tmp_path, capsys, monkeypatch):
    small = "--total-steps 1500 --batch-size 256 --num-envs 8 --hidden 8"
    words = [
        "benchmark",
        "learning",
        "CartPole-v1",
        "--seeds",
        "3",
        "--episodes",
        "5",
        "--out",
        str(tmp_path),
        f"--options={small}",
    ]

    def add_others(_):
        for name in ("results.csv", "curves.csv"):
            add_rows(tmp_path / name, read_rows(PANEL / name)[:1])

    with monkeypatch.context() as meanwhile:  # another command fills the same folder
        meanwhile.setattr(learning, "write_provenance", add_others)
        assert __main__.main(words) == 0
    other, row = read_rows(tmp_path / "results.csv")
    assert other == read_rows(PANEL / "results.csv")[0]
    (run,) = (tmp_path / "runs" / "CartPole-v1").iterdir()
    for name, sampled in (("deterministic_return", False), ("stochastic_return", True)):
        _, episodes = evaluate_run(EvaluateOptions(run=run, episodes=5, stochastic=sampled))
        assert float(row[name]) == sum(episode.undiscounted_return for episode in episodes) / 5
    assert int(row["updates_within_limit"]) == int(row["updates"]) > 0
    metrics = Run.open(run).metrics()
    returns = metrics["episode/return_100"]
    assert float(row["fall"]) == pytest.approx(np.nanmax(returns) - returns[-1], abs=1e-3)
    assert int(row["updates_put_back"]) == (metrics["update/accepted"] != 1).sum()
    late = metrics["episode/return"][metrics["steps"] > metrics["steps"][-1] / 2]
    assert float(row["worst_after_half"]) == pytest.approx(np.nanmin(late), rel=1e-5)
    _, *points = read_rows(tmp_path / "curves.csv")
    assert [int(p["steps"]) for p in points] == metrics["steps"].tolist()
    assert np.all(np.diff([float(p["seconds"]) for p in points]) > 0)

    assert __main__.main(words) == 0  # the cell is done: nothing runs again
    assert len(list((tmp_path / "runs" / "CartPole-v1").iterdir())) == 1
    assert "CartPole-v1" in capsys.readouterr().out
    assert (tmp_path / "steps.png").stat().st_size > 0


def test_runs_by_other_options_are_others_and_one_that_fails_is_no_result(tmp_path, capsys):
    env = "tests.environments:TestRaises-v0"
    row = read_rows(PANEL / "results.csv")[0] | {"environment": env, "seed": "0", "options": ""}
    add_rows(tmp_path / "results.csv", [row])
    add_rows(tmp_path / "curves.csv", read_rows(PANEL / "curves.csv")[:1])
    words = ["benchmark", "learning", env, "--seeds", "0", "--workers", "1", f"--out={tmp_path}"]
    assert __main__.main(words) == 0
    assert __main__.main([*words, "--options=--gamma 0.9"]) == 1
    assert f"[1/1] {env} trpo seed 0 failed: TrainingError" in capsys.readouterr().out
    assert read_rows(tmp_path / "results.csv") == [row]
    assert set(options_record.read_options(tmp_path)) == {env, f"{env} --gamma 0.9"}


def test_what_is_asked_for_twice_is_run_once(tmp_path):
    envs = ("CartPole-v1", "Acrobot-v1", "CartPole-v1")
    options = LearningOptions(envs=envs, seeds=(1, 0, 1), out=tmp_path)
    cells = [(cell.env, cell.seed) for cell in cells_of(options)]
    assert cells == [(env, seed) for seed in (1, 0) for env in envs[:2]]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("learning --seeds -1", "seeds = (-1,) is out of range: expected one integer ≥ 0, or more"),
        ("learning --seeds", "seeds = () is out of range: expected one integer ≥ 0, or more"),
        ("fisher --threads 0", "threads = (0,) is out of range: expected one integer ≥ 1, or more"),
        ("fisher ²x8", "sizes = ('²x8',) is out of range: expected BATCHxWIDTH, as 2048x64"),
        ("learning", "results.csv is of something else, without a column 'environment': choose an"),
        ("census", "results.csv is of something else, without a column 'engine': choose another"),
    ],
)
def test_bad_input_is_told_in_a_line_and_changes_nothing(words, said, tmp_path, capsys):
    add_rows(tmp_path / "results.csv", [{"product": "F·v"}])
    assert __main__.main(["benchmark", *words.split(), f"--out={tmp_path}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert [path.name for path in tmp_path.iterdir()] == ["results.csv"]


def test_a_run_that_a_signal_ended_is_no_result(tmp_path):
    def interrupt():
        while not list(tmp_path.rglob("metrics.csv")):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    Thread(target=interrupt).start()
    words = ["CartPole-v1", "--threads=1", "--total-steps=100000000", f"--runs={tmp_path}"]
    with pytest.raises(TrainingError, match=r"was ended by signal 2$"):
        learn(words, 1)


def test_ctrl_c_ends_the_command_not_a_run_alone(tmp_path):
    words = ["benchmark", "learning", "CartPole-v1", "--workers=1", f"--out={tmp_path}"]
    process = launch([*words, "--options=--batch-size 256 --num-envs 8 --hidden 8"])
    while process.poll() is None and not list(tmp_path.rglob("metrics.csv")):
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: its workers, too
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "trpo: interrupted\n")
    assert len(list(tmp_path.rglob("metrics.csv"))) == 1
    assert not (tmp_path / "results.csv").exists()


def outcome_of(updates: int) -> Outcome:
    """An outcome whose every number is another."""
    first = np.arange(updates, dtype=float)
    return Outcome(
        steps=100 * (first + 1),
        seconds=(first + 1) / 2,
        returns=np.r_[np.nan, 20, 10, 90, np.full(updates - 5, 50), 70],
        update_returns=np.r_[1, 2, 3, np.full(updates - 4, 60), np.nan],
        deterministic=np.array([1.0, 3.0]),
        stochastic=np.array([10.0, 40.0]),
        kl=np.r_[0.03, 0.02, np.full(updates - 2, 0.01)],
        max_kl=np.r_[0.02, np.full(updates - 1, 0.02)],
        put_back=4,
    )


def test_a_row_is_what_its_columns_say():
    assert outcome_of(8).row() == {
        "steps": 800,
        "deterministic_return": 2,
        "deterministic_std": 1,
        "stochastic_return": 25,
        "first_return_100": 20,
        "best_return_100": 90,
        "training_return_100": 70,
        "fall": 20,
        "worst_after_half": 60,
        "updates": 8,
        "updates_within_limit": 7,
        "largest_kl": 0.03,
        "max_kl": 0.02,
        "updates_put_back": 4,
        "seconds": 4.0,
    }


def test_a_curve_goes_from_the_first_update_to_the_last_and_is_there_once(tmp_path):
    cell, outcome = Cell("CartPole-v1", "trpo", 3, ""), outcome_of(120)
    add_rows(tmp_path / "curves.csv", curve(cell, outcome))  # by a command that was killed here
    keep(cell, outcome, tmp_path)
    steps = [int(point["steps"]) for point in read_rows(tmp_path / "curves.csv")]
    assert (len(steps), steps[0], steps[-1]) == (50, 100, 12_000)
    assert set(np.diff(steps)) == {200, 300}
    assert [Cell.of_row(row) for row in read_rows(tmp_path / "results.csv")] == [cell]


def test_what_commands_add_to_one_folder_is_added_in_turn(tmp_path, monkeypatch):
    monkeypatch.setattr(options_record, "record_of", lambda runs: dict.fromkeys(runs, RECORD))
    commands = [str(number) for number in range(30)]

    def add(command):
        add_rows(tmp_path / "x.csv", [{"command": command}])
        options_record.add_options(tmp_path, {command: []})
        write_provenance(tmp_path / "provenance.json", program=command)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, commands))
    assert sorted(row["command"] for row in read_rows(tmp_path / "x.csv")) == sorted(commands)
    assert sorted(options_record.read_options(tmp_path)) == sorted(commands)
    provenance = json.loads((tmp_path / "provenance.json").read_text(encoding="utf-8"))
    assert sorted(each["command"].split()[0] for each in provenance) == sorted(commands)


@pytest.mark.parametrize(
    ("learners", "told"),
    [
        ([("trpo", "--gamma 0.9")], ["trpo"]),
        ([("trpo", ""), ("sb3-contrib", "")], ["trpo", "sb3-contrib"]),
        ([("trpo", "--hidden 8 8"), ("sb3-contrib", "")], ["trpo --hidden 8 8", "sb3-contrib"]),
        (
            [("trpo", "--hidden 8 8"), ("trpo", "--hidden 8 8 --max-kl 0.1")],
            ["trpo", "--max-kl 0.1"],
        ),
        (
            [("trpo", "--num-envs 8 --gamma 0.9"), ("trpo", "--num-envs 64 --gamma 0.9")],
            ["--num-envs 8", "--num-envs 64"],
        ),
    ],
)
def test_a_legend_says_what_is_not_common(learners, told):
    assert distinctions(learners) == told


def test_the_peer_is_trained_by_its_zoo_settings():
    pytest.importorskip("sb3_contrib")
    outcome = learn_sb3("CartPole-v1", seed=0, steps=2048, episodes=3)
    assert zoo_settings("CartPole-v1")["n_steps"] == 512
    assert outcome.steps.tolist() == [1024, 2048]  # 2 environments
    assert len(outcome.deterministic) == len(outcome.stochastic) == 3
    row = outcome.row()
    assert row["fall"] == outcome.returns.max() - outcome.returns[-1]
    assert row["max_kl"] == row["largest_kl"] == ""


def test_the_peers_kl_is_a_mean_over_the_dimensions_of_an_action():
    """As coming from Stable-Baselines3 says: its target_kl is our δ divided by their number."""
    peer = pytest.importorskip("stable_baselines3.common.distributions")
    old, new = torch.zeros(5, 7), torch.randn(5, 7)
    theirs = peer.kl_divergence(
        *(
            peer.DiagGaussianDistribution(7).proba_distribution(mean, torch.zeros(7))
            for mean in (new, old)
        )
    )
    ours = kl_divergence(*(Independent(Normal(mean, 1), 1) for mean in (old, new)))
    assert torch.allclose(7 * theirs.mean(), ours.mean())


def test_a_run_fell_if_it_lost_more_than_a_fifth_of_its_best_gain():
    row = {"first_return_100": "20", "best_return_100": "120"}
    assert not fell(row | {"fall": "20"})
    assert fell(row | {"fall": "20.1"})


def test_the_interval_is_the_bootstrap_of_the_mean():
    values = np.arange(10.0)
    low, high = (float(bound) for bound in interval(values).strip(" []").split(","))
    generator = np.random.default_rng(1)
    means = generator.choice(values, (20_000, 10)).mean(1)
    assert (low, high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), abs=0.15)
    assert interval(np.array([1.0, 2.0])) == ""


def test_the_summary_keeps_learners_apart():
    row = {
        "environment": "CartPole-v1",
        "learner": "trpo",
        "options": "",
        "steps": "100",
        "deterministic_return": "500",
        "first_return_100": "20",
        "best_return_100": "500",
        "fall": "0",
        "updates": "3",
        "updates_within_limit": "3",
        "max_kl": "0.02",
    }
    peer = row | {"learner": "sb3-contrib", "max_kl": "", "updates_within_limit": ""}
    ours, theirs = summarize([row, peer])
    assert (ours["updates within δ"], theirs["updates within δ"]) == ("3 of 3", "not measured")


def test_the_summary_is_over_the_seeds():
    rows = [
        {
            "environment": "CartPole-v1",
            "learner": "trpo",
            "options": "--gamma 0.9",
            "steps": "1000",
            "deterministic_return": final,
            "first_return_100": "0",
            "best_return_100": "100",
            "fall": fall,
            "updates": "3",
            "updates_within_limit": within,
            "max_kl": "0.02",
        }
        for final, fall, within in zip(
            ("100", "0", "20", "30", "1"), ("5", "21", "40", "0", "20"), "23333", strict=True
        )
    ]
    (shown,) = summarize(rows)
    assert shown["mean"].startswith("30.2 [")
    shown.pop("mean")
    assert shown == {
        "environment": "CartPole-v1",
        "learner": "trpo --gamma 0.9",
        "steps": "1,000",
        "seeds": "5",
        "median": "20.0",
        "interquartile mean": "17.0",
        "range": "0.0 to 100.0",
        "largest fall": "40.0",
        "fell": "2 of 5",
        "updates within δ": "14 of 15",
    }
