"""`trpo exercise`: what students get, and that their files do nothing to the checker."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trpo.scripts import __main__
from trpo.scripts.exercises.check import check
from trpo.scripts.exercises.probes import FUNCTIONS

SOLUTION = (Path(__file__).parent / "solution.py").read_text(encoding="utf-8")
HOME = Path(__file__).resolve().parents[2]


def says(tmp_path, text, functions=FUNCTIONS, time_limit=20.0):
    (tmp_path / "exercise.py").write_text(text, encoding="utf-8")
    results = check(tmp_path, functions, time_limit)
    assert [result.function for result in results] == list(functions)
    assert all("\n" not in result.says for result in results)
    return {result.function: result.says for result in results}


@pytest.fixture
def handed_out(tmp_path):
    folder = tmp_path / "lab"
    assert __main__.main(["exercise", "new", str(folder)]) == 0
    return folder


def test_a_fresh_exercise_says_that_nothing_is_written(handed_out, capsys):
    assert __main__.main(["exercise", "check", str(handed_out)]) == 1
    printed = capsys.readouterr().out
    assert printed.count("is not written yet") == 6
    assert "0 of 60" in printed


def test_no_solution_is_handed_out(handed_out):
    text = (handed_out / "exercise.py").read_text(encoding="utf-8")
    assert text.count("raise NotImplementedError\n") == 6
    assert {path.name for path in handed_out.iterdir()} == {
        "LAB.md",
        "answers.json",
        "exercise.py",
        "test_exercise.py",
    }


def test_a_file_that_is_there_is_not_overwritten(handed_out, capsys):
    (handed_out / "exercise.py").write_text("mine", encoding="utf-8")
    assert __main__.main(["exercise", "new", str(handed_out)]) == 2
    assert "exercise.py exists" in capsys.readouterr().err
    assert (handed_out / "exercise.py").read_text(encoding="utf-8") == "mine"


def test_a_right_solution_passes_within_a_minute(tmp_path, capsys):
    (tmp_path / "exercise.py").write_text(SOLUTION, encoding="utf-8")
    began = time.monotonic()
    files = ["--json", str(tmp_path / "marks.json"), "--gradescope", str(tmp_path / "results.json")]
    assert __main__.main(["exercise", "check", str(tmp_path), *files]) == 0
    assert time.monotonic() - began < 60
    assert "60 of 60" in capsys.readouterr().out
    marks = json.loads((tmp_path / "marks.json").read_text(encoding="utf-8"))
    assert marks["marks"] == 60
    assert all(function["right"] for function in marks["functions"])
    tests = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["tests"]
    assert [test["name"] for test in tests] == list(FUNCTIONS)
    assert all(test["score"] == test["max_score"] == 10 for test in tests)


def test_part_of_the_marks_for_part_of_the_cases(tmp_path):
    text = SOLUTION.replace("values[t + 1] * ~terminated[t]", "values[t + 1] * ~done[t]")
    (tmp_path / "exercise.py").write_text(text, encoding="utf-8")
    (result,) = check(tmp_path, ["gae"])
    assert result.mistake == "truncation-as-termination"
    assert 0 < result.marks < 10
    assert result.cases["no episode ends"]
    assert not result.cases["an episode is truncated"]


def test_what_hangs_dies_or_exits_costs_its_own_function_alone(tmp_path):
    text = SOLUTION
    for function, first in {
        "gae": "while True: pass",
        "surrogate": "import os; os.abort()",
        "conjugate_gradient": "import sys; sys.exit(0)",
        "full_step": "1 / 0",
        "line_search": "import os; os._exit(3)",
    }.items():
        text = text.replace(f"def {function}(", f"def {function}(*_):\n    {first}\ndef old(")
    said = says(tmp_path, text, time_limit=3.0)
    line = text.splitlines().index("    1 / 0") + 1
    assert said == {
        "gae": "takes longer than 3 s: an endless loop?",
        "surrogate": "the process was ended by signal 6",
        "fisher_vector_product": "right",
        "conjugate_gradient": "calls exit()",
        "full_step": f"raises ZeroDivisionError (line {line}): division by zero",
        "line_search": "the process ended with exit code 3",
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import nothing_of_that_name", "raises ModuleNotFoundError (line 1): No module named"),
        ("def gae(:", "raises SyntaxError"),
        ("import sys\nsys.exit()", "calls exit()"),
        ("import os\nos._exit(0)", "the process ended with exit code 0"),
        ("while True: pass", "takes longer than 3 s: an endless loop?"),
    ],
)
def test_a_file_that_cannot_be_imported_is_told_for_every_function(tmp_path, text, expected):
    said = says(tmp_path, text, time_limit=3.0)
    assert all(line.startswith(f"importing exercise.py: {expected}") for line in said.values())


def test_prints_harm_nothing_and_are_shown_if_asked_for(tmp_path, capfd):
    text = 'print("{}")\n' + SOLUTION.replace(
        "advantages = torch.zeros_like(rewards)",
        'print("a\\nb"); advantages = torch.zeros_like(rewards)',
    )
    assert says(tmp_path, text, ["gae"]) == {"gae": "right"}
    assert capfd.readouterr() == ("", "")
    check(tmp_path, ["gae"], show_prints=True)
    assert "a\nb" in capfd.readouterr().err


def test_a_missing_function_is_told(tmp_path):
    assert says(tmp_path, "", ["gae"]) == {"gae": "is not in exercise.py"}


def test_its_own_other_files_may_be_imported(tmp_path):
    (tmp_path / "help_of_mine.py").write_text(SOLUTION, encoding="utf-8")
    assert says(tmp_path, "from help_of_mine import gae", ["gae"]) == {"gae": "right"}


def test_pytest_in_the_folder_has_a_test_a_function(handed_out):
    text = SOLUTION.replace("2 * max_kl / quadratic", "max_kl / quadratic")
    (handed_out / "exercise.py").write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(handed_out)]
    utf8 = os.environ | {"PYTHONUTF8": "1"}  # else pytest spells out what its locale lacks
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", check=False, cwd=HOME, env=utf8
    )
    assert "1 failed, 5 passed" in done.stdout
    assert "your step is 1/√2 of the right one" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["check", "nowhere"], "nowhere has no exercise.py: trpo exercise new nowhere"),
        (["chek", "."], "unknown exercise command 'chek': expected new, check, quiz"),
        (["check", ".", "--time-limit", "0"], "time_limit = 0.0 is out of range"),
    ],
)
def test_bad_input_is_told_in_one_line(words, message, capsys):
    assert __main__.main(["exercise", *words]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert len(said.splitlines()) == 1
