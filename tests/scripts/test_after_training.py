"""What a user looks at after training: the list of runs, and curves of several of them."""

import fcntl
import multiprocessing
import os
import shutil
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

from trpo.agents.runs import Run
from trpo.agents.storage.files import read_file
from trpo.scripts import __main__
from trpo.scripts.cli.curves import Curve, by_method, draw_curves, read_curves, running_mean
from trpo.scripts.cli.figures import run_figure
from trpo.scripts.cli.tables import read_rows, write_rows
from trpo.scripts.runs import age

SMALL = ["--total-steps=1000", "--batch-size=256", "--num-envs=8", "--hidden=8", "--threads=1"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """Two seeds of one method, and one of another."""
    runs = tmp_path_factory.mktemp("runs")
    for name, *words in (("a0",), ("a1", "--seed=1"), ("b0", "--max-kl=0.01", "--eval-every=500")):
        place = ["--runs", str(runs), "--name", name]
        assert __main__.main(["train", "CartPole-v1", *SMALL, *words, *place]) == 0
    return runs


def lock_until_told(path: Path, locked, end) -> None:
    with path.open("r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        locked.set()
        end.wait()


def test_runs_are_listed_with_their_state(runs, tmp_path, capsys):
    shutil.copytree(runs, tmp_path / "runs")
    folder = tmp_path / "runs" / "CartPole-v1"
    table = (folder / "a1" / "metrics.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "a1" / "metrics.csv").write_text("".join(table[:3]), encoding="utf-8")
    (folder / "b0" / "config.json").write_text("{", encoding="utf-8")
    locked, end = multiprocessing.Event(), multiprocessing.Event()
    other = multiprocessing.get_context("fork").Process(
        target=lock_until_told, args=(folder / "a0" / "lock", locked, end)
    )
    other.start()
    locked.wait()
    assert __main__.main(["runs", "--runs", str(tmp_path / "runs")]) == 0
    end.set()
    other.join()
    names, *lines = capsys.readouterr().out.splitlines()
    assert names.split() == ["run", "environment", "steps", "return", "state", "age"]
    rows = {line.split()[0]: line.split() for line in lines}
    assert "training" in rows["CartPole-v1/a0"]
    assert "stopped" in rows["CartPole-v1/a1"]
    assert "damaged" in rows["CartPole-v1/b0"]
    steps = Run.open(runs / "CartPole-v1" / "a1").records()[1].steps
    assert rows["CartPole-v1/a1"][2:5] == [f"{steps:,}", "of", "1,000"]
    assert __main__.main(["runs", "/a?", "--runs", str(runs)]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert len(lines) == 2
    assert all("finished" in line for line in lines)
    assert __main__.main(["runs", "nothing", "--runs", str(runs)]) == 2
    assert "holds no run whose name holds 'nothing'" in capsys.readouterr().err


def test_committed_results_are_listed_only_where_they_are_asked_for(runs, tmp_path, capsys):
    shutil.copytree(runs / "CartPole-v1" / "a0", tmp_path / "CartPole-v1" / "mine")
    shutil.copytree(runs / "CartPole-v1" / "b0", tmp_path / "reference" / "learning" / "run")
    for folder, name in ((tmp_path, "CartPole-v1/mine"), (tmp_path / "reference", "learning/run")):
        assert __main__.main(["runs", "--runs", str(folder)]) == 0
        (line,) = capsys.readouterr().out.splitlines()[1:]
        assert line.split()[0] == name


def test_the_latest_run_is_last_with_its_last_evaluation_or_episodes(runs, tmp_path, capsys):
    shutil.copytree(runs, tmp_path / "runs")
    folder = tmp_path / "runs" / "CartPole-v1"
    for days, name in enumerate(("a1", "b0", "a0")):
        for path in (folder / name).iterdir():
            os.utime(path, times=(time.time() - 86_400.5 * days,) * 2)
    assert __main__.main(["runs", "--runs", str(tmp_path / "runs")]) == 0
    listed = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert [row[0].rpartition("/")[2] for row in listed] == ["a0", "b0", "a1"]
    for row in listed:
        metrics = Run.open(folder.parent / row[0]).metrics()
        metric = "evaluation/return" if row[0].endswith("b0") else "episode/return_100"
        known = metrics[metric][~np.isnan(metrics[metric])]
        assert row[5] == f"{known[-1]:,.1f}"
    assert [row[-2:] for row in listed[:2]] == [["2", "days"], ["1", "days"]]


def test_ages_are_in_the_largest_unit():
    assert [age(s) for s in (0, 59, 60, 3599, 3600, 86_399)] == [
        "0 s",
        "59 s",
        "1 min",
        "59 min",
        "1 h",
        "23 h",
    ]


def test_a_run_that_reached_its_return_is_listed_as_finished(tmp_path, capsys):
    words = ["train", "CartPole-v1", *SMALL, "--eval-every=1", "--stop-return=1", "--name=x"]
    assert __main__.main([*words, "--quiet", "--runs", str(tmp_path)]) == 0
    assert __main__.main(["runs", "--runs", str(tmp_path)]) == 0
    assert " finished " in capsys.readouterr().out


def test_runs_are_listed_by_their_names_whatever_these_hold(runs, tmp_path, capsys):
    for name in ("lr[big]", "lr[bold]", "lr["):
        shutil.copytree(runs / "CartPole-v1" / "a0", tmp_path / name)
    assert __main__.main(["runs", "--runs", str(tmp_path)]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]]
    assert sorted(listed) == ["lr[", "lr[big]", "lr[bold]"]


def test_runs_that_differ_by_seed_alone_are_one_method(runs):
    opened = [Run.open(folder) for folder in sorted((runs / "CartPole-v1").iterdir())]
    groups = by_method(opened)
    names = [[run.folder.name for run in group] for group in groups.values()]
    assert names == [["a0", "a1"], ["b0"]]
    assert list(groups) == ["eval_every = 0, max_kl = 0.02", "eval_every = 500, max_kl = 0.01"]
    assert list(by_method(opened[:2])) == ["CartPole-v1"]


def test_curves_are_the_tables_numbers(runs):
    run = Run.open(runs / "CartPole-v1" / "b0")
    records = run.records()
    curve = read_curves([run], "update/mean_kl", "steps", 1)[run]
    assert curve.x.tolist() == [record.steps for record in records]
    assert curve.y == pytest.approx([record.metrics["update/mean_kl"] for record in records])
    seconds = read_curves([run], "evaluation/return", "seconds", 1)[run].x
    timed = np.cumsum([record.metrics["time/seconds"] for record in records])
    evaluated = ["evaluation/return" in record.metrics for record in records]
    assert seconds == pytest.approx(timed[evaluated])
    assert running_mean(np.array([1.0, 2, 3, 6]), 3) == pytest.approx([1, 1.5, 2, 11 / 3])


def test_runs_without_steps_in_common_are_a_line_each():
    figure, axes = plt.subplots()
    x = np.array([1.0, 2.0, 3.0])
    draw_curves(axes, {"a": [Curve(x, x), Curve(x + 10, x)]})
    assert [line.get_xdata().tolist() for line in axes.lines] == [x.tolist(), (x + 10).tolist()]
    assert axes.get_legend_handles_labels()[1] == ["a"]
    plt.close(figure)


def test_a_band_is_from_the_least_to_the_most_around_the_mean():
    figure, axes = plt.subplots()
    x = np.array([0.0, 10.0])
    draw_curves(axes, {"a": [Curve(x, x + y) for y in (0, 1, 5)]})
    (line,), (band,) = axes.lines, axes.collections
    np.testing.assert_allclose(line.get_ydata(), line.get_xdata() + 2)
    above = band.get_paths()[0].vertices
    assert {*np.round(above[:, 1] - above[:, 0], 9)} == {0, 5}
    plt.close(figure)


def test_a_runs_figure_is_its_return_and_its_kl_against_the_limit(runs, tmp_path):
    run = shutil.copytree(runs / "CartPole-v1" / "b0", tmp_path / "run")
    rows = read_rows(run / "metrics.csv")
    rows[1]["update/mean_kl"] = "0.02"  # above its δ, 0.01
    write_rows(run / "metrics.csv", rows)
    figure = run_figure(Run.open(run))
    columns = Run.open(run).metrics()
    learning, trust = figure.axes
    for axes, name, number in (
        (learning, "episode/return_100", 0),
        (trust, "update/max_state_kl", 0),
        (trust, "update/mean_kl", 1),
        (trust, "trust_region/max_kl", 2),
    ):
        drawn = axes.lines[number].get_xydata().T
        np.testing.assert_array_equal(drawn, [columns["steps"], columns[name]])
    assert trust.get_title() == f"mean KL ≤ δ in {len(rows) - 1} of {len(rows)} updates"
    plt.close(figure)


def test_a_table_is_read_once(runs, tmp_path, monkeypatch):
    """A run that is being trained may have other rows a moment later."""
    read: list[Path] = []

    def watched(path: Path) -> bytes:
        read.append(path)
        return read_file(path)

    monkeypatch.setattr("trpo.agents.runs.metrics_table.read_file", watched)
    folders = [runs / "CartPole-v1" / name for name in ("a0", "b0")]
    assert __main__.main(["plot", *map(str, folders), f"--out={tmp_path / 'curves.png'}"]) == 0
    assert read == [folder / "metrics.csv" for folder in folders]


def test_several_runs_are_drawn(runs, tmp_path, capsys):
    folders = [str(folder) for folder in sorted((runs / "CartPole-v1").iterdir())]
    out = tmp_path / "curves.svg"
    words = ["--metric", "episode/return", "--over", "seconds", "--smooth", "2", "--out", str(out)]
    assert __main__.main(["plot", *folders, *words]) == 0
    svg = out.read_text(encoding="utf-8")
    assert all(f"<!-- {word} -->" in svg for word in ("seconds of training", "CartPole-v1"))
    assert "<!-- episode/return, mean of 2 updates -->" in svg
    for words, said in (
        (
            ["--metric", "episode/returns"],
            "unknown metric 'episode/returns'; did you mean",
        ),
        (["--metric", "policy/std"], "has no policy/std yet"),
        (["--smooth", "0"], "smooth = 0 is out of range: expected an integer ≥ 1"),
    ):
        assert __main__.main(["plot", *folders, *words, "--out", str(out)]) == 2
        assert said in capsys.readouterr().err
    assert __main__.main(["plot", *folders, "--out", "/nowhere/x.png"]) == 2
    assert capsys.readouterr().err == (
        "trpo: cannot write /nowhere/x.png: No such file or directory\n"
    )


def test_runs_without_a_value_are_left_out(runs, tmp_path, capsys):
    folders = [str(runs / "CartPole-v1" / name) for name in ("a0", "b0")]
    out = tmp_path / "curves.png"
    words = ["--metric", "evaluation/return", "--out", str(out)]
    assert __main__.main(["plot", *folders, *words]) == 0
    assert out.exists()
    assert capsys.readouterr().err == f"left out, without evaluation/return: {folders[0]}\n"
    assert __main__.main(["plot", folders[0], *words]) == 2
    assert "a0 has no evaluation/return yet" in capsys.readouterr().err


def test_files_beside_runs_are_not_plotted(runs, tmp_path, capsys):
    folders = [str(folder) for folder in sorted((runs / "CartPole-v1").iterdir())]
    figures = []
    file = tmp_path / "seeds.png"  # as --seeds leaves it beside its runs
    file.touch()
    for beside in ([], [str(file)]):
        out = tmp_path / f"curves{len(beside)}.png"
        assert __main__.main(["plot", *beside, *folders, "--out", str(out)]) == 0
        figures.append(out.read_bytes())
    assert figures[0] == figures[1]
    assert __main__.main(["plot", str(file), folders[0]]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"{folders[0]}/figure.png"
    assert __main__.main(["plot", str(file)]) == 2
    assert "seeds.png is a file: expected folders of runs" in capsys.readouterr().err
    assert __main__.main(["plot", "a" * 300]) == 2  # no path that the system takes
