"""Marks for a student's exercise.py: right, or the name of the mistake, one line per function."""

import contextlib
import json
import math
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from trpo.scripts.exercises import oracle
from trpo.scripts.exercises.mistakes import MISTAKES
from trpo.scripts.exercises.mistakes.fisher import SUBSAMPLE_REDRAWN
from trpo.scripts.exercises.probes import CASES, FUNCTIONS, Implementation, Outcome, observe

MARKS = 10  # for each function
START_LIMIT = 120.0  # seconds for Python and torch to start, even on a busy machine


@dataclass(frozen=True)
class Result:
    """The marks of a function.

    Args:
        function: its name.
        cases: which of its cases are right.
        mistake: the name of the mistake that it makes, if it is a known one.
        says: one line to the student.
    """

    function: str
    cases: dict[str, bool]
    mistake: str | None
    says: str

    @property
    def right(self) -> bool:
        """Whether all cases are."""
        return all(self.cases.values())

    @property
    def marks(self) -> float:
        """Marks of `MARKS`, by the share of cases that are right."""
        return round(MARKS * sum(self.cases.values()) / len(self.cases), 1)


def check(
    folder: Path,
    functions: Sequence[str] = FUNCTIONS,
    time_limit: float = 20.0,
    show_prints: bool = False,
) -> list[Result]:
    """Try the functions of a folder's exercise.py in a separate process, and mark them.

    A process that hangs or dies is replaced by a new one for the remaining functions.

    Args:
        folder: with an exercise.py.
        functions: of `FUNCTIONS`, to try.
        time_limit: seconds for the import, and for each function.
        show_prints: whether the output of the student's code goes to stderr, or is discarded.

    Returns:
        One result per function, in order.
    """
    results: list[Result] = []
    while left := functions[len(results) :]:
        for function, outcomes in _play(folder, left, time_limit, show_prints).items():
            results.append(judge(function, outcomes))
    return results


def _play(
    folder: Path, functions: Sequence[str], time_limit: float, show_prints: bool
) -> dict[str, dict[str, Outcome] | str]:
    """Return outcomes; the last is a sentence if a function hung or exited."""
    command = [sys.executable, "-u", "-m", "trpo.scripts.exercises.play", str(folder), *functions]
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=None if show_prints else subprocess.DEVNULL,
        start_new_session=True,
        encoding="utf-8",
    )
    lines: queue.Queue[str] = queue.Queue()
    reader = threading.Thread(target=_read, args=(process, lines), daemon=True)
    reader.start()
    outcomes: dict[str, dict[str, Outcome] | str] = {}
    limit, imported = START_LIMIT, False
    try:
        while len(outcomes) < len(functions):
            line = lines.get(timeout=limit)
            limit = time_limit
            if not line:
                code = process.wait()
                died = (
                    f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
                )
                said = f"the process {died}"
            else:
                message = json.loads(line)
                if message["stage"] == "played":
                    outcomes[message["function"]] = message["outcomes"]
                imported |= message["stage"] == "imported"
                if message["stage"] != "failed":
                    continue
                said = message["says"]
            return _with_failure(outcomes, functions, said, imported)
    except queue.Empty:
        said = f"takes longer than {time_limit:g} s: an endless loop?"
        return _with_failure(outcomes, functions, said, imported)
    finally:
        _end(process)
    return outcomes


def _with_failure(
    outcomes: dict[str, dict[str, Outcome] | str],
    functions: Sequence[str],
    said: str,
    imported: bool,
) -> dict[str, dict[str, Outcome] | str]:
    """Return outcomes with the blame on the next function, or, before the import, on all."""
    if imported:
        return outcomes | {functions[len(outcomes)]: said}
    return dict.fromkeys(functions, f"importing exercise.py: {said}")


def _read(process: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
    assert process.stdout
    for line in process.stdout:
        lines.put(line)
    lines.put("")


def _end(process: subprocess.Popen[str]) -> None:
    """End the process and those that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert process.stdout
    process.stdout.close()


def judge(function: str, outcomes: dict[str, Outcome] | str) -> Result:
    """Compare outcomes with the oracle's, or find the mistake that explains all of them.

    Args:
        function: of `FUNCTIONS`.
        outcomes: of a solution, one per case; or why there are none.

    Returns:
        Marks, and a line.
    """
    if isinstance(outcomes, str):
        return Result(function, dict.fromkeys(CASES[function], False), None, outcomes)
    right = right_outcomes(function)
    cases = {name: same(outcomes.get(name, ""), right[name]) for name in CASES[function]}
    if all(cases.values()):
        return Result(function, cases, None, "right")
    if function == "fisher_vector_product" and _differ_when_repeated(outcomes):
        return Result(function, cases, "subsample-redrawn", SUBSAMPLE_REDRAWN)
    for name, ways in mistaken_outcomes(function).items():
        if any(all(same(outcomes.get(case, ""), way[case]) for case in way) for way in ways):
            return Result(function, cases, name, MISTAKES[function][name].says)
    if said := next((text for text in outcomes.values() if isinstance(text, str)), None):
        return Result(function, cases, None, said)
    return Result(function, cases, None, _first_difference(outcomes, right, cases))


@cache
def right_outcomes(function: str) -> dict[str, Outcome]:
    """Return the outcomes of the oracle, which is dense and direct.

    Args:
        function: of `FUNCTIONS`.

    Returns:
        One outcome per case.
    """
    implementations: dict[str, Implementation] = {
        "gae": oracle.gae,
        "surrogate": oracle.surrogate,
        "fisher_vector_product": oracle.fisher_vector_product,
        "conjugate_gradient": oracle.conjugate_gradient,
        "full_step": oracle.full_step,
        "line_search": oracle.line_search,
    }
    return observe(function, implementations[function])


@cache
def mistaken_outcomes(function: str) -> dict[str, list[dict[str, Outcome]]]:
    """Return the outcomes of each known mistake.

    Args:
        function: of `FUNCTIONS`.

    Returns:
        Name of the mistake to outcomes, one for each way to make it.
    """
    return {
        name: [observe(function, way) for way in mistake.ways]
        for name, mistake in MISTAKES[function].items()
    }


def same(one: Outcome, other: Outcome) -> bool:
    """Return whether two outcomes are equal up to rounding; NaN equals NaN.

    Args:
        one: numbers, or words.
        other: the outcome to compare with.

    Returns:
        Whether they agree to 1e-6 of the largest number.
    """
    if isinstance(one, str) or isinstance(other, str) or len(one) != len(other):
        return one == other
    scale = max((abs(number) for number in other if math.isfinite(number)), default=0.0)
    return all(
        a == b or abs(a - b) <= 1e-6 * scale + 1e-12 or (math.isnan(a) and math.isnan(b))
        for a, b in zip(one, other, strict=True)
    )


def _differ_when_repeated(outcomes: dict[str, Outcome]) -> bool:
    twice = outcomes.get("called twice", "")
    half = len(twice) // 2
    return not isinstance(twice, str) and not same(twice[:half], twice[half:])


def _first_difference(
    outcomes: dict[str, Outcome], right: dict[str, Outcome], cases: dict[str, bool]
) -> str:
    """Return where an unknown mistake shows first, and its factor if it has one."""
    case = next(name for name, fits in cases.items() if not fits)
    got, expected = outcomes[case], right[case]
    assert not isinstance(got, str)
    assert not isinstance(expected, str)
    place = max(range(len(expected)), key=lambda i: abs(got[i] - expected[i]))
    ratio = got[place] / expected[place] if expected[place] else math.nan
    if same(got, [ratio * number for number in expected]):
        return f"is {ratio:.4g} times the right one ({case})"
    wrong = f"{got[place]:.6g}, expected {expected[place]:.6g}"
    return f"is wrong ({case}): {wrong}, as number {place} of {len(expected)}"
