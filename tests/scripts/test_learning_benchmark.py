"""The learning benchmark: each number is what its name says, and finished cells are kept."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Normal

from tests.helpers import HOME
from trpo.agents.runs import Run
from trpo.divergence import kl_divergence
from trpo.scripts import __main__
from trpo.scripts.benchmarks import learning
from trpo.scripts.benchmarks.learners import learn_sb3, zoo_settings
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
    late = metrics["episode/return"][metrics["steps"] > metrics["steps"][-1] / 2]
    assert float(row["worst_after_half"]) == pytest.approx(np.nanmin(late), rel=1e-5)
    _, *points = read_rows(tmp_path / "curves.csv")
    assert [int(p["steps"]) for p in points] == metrics["steps"].tolist()
    assert np.all(np.diff([float(p["seconds"]) for p in points]) > 0)

    assert __main__.main(words) == 0  # the cell is done: nothing runs again
    assert len(list((tmp_path / "runs" / "CartPole-v1").iterdir())) == 1
    assert "CartPole-v1" in capsys.readouterr().out
    assert (tmp_path / "steps.png").stat().st_size > 0


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
