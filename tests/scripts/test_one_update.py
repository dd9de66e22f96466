"""The one-update study: its driver goes on where it stopped, and its verdicts follow from rows."""

import csv
import gzip
import json
from pathlib import Path
from statistics import fmean, median

import pytest

from trpo.scripts.studies import one_update
from trpo.scripts.studies.one_update import CONTROL, Fork
from trpo.scripts.studies.one_update_findings import findings, read

REFERENCE = Path(__file__).resolve().parents[2] / "runs" / "reference" / "studies" / "one-update"


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(one_update, "UPDATES", {"CartPole-v1": 2})
    monkeypatch.setattr(one_update, "EPISODES", 4)
    forks = [Fork(CONTROL), Fork("trpo", 0.02), Fork("vpg-sgd", 0.2)]
    monkeypatch.setattr(one_update, "FORKS", forks)


@pytest.mark.usefixtures("short")
def test_an_interrupted_study_goes_on_to_the_same_table(tmp_path):
    one_update.measure(tmp_path, ["CartPole-v1"], 1)
    path = tmp_path / "results.csv"
    whole = path.read_text(encoding="utf-8")
    assert [row["rule"] for row in rows_of(path)] == [CONTROL, "trpo", "vpg-sgd"]
    path.write_text(
        "".join(whole.splitlines(keepends=True)[:-1]), encoding="utf-8"
    )  # the last fork was cut off
    one_update.measure(tmp_path, ["CartPole-v1"], 1)
    assert path.read_text(encoding="utf-8") == whole
    one_update.measure(tmp_path, ["CartPole-v1"], 1)
    assert path.read_text(encoding="utf-8") == whole


@pytest.mark.usefixtures("short")
def test_forks_share_a_batch_and_move_as_far_as_was_asked(tmp_path):
    one_update.measure(tmp_path, ["CartPole-v1"], 1)
    control, trust_region, gradient = rows_of(tmp_path / "results.csv")
    assert float(control["kl"]) == 0
    assert control["left"] == control["trained"]
    assert 0 < float(trust_region["kl"]) <= 0.02
    assert float(gradient["kl"]) == pytest.approx(0.2, rel=0.3)  # KL is quadratic up to there
    resolved = json.loads((tmp_path / "options.json").read_text(encoding="utf-8"))[
        "CartPole-v1 trpo"
    ]["resolved"]
    assert resolved["environment.num_envs"] == 32
    assert resolved["learner.trpo.max_kl"] == 0.02


def test_every_fork_of_every_seed_is_kept():
    rows = rows_of(REFERENCE / "results.csv")
    keys = [(row["task"], row["seed"], row["rule"], float(row["asked"])) for row in rows]
    assert len(set(keys)) == len(keys)
    runs = {key[:2] for key in keys}
    assert len(keys) == len(runs) * len(one_update.FORKS)
    with gzip.open(REFERENCE / "updates.csv.gz", "rt", encoding="utf-8") as file:
        curves = {
            (r["task"], r["seed"], r["rule"], float(r["asked"])) for r in csv.DictReader(file)
        }
    assert set(keys) <= curves
    assert all(row["commit"] and not row["commit"].endswith("dirty") for row in rows)


def test_the_verdicts_follow_from_the_table():
    kept = rows_of(REFERENCE / "verdicts.csv")
    again = findings(REFERENCE).verdicts
    assert [(row["says"], row["measured"], row["holds"]) for row in kept] == [
        (verdict.says, verdict.measured, verdict.holds) for verdict in again
    ]


def test_the_strong_claim_by_plain_loops():
    words = {row["says"]: row["measured"] for row in rows_of(REFERENCE / "verdicts.csv")}
    said = words["a large update is dearer than learning anew"]
    rows = rows_of(REFERENCE / "results.csv")
    for task in {row["task"] for row in rows}:
        shares = []
        for seed in {row["seed"] for row in rows if row["task"] == task}:
            mine = [row for row in rows if (row["task"], row["seed"]) == (task, seed)]
            start, gained = float(mine[0]["untrained"]), float(mine[0]["trained"])
            large = [
                (float(row["recovered"]) - start) / (gained - start)
                for row in mine
                if float(row["kl"]) >= 30
            ]
            if large:
                shares.append(fmean(large))
        if f"left out, as θ had not learned: {task}" not in said:
            below = sum(share < 1 for share in shares)
            middle = sorted(shares)[len(shares) // 2]
            assert f"{middle:.3g} (" in said
            assert f"below 1 in {below} of {len(shares)}" in said
    assert median(len(seed.rows) for seed in read(REFERENCE)) == len(one_update.FORKS)
