"""`trpo audit`: promises that were kept, and each of them broken."""

import shutil
from statistics import median

import numpy as np
import pytest

from tests.processes import SMALL
from trpo.scripts import __main__
from trpo.scripts.audit import outcome
from trpo.scripts.cli.tables import read_rows, write_rows


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of TRPO, annealed, and one of the plain policy gradient."""
    folder = tmp_path_factory.mktemp("runs")
    for name, more in (("trpo", "--anneal-to 0.1"), ("vpg", "")):
        words = f"train CartPole-v1 {SMALL} --algorithm {name} {more} --runs {folder} --name {name}"
        assert __main__.main(words.split()) == 0
    return folder / "CartPole-v1"


def test_a_trust_region_run_keeps_its_promises(runs, capsys):
    assert __main__.main(["audit", str(runs / "trpo")]) == 0
    out = capsys.readouterr().out
    rows = read_rows(runs / "trpo" / "metrics.csv")
    largest = max(
        rows, key=lambda row: float(row["update/mean_kl"]) / float(row["trust_region/max_kl"])
    )
    assert f"{len(rows)} of {len(rows)} updates" in out
    assert f"{float(largest['update/mean_kl']):.6g} nats" in out
    assert f"in update {largest['update']}" in out
    assert f" {median(float(row['update/mean_kl']) for row in rows):.6g} nats" in out
    kl = [float(row["update/statistics_kl"]) for row in rows]
    assert f"median {median(kl):.3g} nats, largest {max(kl):.3g}, in update" in out


def test_the_limit_is_that_of_the_update(runs, tmp_path, capsys):
    """0.02 as the run began, and less from then on."""
    run = shutil.copytree(runs / "trpo", tmp_path / "run")
    rows = read_rows(run / "metrics.csv")
    rows[-1]["update/mean_kl"] = "0.0199"
    write_rows(run / "metrics.csv", rows)
    assert __main__.main(["audit", str(run)]) == 1
    out = capsys.readouterr().out
    assert "KL(old ‖ new) ≤ 0.02 to 0.002 nats" in out
    assert f"; not in {len(rows)}" in out


def test_no_update_may_have_a_larger_limit_than_the_run(runs, tmp_path):
    run = shutil.copytree(runs / "trpo", tmp_path / "run")
    rows = read_rows(run / "metrics.csv")
    rows[0] |= {"update/mean_kl": "0.021", "trust_region/max_kl": "0.03"}
    write_rows(run / "metrics.csv", rows)
    assert __main__.main(["audit", str(run)]) == 1


def test_a_smaller_limit_is_broken(runs, capsys):
    assert __main__.main(["audit", str(runs / "trpo"), "--max-kl", "1e-6"]) == 1
    assert "; not in 1, 2, 3, 4, 5, …" in capsys.readouterr().out


def test_another_algorithm_is_held_against_a_limit_that_is_given(runs, capsys):
    assert __main__.main(["audit", str(runs / "vpg")]) == 2
    assert "is of vpg, which has no δ" in capsys.readouterr().err
    assert __main__.main(["audit", str(runs / "vpg"), "--max-kl", "1e-9"]) == 1


@pytest.mark.parametrize(
    ("column", "value", "promise"),
    [
        ("update/mean_kl", "0.021", "KL"),
        ("update/mean_kl", "nan", "KL"),
        ("update/mean_kl", "inf", "KL"),
        ("update/surrogate_after", "-1e9", "surrogate not worse"),
        ("update/accepted", "0.0", "no refused step kept"),
        ("update", "7", "numbered without a gap"),
    ],
)
def test_each_broken_promise_is_seen(runs, tmp_path, capsys, column, value, promise):
    run = shutil.copytree(runs / "trpo", tmp_path / "run")
    rows = read_rows(run / "metrics.csv")
    rows[2][column] = value
    write_rows(run / "metrics.csv", rows)
    assert __main__.main(["audit", str(run)]) == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "; not in" in line]
    assert line.startswith(promise)
    assert line.endswith("; not in 7" if column == "update" else "; not in 3")


def test_a_refused_step_is_kept_if_parameters_moved_whatever_its_kl(runs, tmp_path, capsys):
    run = shutil.copytree(runs / "trpo", tmp_path / "run")
    rows = read_rows(run / "metrics.csv")
    refused = {"update/accepted": "0.0", "update/mean_kl": "0.0", "update/surrogate_after": "-1e9"}
    rows[2] |= refused
    write_rows(run / "metrics.csv", rows)
    assert __main__.main(["audit", str(run)]) == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "; not in" in line]
    assert line.startswith("no refused step kept")
    rows[2]["update/step_norm"] = "0.0"
    write_rows(run / "metrics.csv", rows)
    assert __main__.main(["audit", str(run)]) == 0
    assert "1 took no step" in capsys.readouterr().out


def test_the_fall_and_a_locked_run_are_told(runs, tmp_path, capsys):
    run = shutil.copytree(runs / "trpo", tmp_path / "run")
    rows = read_rows(run / "metrics.csv")
    assert __main__.main(["audit", str(run)]) == 0
    acted = sum(float(row["trust_region/backtracks"]) > 0 for row in rows)
    out = capsys.readouterr().out
    assert f"in {acted} of {len(rows)} updates; 0 took no step" in out
    assert "locked" in out
    for place, row in enumerate(rows):
        row["episode/return"] = "20.0" if place == 0 else "90.0" if place == 1 else "9.0"
    write_rows(run / "metrics.csv", rows)
    assert __main__.main(["audit", str(run)]) == 0
    out = capsys.readouterr().out
    assert "yes: below its first return" in out
    assert "81.0: best tenth 90.0, last tenth 9.0, first 20.0" in out


def test_a_rule_without_a_line_search_is_told_none(runs, capsys):
    __main__.main(["audit", str(runs / "vpg"), "--max-kl", "1"])
    assert "line search" not in capsys.readouterr().out


def test_the_best_return_is_of_a_tenth_of_the_updates_not_of_a_lucky_one():
    returns = np.full(40, 10.0)
    returns[7] = 100.0
    fall = outcome({"update": np.arange(40.0), "episode/return": returns})["fall from best"]
    assert fall == "22.5: best tenth 32.5, last tenth 10.0, first 10.0"
