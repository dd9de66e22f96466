"""What a user sees and decides as a run trains: lines, silence, an end at a return."""

import pytest

from trpo.agents.runs import Run
from trpo.scripts import __main__

SMALL = ["--batch-size=256", "--num-envs=8", "--hidden=8", "--checkpoint-interval=2", "--threads=1"]


def train(runs, *words: str) -> int:
    return __main__.main(["train", "CartPole-v1", *SMALL, "--runs", str(runs), *words])


def test_progress_in_a_file_is_a_table_of_80_columns(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # as some schedulers set it, whatever the output is
    end = ["--total-steps", "1000", "--eval-every", "500"]
    assert train(tmp_path, "--name", "x", *end) == 0
    table, _, _ = capsys.readouterr().out.partition("return, last evaluation")
    title, names, *lines = table.splitlines()
    assert title == "TRPO on CartPole-v1: 1,000 steps, KL(old ‖ new) ≤ 0.02 nats"
    assert names.split() == ["steps", "return", "evaluation", "KL", "update", "steps/s", "left"]
    assert lines
    assert all(len(line) == len(names) <= 80 and line.isprintable() for line in lines)


def test_quiet_prints_the_runs_folder_alone(tmp_path, capsys):
    assert train(tmp_path, "--name", "x", "--total-steps", "600", "--quiet") == 0
    folder = tmp_path / "CartPole-v1" / "x"
    assert capsys.readouterr().out == f"{folder}\n"
    assert __main__.main(["resume", str(folder), "--total-steps", "1000", "--quiet"]) == 0
    assert capsys.readouterr().out == f"{folder}\n"


def test_a_run_that_goes_on_shows_its_last_evaluation(tmp_path, capsys):
    assert train(tmp_path, "--name", "x", "--total-steps", "1000", "--eval-every", "900") == 0
    said = "return, last evaluation"
    (before,) = [each for each in capsys.readouterr().out.splitlines() if each.startswith(said)]
    folder = tmp_path / "CartPole-v1" / "x"
    assert __main__.main(["resume", str(folder), "--total-steps", "1500"]) == 0
    (after,) = [each for each in capsys.readouterr().out.splitlines() if each.startswith(said)]
    assert after.split() == before.split()


def test_a_run_that_reached_its_return_is_finished_until_more_is_asked_of_it(tmp_path, capsys):
    words = ["--name", "x", "--total-steps", "3000", "--eval-every", "1", "--stop-return", "9"]
    assert train(tmp_path, *words) == 0
    run = Run.open(tmp_path / "CartPole-v1" / "x")
    steps = run.records()[-1].steps
    assert steps < 3000
    assert train(tmp_path, *words, "--resume") == 0
    assert f"is finished: it took {steps:,} steps, and its last evaluation's return was" in (
        capsys.readouterr().out
    )
    assert __main__.main(["resume", str(run.folder)]) == 2
    assert "give a larger --total-steps or --stop-return" in capsys.readouterr().err
    assert __main__.main(["resume", str(run.folder), "--stop-return", "inf"]) == 0
    assert run.records()[-1].steps >= 3000
    assert "interrupted" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--stop-return", "9"],
            "stop_return = 9.0 needs evaluations: eval_every ≥ 1 (--eval-every)\n",
        ),
        (["--eval-every", "-1"], "eval_every = -1 is out of range: expected an integer ≥ 0"),
    ],
)
def test_bad_ends_are_told(words, said, tmp_path, capsys):
    assert train(tmp_path, *words) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
