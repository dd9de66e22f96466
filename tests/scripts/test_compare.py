"""`trpo compare`: a grid on any environment, interrupted and continued, with cells that fail."""

import csv
import gzip
import json
import os
import re
import sys
import time
from pathlib import Path

import pytest

from tests.processes import FORKS
from trpo.scripts import __main__
from trpo.scripts.cli.options import parse_train_options
from trpo.scripts.compare import untrained_return
from trpo.scripts.comparison.grid import Cell, Grid
from trpo.scripts.comparison.methods import METHODS

SMALL = "--options=--batch-size 128 --num-envs 8 --hidden 8 --value.hidden 8"
GRID = [
    "MountainCar-v0",
    "--methods",
    "trpo",
    "vpg-sgd",
    "--step-sizes",
    "1",
    "30",
    "--seeds",
    "2",
    "--steps",
    "500",
    SMALL,
]


def read(out: Path) -> list[dict[str, str]]:
    with gzip.open(out / "updates.csv.gz", "rt", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished grid."""
    out = tmp_path_factory.mktemp("grid")
    assert __main__.main(["compare", *GRID, "--out", str(out)]) == 0
    return out


def test_a_grid_leaves_a_table_a_report_and_figures(whole):
    rows = read(whole)
    cells = {(row["method"], row["step_size"], row["seed"]) for row in rows[1:]}
    sizes = {"trpo": ("0.02", "0.6"), "vpg-sgd": ("1", "30")}
    assert cells == {
        (method, size, seed) for method, both in sizes.items() for size in both for seed in "01"
    }
    assert rows[0]["method"] == "untrained"
    # of 100 episodes: nobody climbs that hill by chance
    assert float(rows[0]["episode_return"]) == -200.0
    run = whole / "runs" / "MountainCar-v0" / "trpo 0.6 seed 1"
    with (run / "metrics.csv").open(newline="", encoding="utf-8") as file:
        theirs = [row["update/mean_kl"] for row in csv.DictReader(file)]
    mine = [
        row["mean_kl"]
        for row in rows
        if (row["method"], row["step_size"], row["seed"]) == ("trpo", "0.6", "1")
    ]
    assert [float(kl) for kl in mine] == pytest.approx([float(kl) for kl in theirs], rel=1e-5)
    for figure in ("kl.png", "curves.png", "robustness.png"):
        assert (whole / figure).read_bytes().startswith(b"\x89PNG")
    assert json.loads((whole / "provenance.json").read_text(encoding="utf-8"))[-1]["seconds"] > 0


def test_the_untrained_policys_return_is_a_mean_of_sampled_actions(tmp_path):
    grid = Grid("CartPole-v1", 500, SMALL.removeprefix("--options="), tmp_path)
    untrained = untrained_return(grid, Cell("trpo", 0.02, 0))
    assert 15 < untrained < 30  # as of random actions; of its most likely ones 33
    assert untrained % 1  # no single episode's


def test_a_grid_that_is_finished_runs_nothing_again(whole, capsys):
    before = (whole / "report.md").read_bytes()
    assert __main__.main(["compare", *GRID, "--out", str(whole)]) == 0
    assert "8 runs, 8 of them finished earlier" in capsys.readouterr().out
    assert (whole / "report.md").read_bytes() == before


def compare(words: list[str]) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(__main__.main(words))


def test_an_interrupted_grid_goes_on_where_it_stopped(whole, tmp_path, capsys):
    process = FORKS.Process(target=compare, args=(["compare", *GRID, "--out", str(tmp_path)],))
    process.start()
    while len(list(tmp_path.glob("runs/*/*/finished.json"))) < 3:
        assert process.is_alive()
        time.sleep(0.01)
    process.terminate()
    process.join(120)
    assert process.exitcode == 143
    finished = len(list(tmp_path.glob("runs/*/*/finished.json")))
    assert 3 <= finished < 8
    assert __main__.main(["compare", *GRID, "--out", str(tmp_path)]) == 0
    assert f"8 runs, {finished} of them finished earlier" in capsys.readouterr().out
    assert read(tmp_path) == read(whole)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000])
def test_a_damaged_grid_is_named(text, whole, tmp_path, capsys):
    (tmp_path / "grid.json").write_text(text, encoding="utf-8")
    assert __main__.main(["compare", *GRID, "--out", str(tmp_path)]) == 2
    assert "grid.json cannot be read: " in capsys.readouterr().err


def test_a_cell_that_fails_leaves_the_others(whole, tmp_path, capsys):
    bad = tmp_path / "runs" / "MountainCar-v0" / "trpo 0.02 seed 0"
    bad.parent.mkdir(parents=True)
    bad.touch()  # where its folder should go
    assert __main__.main(["compare", *GRID, "--out", str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert "trpo 0.02 seed 0: FAILED with exit code 2" in said.out
    assert "trpo: failed: trpo 0.02 seed 0; the same command tries it again" in said.err
    bad.unlink()
    assert __main__.main(["compare", *GRID, "--out", str(tmp_path)]) == 0
    assert "8 runs, 7 of them finished earlier" in capsys.readouterr().out
    assert read(tmp_path) == read(whole)


def test_a_run_that_training_stopped_is_an_outcome(tmp_path, capsys):
    words = [
        "compare",
        "Pendulum-v1",
        "--methods",
        "vpg-sgd",
        "--step-sizes",
        "1e35",
        "--seeds",
        "1",
        "--steps",
        "4000",
        SMALL,
    ]
    assert __main__.main([*words, "--out", str(tmp_path)]) == 0
    assert "1e+35 seed 0: " in (out := capsys.readouterr().out)
    assert ", stopped;" in out
    assert {row["status"] for row in read(tmp_path)[1:]} == {"NON_FINITE"}


def test_runs_that_an_environment_stops_failed(tmp_path, capsys):
    words = [
        "compare",
        "tests.environments:TestRaises-v0",
        "--methods",
        "trpo",
        "--step-sizes",
        "1",
        "--seeds",
        "1",
    ]
    assert __main__.main([*words, "--out", str(tmp_path)]) == 1
    assert "trpo 0.02 seed 0: FAILED with exit code 1" in capsys.readouterr().out
    assert not (tmp_path / "updates.csv.gz").exists()


BAD_INPUT = {
    "method": (
        ["CartPole-v1", "--methods", "ppoo"],
        "methods: unknown method 'ppoo': expected trpo, .*; did you mean ppo?",
    ),
    "environment": (["CartPole-v9"], "unknown environment 'CartPole-v9'"),
    "step size": (
        ["CartPole-v1", "--step-sizes", "0"],
        r"step_sizes = \(0.0,\) is out of range: expected numbers > 0",
    ),
    "seeds": (["CartPole-v1", "--seeds", "0"], "seeds = 0 is out of range"),
    "quotes": (
        ["CartPole-v1", "--options='"],
        'options = "\'" cannot be read: No closing quotation',
    ),
    "environments": (
        ["CartPole-v1", "--options=--num-envs 7"],
        "batch_size = 2048 is not a multiple of num_envs = 7",
    ),
    "options": (["CartPole-v1", "--options=--max-kll 1"], "Unrecognized options.*--max-kll"),
}


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input_is_told_in_one_line(name, tmp_path, capsys):
    words, message = BAD_INPUT[name]
    assert __main__.main(["compare", *words, "--out", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err.strip()
    assert len(err.splitlines()) == 1
    assert re.search(message, err), err
    assert not (tmp_path / "out").exists()


def test_a_folder_of_another_grid_is_refused(whole, capsys):
    assert __main__.main(["compare", "Acrobot-v1", *GRID[1:], "--out", str(whole)]) == 2
    assert "holds a grid with env = 'MountainCar-v0', not 'Acrobot-v1'" in capsys.readouterr().err


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_options_of_training(name):
    method = METHODS[name]
    options = parse_train_options([
        "CartPole-v1",
        *method.options.split(),
        method.step_option,
        "0.0625",
    ])
    settings = getattr(options.learner, options.learner.algorithm)
    assert 0.0625 in vars(settings).values()
    assert name.startswith(options.learner.algorithm)
