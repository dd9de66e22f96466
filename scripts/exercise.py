"""`trpo exercise`: TRPO as six functions to implement, with a checker that names mistakes."""

import dataclasses
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

import tyro

from trpo.scripts.cli.command import UsageError, parse
from trpo.validation import require

FOLDER = Path(__file__).parent / "exercises"
HANDED_OUT = {
    "exercise.py": "stubs/exercise.py",
    "test_exercise.py": "stubs/test_exercise.py",
    "answers.json": "stubs/answers.json",
    "LAB.md": "LAB.md",
}
USAGE = """usage: trpo exercise COMMAND DIR [OPTIONS]

  new DIR      hands out exercise.py with six functions to write, LAB.md to go by, a test for pytest
  check DIR    compares them with a dense oracle, and names the mistake where there is one
  quiz DIR     asks the lab sheet's questions, or marks the answers in answers.json by running code

trpo exercise check --help lists options; trpo train CartPole-v1 --exercise DIR trains with it."""

Folder: TypeAlias = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]


@dataclass(frozen=True)
class NewOptions:
    """Hand out the exercise: exercise.py, LAB.md, answers.json, and a test for pytest."""

    folder: Folder
    """Folder to create; existing files are never overwritten."""


@dataclass(frozen=True)
class CheckOptions:
    """Check an exercise, in a separate process; the exit code is 1 if anything is wrong."""

    folder: Folder
    """Folder with an exercise.py."""
    time_limit: float = 20.0
    """Time limit of the import and of each function, in seconds."""
    show_prints: bool = False
    """Show the exercise's own output, on stderr."""
    json: Path | None = None
    """File for the marks: for each function, its cases and the name of its mistake."""
    gradescope: Path | None = None
    """File for the marks in Gradescope's format: /autograder/results/results.json."""

    def __post_init__(self) -> None:
        require(self, "time_limit", self.time_limit > 0, "a number of seconds > 0")


@dataclass(frozen=True)
class QuizOptions:
    """Show the questions; mark the answers in answers.json, each by running code."""

    folder: Folder
    """Folder with an answers.json, as trpo exercise new leaves it."""


def main(arguments: Sequence[str]) -> int:
    """Hand out, check, or ask.

    Args:
        arguments: the words after `trpo exercise`.

    Returns:
        0; 1 if something is not right yet.

    Raises:
        UsageError: if the command is unknown.
    """
    commands = {"new": new, "check": check, "quiz": quiz}
    if not arguments or arguments[0] in {"-h", "--help"}:
        print(USAGE)
        return 0
    name, *words = arguments
    if name not in commands:
        raise UsageError(f"unknown exercise command {name!r}: expected {', '.join(commands)}")
    return commands[name](words)


def new(words: Sequence[str]) -> int:
    """Hand out the exercise.

    Args:
        words: the command's options.

    Returns:
        0.

    Raises:
        UsageError: if one of its files is there already.
    """
    folder = parse(NewOptions, words, "exercise new").folder
    for name in HANDED_OUT:
        if (folder / name).exists():
            raise UsageError(f"{folder / name} exists: choose another folder, or move it away")
    folder.mkdir(parents=True, exist_ok=True)
    for name, source in HANDED_OUT.items():
        shutil.copyfile(FOLDER / source, folder / name)
    print(f"{folder}: {', '.join(HANDED_OUT)}\nnext: trpo exercise check {folder}")
    return 0


def check(words: Sequence[str]) -> int:
    """Check an exercise, and print one line per function.

    Args:
        words: the command's options.

    Returns:
        0 if all is right, else 1.
    """
    from trpo.scripts.exercises import check as checker  # imports torch

    options = parse(CheckOptions, words, "exercise check")
    _require_file(options.folder, "exercise.py")
    results = checker.check(
        options.folder, time_limit=options.time_limit, show_prints=options.show_prints
    )
    for result in results:
        print(f"{result.function:<22}{result.marks:4g} of {checker.MARKS}   {result.says}")
    total = sum(result.marks for result in results)
    print(f"{'':<22}{total:4g} of {checker.MARKS * len(results)}")
    if options.json:
        options.json.write_text(json.dumps(report(results), indent=2) + "\n", encoding="utf-8")
    if options.gradescope:
        text = json.dumps(gradescope(results), indent=2)
        options.gradescope.write_text(text + "\n", encoding="utf-8")
    return 0 if all(result.right for result in results) else 1


def quiz(words: Sequence[str]) -> int:
    """Ask the questions that have no answer yet, and mark the others.

    Args:
        words: the command's options.

    Returns:
        0 if all answers are right, else 1.
    """
    from trpo.scripts.exercises import quiz as questions

    folder = parse(QuizOptions, words, "exercise quiz").folder
    _require_file(folder, "answers.json")
    return questions.mark(folder / "answers.json")


def _require_file(folder: Path, name: str) -> None:
    if not (folder / name).is_file():
        raise UsageError(f"{folder} has no {name}: trpo exercise new {folder} hands one out")


def report(results: Sequence) -> dict:
    """Return marks for a grader's program.

    Args:
        results: of the checker, one per function.

    Returns:
        JSON content.
    """
    functions = [dataclasses.asdict(r) | {"right": r.right, "marks": r.marks} for r in results]
    return {"marks": sum(r.marks for r in results), "functions": functions}


def gradescope(results: Sequence) -> dict:
    """Return marks in the format of Gradescope's results.json.

    Args:
        results: of the checker, one per function.

    Returns:
        JSON content.
    """
    from trpo.scripts.exercises.check import MARKS

    tests = [
        {
            "name": result.function,
            "score": result.marks,
            "max_score": MARKS,
            "status": "passed" if result.right else "failed",
            "output": result.says,
        }
        for result in results
    ]
    return {"score": sum(result.marks for result in results), "tests": tests}
