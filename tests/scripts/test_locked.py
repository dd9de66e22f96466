"""The study of locked runs: the runs are the grids', by the grids' options, and judged by rule."""

import json

import pytest

from trpo.scripts.cli.options import parse_train_options
from trpo.scripts.cli.options_record import FILE, PLACE, resolved
from trpo.scripts.comparison.collapse import is_locked
from trpo.scripts.comparison.grid import Cell, Grid
from trpo.scripts.comparison.methods import METHODS
from trpo.scripts.comparison.table import Results, read_table
from trpo.scripts.studies import locked


@pytest.mark.parametrize("task", locked.STEPS)
def test_every_locked_run_of_a_grid_goes_on_and_a_control_a_seed(task):
    results = Results(locked.grid_table(task))
    chosen = locked.cells(results, 10)
    mine = {(cell.method, cell.step_size, cell.seed) for cell in chosen}
    for run in results.runs:
        key = run.method, run.step_size, run.seed
        control = key[:2] == ("trpo", 0.6)
        assert (key in mine) == (control or is_locked(run.returns, results.untrained)), key
    assert [cell.seed for cell in chosen] == sorted(cell.seed for cell in chosen)


@pytest.mark.parametrize("task", locked.STEPS)
def test_they_go_on_by_the_grids_options(task, tmp_path):
    record = json.loads((locked.GRIDS / task / FILE).read_text(encoding="utf-8"))
    grid = Grid(task, locked.STEPS[task], locked.PINNED, tmp_path)
    for method, run in record.items():
        now = resolved(parse_train_options(grid.options_of(Cell(method, METHODS[method].usual, 0))))
        then = {name: value for name, value in run["resolved"].items() if name not in PLACE}
        assert {name for name in then if name in now and then[name] != now[name]} == set()
        assert now["learner.policy.distribution"] == "gaussian"  # there was no other
        assert {name for name in then if name not in now} == {"learner.trainer.chunk_size"}


def test_a_study_goes_on_where_it_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(locked, "STEPS", {"CartPole-v1": 2048})
    monkeypatch.setattr(locked, "LONGER", 2)
    found = locked.study(tmp_path, ["CartPole-v1"], 1)
    assert [(row["method"], row["step_size"]) for row in found.rows] == [
        ("trpo", 0.6),
        ("vpg-rmsprop", 0.09),
    ]
    assert "of 1 controls by TRPO" in found.verdicts[0].measured
    path = tmp_path / "CartPole-v1.csv.gz"
    rows = read_table(path)
    assert {row["update"] for row in rows[1:]} == {"1", "2", "3"}  # the last is cut short
    stale = path.stat().st_mtime_ns
    locked.study(tmp_path, ["CartPole-v1"], 1)
    assert read_table(path) == rows
    assert path.stat().st_mtime_ns >= stale


def test_a_run_returned_if_its_last_tenth_is_above_the_untrained_policy():
    rows = [
        {"method": "vpg-sgd", "locked_again": 1, "locked_at_the_end": 0, "returned": returned}
        for returned in (1, *[0] * 9)
    ]
    control = {"method": "trpo", "locked_again": 0, "locked_at_the_end": 0, "returned": 1}
    verdict = locked._verdict("CartPole-v1", [*rows, control])
    assert "1 of 10 (2 to 40 %) returned" in verdict.measured
    assert verdict.holds == "holds"
    rows[1]["returned"] = 1
    assert locked._verdict("CartPole-v1", [*rows, control]).holds == "refuted"
    rows = [{**row, "locked_again": 0} for row in rows]
    assert locked._verdict("CartPole-v1", [*rows, control]).holds == "undecided"
