"""What the lab's pages name exists, and each question's answer is measured."""

import json
import re
from pathlib import Path

import pytest

from trpo.scripts import __main__
from trpo.scripts.exercises.quiz import QUESTIONS, as_markdown

HOME = Path(__file__).resolve().parents[2]
PAGES = [
    HOME / "scripts" / "exercises" / "LAB.md",
    HOME / "scripts" / "exercises" / "README.md",
    HOME / "scripts" / "examples" / "README.md",
    HOME / "trpo" / "DERIVATION.md",
]
# What a teacher would answer; held against what the experiments say.
ANSWERS = dict(zip(map(str, range(1, 11)), "ccbabbacbb", strict=True))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(HOME)))
def test_what_a_page_names_exists(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)", text):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target
    for name, file in re.findall(r"\[`(\w+)`\]\(([\w/.]+\.py)\)", text):
        source = (page.parent / file).read_text(encoding="utf-8")
        assert re.search(rf"^(def|class) {name}\b", source, re.MULTILINE), name
    for command in re.findall(r"trpo (?:exercise )?([a-z]+) ", re.sub("`trpo/", "", text)):
        assert command in {*__main__.COMMANDS, "new", "check", "quiz"}, command


def test_every_section_of_the_derivation_names_its_function():
    text = (HOME / "trpo" / "DERIVATION.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## \d\. .*$", text, re.MULTILINE)
    assert len(headings) == 7
    without = [heading for heading in headings if ".py)" not in heading]
    assert [heading[:5] for heading in without] == ["## 2.", "## 4."]  # theorems about policies


def test_the_lab_sheet_prints_the_questions():
    sheet = (HOME / "scripts" / "exercises" / "LAB.md").read_text(encoding="utf-8")
    assert sheet.endswith(as_markdown() + "\n")


def test_questions_ask_first_and_mark_then(tmp_path, capsys):
    folder = tmp_path / "lab"
    assert __main__.main(["exercise", "new", str(folder)]) == 0
    answers = folder / "answers.json"
    assert set(json.loads(answers.read_text(encoding="utf-8"))) == set(ANSWERS)
    assert __main__.main(["exercise", "quiz", str(folder)]) == 1
    asked = capsys.readouterr().out
    assert all(question.text in asked for question in QUESTIONS)
    assert "Measured" not in asked

    answers.write_text(json.dumps(ANSWERS), encoding="utf-8")
    assert __main__.main(["exercise", "quiz", str(folder)]) == 0
    assert "10 of 10 right" in capsys.readouterr().out

    answers.write_text(json.dumps(ANSWERS | {"2": "b"}), encoding="utf-8")
    assert __main__.main(["exercise", "quiz", str(folder)]) == 1
    assert "9 of 10 right" in capsys.readouterr().out


def test_answers_that_cannot_be_read_are_told(tmp_path, capsys):
    (tmp_path / "answers.json").write_text("1: c", encoding="utf-8")
    assert __main__.main(["exercise", "quiz", str(tmp_path)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
