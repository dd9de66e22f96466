"""`trpo train --exercise`: right, wrong and broken exercises."""

import os
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from tests.exercises import solution
from tests.processes import FORKS
from trpo.agents.updates.trpo import Trpo, TrpoConfig
from trpo.report import Status
from trpo.scripts import __main__
from trpo.scripts.exercises import student
from trpo.scripts.exercises.student import StudentStep

SOLUTION = (Path(__file__).parent / "solution.py").read_text(encoding="utf-8")


def train(tmp_path, text, more=""):
    (tmp_path / "exercise.py").write_text(text, encoding="utf-8")
    words = "train CartPole-v1 --batch-size 512 --num-envs 8 --total-steps 2048 --name mine"
    folders = ["--exercise", str(tmp_path), "--runs", str(tmp_path)]
    return __main__.main([*words.split(), *more.split(), *folders])


def test_a_right_exercise_trains_and_passes_the_audit(tmp_path):
    assert train(tmp_path, SOLUTION, "--anneal-to 0.1") == 0
    assert __main__.main(["audit", str(tmp_path / "CartPole-v1" / "mine")]) == 0


def test_a_resumed_run_goes_on_with_the_exercise(tmp_path, capsys):
    text = SOLUTION.replace("kl <= max_kl and surrogate() > before", "True")
    assert train(tmp_path, text.replace("2 * max_kl / quadratic", "200 * max_kl / quadratic")) == 0
    run = tmp_path / "CartPole-v1" / "mine"
    resume = ["resume", str(run), "--total-steps", "4096"]
    assert __main__.main(resume) == 2
    assert f"{run}/exercise.py would be imported, and run" in capsys.readouterr().err
    assert __main__.main([*resume, "--trust"]) == 0
    assert __main__.main(["audit", str(run)]) == 1
    assert "0 of 9 updates" in capsys.readouterr().out


def test_an_exercise_that_checks_no_kl_fails_the_audit(tmp_path, capsys):
    text = SOLUTION.replace("kl <= max_kl and surrogate() > before", "True")
    text = text.replace("2 * max_kl / quadratic", "200 * max_kl / quadratic")
    assert train(tmp_path, text) == 0
    assert __main__.main(["audit", str(tmp_path / "CartPole-v1" / "mine")]) == 1
    assert "not in 1, 2" in capsys.readouterr().out


@pytest.mark.parametrize("function", ["gae", "surrogate", "fisher_vector_product", "line_search"])
def test_an_error_in_the_exercise_is_told_in_one_line(tmp_path, capsys, function):
    text = SOLUTION.replace(f"def {function}(", f"def {function}(*_):\n    1 / 0\ndef old(")
    assert train(tmp_path, text) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    number = text.splitlines().index("    1 / 0") + 1
    assert line.endswith(f"exercise.py raises ZeroDivisionError (line {number}): division by zero")


def test_a_run_goes_on_with_the_exercise_that_it_was_started_with(tmp_path, capsys):
    assert train(tmp_path, SOLUTION, "--resume") == 0
    assert train(tmp_path, SOLUTION, "--resume") == 0
    assert "is finished" in capsys.readouterr().out
    assert train(tmp_path, SOLUTION + "\n", "--resume") == 2
    assert "was started with another exercise.py" in capsys.readouterr().err


def test_a_run_killed_as_it_is_made_begins_with_its_exercise(tmp_path, monkeypatch, capsys):
    run = tmp_path / "CartPole-v1" / "mine"
    with monkeypatch.context() as killed:
        killed.setattr("trpo.agents.runs.run.write_config", lambda folder, config: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train(tmp_path, SOLUTION, "--resume")
    assert (run / "exercise.py").read_text(encoding="utf-8") == SOLUTION
    words = f"train CartPole-v1 --name mine --resume --runs {tmp_path}"
    assert __main__.main(words.split()) == 2
    said = f"trpo: {run}/exercise.py is there: add --exercise, or choose another --name\n"
    assert capsys.readouterr().err == said
    assert train(tmp_path, SOLUTION, "--resume") == 0


def train_hurriedly(tmp_path, text, err):
    """Train in this process, with little patience, and exit with its code."""
    student.TIME_LIMIT = 3.0
    os.dup2(os.open(err, os.O_WRONLY | os.O_CREAT), 2)
    sys.exit(train(tmp_path, text))


@pytest.mark.parametrize("function", ["gae", "line_search"])
def test_an_exercise_that_loops_ends_the_run_in_one_line(tmp_path, function):
    text = SOLUTION.replace(f"def {function}(", f"def {function}(*_):\n    while True: 1\ndef old(")
    err = tmp_path / "err"
    process = FORKS.Process(target=train_hurriedly, args=(tmp_path, text, str(err)))
    process.start()
    process.join(60)
    assert process.exitcode == 1
    said = f"trpo: {tmp_path}/exercise.py gave no answer within 3 s, in update 1\n"
    assert err.read_text(encoding="utf-8") == said


@pytest.mark.parametrize(
    ("text", "more", "message"),
    [
        ("import nothing_like_it", "", "raises ModuleNotFoundError (line 1)"),
        (SOLUTION, "--algorithm vpg", "algorithm = 'vpg' is out of range: expected trpo"),
    ],
)
def test_what_cannot_be_used_leaves_no_run_behind(tmp_path, capsys, text, more, message):
    assert train(tmp_path, text, more) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line
    assert not (tmp_path / "CartPole-v1").exists()


@pytest.mark.parametrize("space", ["box", "discrete", "multidiscrete", "multibinary"])
def test_a_right_exercise_steps_as_the_package_does(problem_of, space):
    from tests.helpers import ACTION_SPACES

    ours, theirs = (problem_of(ACTION_SPACES[space], (5,), size=60) for _ in range(2))
    config = TrpoConfig(cg_iterations=5)
    generator = torch.Generator()
    report = Trpo(ours.policy, config, 1000)(ours.batch, generator)
    by_student = StudentStep(theirs.policy, config, 1000, solution, Path(), nullcontext())(
        theirs.batch, generator
    )
    assert report.status is by_student.status is Status.ACCEPTED
    for one, other in zip(ours.policy.parameters(), theirs.policy.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)
    assert by_student.mean_kl == pytest.approx(report.mean_kl)
