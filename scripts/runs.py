"""`trpo runs [PATTERN]`: lists the runs in a folder, and their states."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated

import tyro

from trpo.agents.runs import Run, RunError
from trpo.agents.runs.config import CONFIG
from trpo.scripts.cli.command import UsageError, parse
from trpo.scripts.cli.output import printable
from trpo.scripts.cli.tables import print_rows

REFERENCE = "reference"  # in runs/, of the repository: committed results
AGES = ((86_400, "days"), (3_600, "h"), (60, "min"), (1, "s"))


@dataclass(frozen=True)
class RunsOptions:
    """List runs: environment, steps, return, state, age."""

    pattern: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="[PATTERN]")] = ""
    """Part of the runs' paths; may contain wildcards: Hopper, seed3, 'Half*/tuned-?'."""
    runs: Path = Path("runs")
    """Folder of all runs; committed results in its reference/ are left out."""


def main(arguments: Sequence[str]) -> int:
    """List runs, the latest last.

    Args:
        arguments: the words after `trpo runs`.

    Returns:
        0.

    Raises:
        UsageError: if there is none.
    """
    options = parse(RunsOptions, arguments, "runs")
    folders = sorted(find_runs(options.runs, options.pattern), key=last_change)
    if not folders:
        named = f" whose name holds {options.pattern!r}" if options.pattern else ""
        raise UsageError(f"{options.runs} holds no run{named}")
    print_rows([describe(folder, options.runs) for folder in folders])
    return 0


def find_runs(runs: Path, pattern: str) -> Iterator[Path]:
    """Find the runs in a folder, at any depth, without the results that the code comes with.

    Args:
        runs: the folder.
        pattern: part of their names, with wildcards.

    Yields:
        Folders.
    """
    for config in runs.rglob(CONFIG):
        folder = config.parent
        if runs / REFERENCE in folder.parents:
            continue
        if fnmatch(str(folder.relative_to(runs)), f"*{pattern}*"):
            yield folder


def last_change(folder: Path) -> float:
    """Return when a run was last trained, as seconds since 1970.

    Args:
        folder: the run's.
    """
    return max(path.stat().st_mtime for path in (folder / CONFIG, *folder.glob("metrics.csv")))


def describe(folder: Path, runs: Path) -> dict[str, str]:
    """Return a row of the list.

    Args:
        folder: a run's.
        runs: the folder in which it was found.

    Returns:
        The row, by column name.
    """
    row = {"run": printable(folder.relative_to(runs)), "environment": "", "steps": ""}
    row |= {"return": "", "state": "", "age": age(time.time() - last_change(folder))}
    try:
        run = Run.open(folder)
        records = run.records()
    except RunError:
        return row | {"state": "damaged"}
    loop = run.config.learner.trainer
    metrics = {name: value for record in records for name, value in record.metrics.items()}
    evaluated = metrics.get("evaluation/return")  # the last value of each metric
    value = metrics.get("episode/return_100") if evaluated is None else evaluated
    steps = records[-1].steps if records else 0
    state = "finished" if loop.finished(steps, evaluated) else "stopped"
    return row | {
        "environment": printable(run.config.env),
        "steps": f"{steps:,} of {loop.total_steps:,}",
        "return": "" if value is None else f"{value:,.1f}",
        "state": "training" if run.lock.is_held() else state,
    }


def age(seconds: float) -> str:
    """Return a time in its largest unit.

    Args:
        seconds: ≥ 0.

    Returns:
        For instance "3 h".
    """
    size, unit = next((each for each in AGES if seconds >= each[0]), AGES[-1])
    return f"{seconds // size:.0f} {unit}"
