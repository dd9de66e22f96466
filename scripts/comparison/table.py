"""A grid's table, read back: its runs as arrays, their outcomes, and summaries."""

import csv
import gzip
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trpo.agents.storage.files import replace_file
from trpo.report import Status
from trpo.scripts.comparison.collapse import (
    Fall,
    Judged,
    Outcome,
    find_fall,
    interquartile_mean,
    is_locked,
    judge,
    range_near_best,
    settling_kl,
    window_means,
)

UNTRAINED = "untrained"  # the method in the row with R₀
PARTED = 0.01  # relative difference of KL
NUMBERS = ("steps", "episode_return", "mean_kl", "entropy", "gradient_norm")


@dataclass(frozen=True)
class Run:
    """One run of a grid.

    Args:
        method: of `METHODS`.
        step_size: on the method's own scale.
        seed: of the run.
        columns: numbers by name, each (U,), NaN where there is none.
        stopped: whether training stopped because numbers were not finite.
    """

    method: str
    step_size: float
    seed: int
    columns: dict[str, np.ndarray]
    stopped: bool

    @property
    def returns(self) -> np.ndarray:
        """(U,), mean return of the episodes that ended in each update, NaN where none did."""
        return self.columns["episode_return"]

    @property
    def kl(self) -> np.ndarray:
        """(U,), KL(old ‖ new) of each update, nats."""
        return self.columns["mean_kl"]


def write_table(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write a grid's table.

    Args:
        path: a .csv.gz file.
        rows: with the same columns, one per update, and one of the untrained policy.
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    replace_file(path, gzip.compress(text.getvalue().encode("utf-8"), mtime=0))


def read_table(path: Path) -> list[dict[str, str]]:
    """Read a grid's table.

    Args:
        path: a .csv.gz file.

    Returns:
        Its rows, by column name.
    """
    with gzip.open(path, "rt", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


class Results:
    """A grid's runs and their outcomes.

    Args:
        path: the grid's table.
    """

    def __init__(self, path: Path) -> None:
        rows = read_table(path)
        self.untrained = next(
            float(row["episode_return"]) for row in rows if row["method"] == UNTRAINED
        )
        groups: dict[tuple[str, float, int], list[dict[str, str]]] = {}
        for row in rows:
            if row["method"] != UNTRAINED:
                groups.setdefault(
                    (row["method"], float(row["step_size"]), int(row["seed"])), []
                ).append(row)
        self.runs = [
            Run(
                *key,
                columns={
                    name: np.array([float(row[name] or "nan") for row in group]) for name in NUMBERS
                },
                stopped=group[-1]["status"] == Status.NON_FINITE.name,
            )
            for key, group in groups.items()
        ]
        self.methods = list(dict.fromkeys(run.method for run in self.runs))
        self.steps = max(run.columns["steps"][-1] for run in self.runs)
        means = np.concatenate([window_means(run.returns) for run in self.runs])
        self.scale = float(np.max(means - self.untrained, where=~np.isnan(means), initial=0.0))  # G

    def step_sizes(self, method: str) -> list[float]:
        """Return a method's step sizes, ascending.

        Args:
            method: of this grid.

        Returns:
            Numbers on its own scale.
        """
        return sorted({run.step_size for run in self.runs if run.method == method})

    def of(self, method: str, step_size: float | None = None) -> list[Run]:
        """Return some of the runs.

        Args:
            method: of this grid.
            step_size: one of the method's; `None` for all.

        Returns:
            Runs, by seed.
        """
        return [
            run for run in self.runs if run.method == method and step_size in {None, run.step_size}
        ]

    def judged(self, run: Run) -> Judged:
        """Return a run's outcome.

        Args:
            run: of this grid.

        Returns:
            Its outcome, and the returns it follows from.
        """
        return judge(run.returns, self.untrained, self.scale, run.stopped)

    def count(self, runs: Sequence[Run], outcome: Outcome) -> int:
        """Count the runs with an outcome.

        Args:
            runs: of this grid.
            outcome: to count.

        Returns:
            How many.
        """
        return sum(self.judged(run).outcome is outcome for run in runs)

    def finals(self, method: str, step_size: float) -> np.ndarray:
        """Return the final returns at one step size.

        Args:
            method: of this grid.
            step_size: one of the method's.

        Returns:
            (n,), one per seed.
        """
        return np.array([self.judged(run).final for run in self.of(method, step_size)])

    def final_means(self, method: str) -> list[float]:
        """Return the interquartile mean of the final returns at each step size.

        Args:
            method: of this grid.

        Returns:
            One per step size, ascending.
        """
        return [
            float(interquartile_mean(self.finals(method, step_size)))
            for step_size in self.step_sizes(method)
        ]

    def best_step_size(self, method: str) -> float:
        """Return the step size with the largest final return, then with the largest all along.

        Args:
            method: of this grid.

        Returns:
            One of the method's.
        """

        def merit(step_size: float) -> tuple[float, float]:
            final = float(interquartile_mean(self.finals(method, step_size)))
            return final, float(
                np.mean([self.judged(run).mean for run in self.of(method, step_size)])
            )

        return max(self.step_sizes(method), key=merit)

    def near_best(self, method: str) -> tuple[float, float, float]:
        """Return the range of step sizes whose final gain is within 20 % of the method's best.

        Args:
            method: of this grid.

        Returns:
            Smallest, largest, and the decades between them.
        """
        low, high = range_near_best(
            self.step_sizes(method), self.final_means(method), self.untrained
        )
        return low, high, math.log10(high / low)

    def locked(self, runs: Sequence[Run]) -> int:
        """Count the runs that are locked.

        Args:
            runs: of this grid.

        Returns:
            How many.
        """
        return sum(is_locked(run.returns, self.untrained) for run in runs)

    def settling_kl(self, method: str, step_size: float) -> float:
        """Return the KL of a step size, by which different methods can be compared.

        Args:
            method: of this grid.
            step_size: one of the method's.

        Returns:
            The median over seeds of each run's own, nats.
        """
        return float(np.median([settling_kl(run.kl) for run in self.of(method, step_size)]))

    def falls(self) -> Iterator[tuple[Run, Fall]]:
        """Find where each run that collapsed fell.

        Yields:
            The run and the fall.
        """
        for run in self.runs:
            fall = find_fall(run.returns, run.kl)
            if fall and self.judged(run).outcome is Outcome.COLLAPSED:
                yield run, fall

    def steepest_fall(self) -> tuple[Run, Fall] | None:
        """Return the largest fall in return of all runs that collapsed, regardless of KL.

        Returns:
            The run and the fall; `None` if none collapsed.
        """
        return max(
            self.falls(),
            key=lambda found: found[1].return_before - found[1].return_after,
            default=None,
        )

    def without_line_search(self) -> list[tuple[Run, Run, int]]:
        """Pair each run of TRPO with the natural gradient's of the same δ and seed.

        Until TRPO's line search intervenes the two are the same run up to rounding: the same
        direction, scaled to the same δ.

        Returns:
            TRPO's run, the natural gradient's, and the first row, from 0, in which their KL differs
            by more than 1 %; the number of rows if it never does.
        """
        twins = {(run.step_size, run.seed): run for run in self.of("npg")}
        pairs = []
        for run in self.of("trpo"):
            if twin := twins.get((run.step_size, run.seed)):
                rows = min(len(run.kl), len(twin.kl))
                apart = np.abs(run.kl[:rows] - twin.kl[:rows])
                differ = np.flatnonzero(apart > PARTED * np.maximum(run.kl, 1e-12)[:rows])
                pairs.append((run, twin, int(differ[0]) if len(differ) else rows))
        return pairs
