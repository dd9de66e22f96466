"""C10: locked runs, continued for ten times as long: is the loop closed for ever?

A run of a grid of `trpo compare` is locked if it ended below the untrained policy's return and had
been there for a third of its length. Each is trained again from its seed, by the grid's options,
for ten times as many steps, and so is TRPO with its largest δ. What counts was written down before
the runs: runs/reference/collapse/CRITERIA.md, section 4.

Repeating the command resumes it.
"""

from collections.abc import Sequence
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from trpo.scripts.cli.command import UsageError
from trpo.scripts.cli.options_record import add_options
from trpo.scripts.comparison.collapse import is_locked, told_rate, window_means
from trpo.scripts.comparison.grid import Cell, Grid, read_cell, run_cells
from trpo.scripts.comparison.methods import METHODS
from trpo.scripts.comparison.table import Results, Run, read_table, write_table
from trpo.scripts.studies.findings import Findings, Verdict, judge, panels

GRIDS = Path(__file__).resolve().parents[2] / "runs" / "reference" / "collapse"
STEPS = {"CartPole-v1": 100_000, "HalfCheetah-v5": 200_000}  # the grids' environment steps per run
LONGER = 10
CONTROL = "trpo"
MOST_RETURN = 0.1  # fraction of the locked runs, for the loop to count as closed for ever
PINNED = (  # the grids' options, pinned
    "--num-envs 16 --batch-size 2048 --gamma 0.99 --gae-lambda 0.95 --hidden 64 64 "
    "--distribution gaussian --initial-log-std -0.5 --damping 0.1 --cg-iterations 10 "
    "--value.hidden 64 64 --fisher-stride 1 --value.fit gauss-newton "
    "--value.newton-steps 2 --value.damping 1e-3 --value.cg-iterations 10 --value.max-change inf"
)


def study(folder: Path, tasks: Sequence[str], seeds: int) -> Findings:
    """Train the missing runs, and evaluate all of them.

    Args:
        folder: for one table of updates per task, options.json, and the temporary run folders.
        tasks: of `STEPS`.
        seeds: of each grid, from 0.

    Returns:
        What was found.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for task in tasks:
        go_on(folder, task, seeds)
    return findings(folder)


def go_on(folder: Path, task: str, seeds: int) -> None:
    """Train every run that the task's table lacks, and add it.

    Args:
        folder: of the tables.
        task: of `STEPS`.
        seeds: of its grid, from 0.
    """
    committed = grid_table(task)
    wanted = cells(Results(committed), seeds)
    grid = Grid(task, LONGER * STEPS[task], PINNED, folder / "runs" / task)
    usual = {
        f"{task} {method}": grid.options_of(Cell(method, METHODS[method].usual, 0))
        for method in dict.fromkeys(cell.method for cell in wanted)
    }
    add_options(folder, usual)
    path = folder / f"{task}.csv.gz"
    rows = read_table(path) if path.exists() else read_table(committed)[:1]  # the untrained policy
    done = {(row["method"], float(row["step_size"]), int(row["seed"])) for row in rows}
    missing = [c for c in wanted if (c.method, c.step_size, c.seed) not in done]
    grid.out.mkdir(parents=True, exist_ok=True)
    for seed in range(seeds):  # a seed counts once all of its runs are there
        if runs := [cell for cell in missing if cell.seed == seed]:
            failed = run_cells(grid, runs, workers=1)
            rows += [row for cell in runs if cell not in failed for row in read_cell(grid, cell)]
            write_table(path, rows)


def grid_table(task: str) -> Path:
    """Return the path of the committed grid's table.

    Args:
        task: of `STEPS`.

    Returns:
        The file.

    Raises:
        UsageError: if there is none, as when the package is installed without its repository.
    """
    path = GRIDS / task / "updates.csv.gz"
    if not path.exists():
        raise UsageError(f"{path} is not there: this study needs the repository's runs/reference")
    return path


def cells(results: Results, seeds: int) -> list[Cell]:
    """Return the runs to continue: each seed's locked ones, and its control.

    Args:
        results: of a grid.
        seeds: number of seeds, from 0.

    Returns:
        Cells, seed by seed.
    """
    control = max(results.step_sizes(CONTROL))
    return [
        Cell(run.method, run.step_size, seed)
        for seed in range(seeds)
        for run in results.runs
        if run.seed == seed
        and (
            (run.method, run.step_size) == (CONTROL, control)
            or is_locked(run.returns, results.untrained)
        )
    ]


def findings(folder: Path) -> Findings:
    """Evaluate the runs of all tasks.

    Args:
        folder: of the tables.

    Returns:
        What was found.
    """
    tables = {task: folder / f"{task}.csv.gz" for task in STEPS}
    tasks = {task: Results(path) for task, path in tables.items() if path.exists()}
    rows = [row for task, results in tasks.items() for row in _judged(task, results)]
    verdicts = [_verdict(task, [row for row in rows if row["task"] == task]) for task in tasks]
    figure, axes = panels(len(tasks))
    for panel, (task, results) in zip(axes, tasks.items(), strict=True):
        _draw(panel, task, results)
    return Findings(rows, [_shown(row) for row in rows], verdicts, figure)


def _judged(task: str, results: Results) -> list[dict[str, Any]]:
    rows = []
    for run in results.runs:
        before = run.returns[: _grid_updates(task, run)]
        tail = float(window_means(run.returns)[-1])
        rows.append({
            "task": task,
            "method": run.method,
            "step_size": run.step_size,
            "seed": run.seed,
            "untrained": results.untrained,
            "locked_again": int(is_locked(before, results.untrained)),
            "locked_at_the_end": int(is_locked(run.returns, results.untrained)),
            "return_of_the_last_tenth": tail,
            "returned": int(tail > results.untrained),
        })
    return rows


def _grid_updates(task: str, run: Run) -> int:
    # number of updates of the grid's run
    return int(np.searchsorted(run.columns["steps"], STEPS[task])) + 1


def _verdict(task: str, rows: Sequence[dict[str, Any]]) -> Verdict:
    grid = [row for row in rows if row["method"] != CONTROL]
    again = [row for row in grid if row["locked_again"]]
    returned = sum(row["returned"] for row in again)
    controls = [row for row in rows if row["method"] == CONTROL]
    early, late = (sum(r[key] for r in controls) for key in ("locked_again", "locked_at_the_end"))
    return Verdict(
        "C10",
        f"a locked loop is closed for ever, on {task}",
        f"of the runs locked again at the grid's length, at most {MOST_RETURN:.0%} have a mean "
        f"return above the untrained policy's in the last tenth of {LONGER} times that length",
        f"{len(again)} of {len(grid)} locked again; of these {told_rate(returned, len(again))} "
        f"returned; of {len(controls)} controls by TRPO {early} were locked at the grid's length, "
        f"{late} at the end",
        judge(returned <= MOST_RETURN * len(again)) if again else "undecided",
        f"n = {len(again)} runs; in brackets Wilson's 95 % interval; the share itself is judged; "
        f"as many by chance at {MOST_RETURN:.0%}: exact binomial test, one-sided, "
        f"p = {_at_least(returned, len(again)):.2g}",
    )


def _at_least(count: int, of: int) -> float:
    # P(X ≥ count), X binomial with rate MOST_RETURN
    return sum(
        comb(of, k) * MOST_RETURN**k * (1 - MOST_RETURN) ** (of - k) for k in range(count, of + 1)
    )


def _shown(row: dict[str, Any]) -> dict[str, str]:
    told = {0: "no", 1: "yes"}
    return {
        "task": row["task"],
        "run": str(Cell(row["method"], row["step_size"], row["seed"])),
        "locked again": told[row["locked_again"]],
        "locked at the end": told[row["locked_at_the_end"]],
        "return, last tenth": f"{row['return_of_the_last_tenth']:,.1f}",
        "returned": told[row["returned"]],
    }


def _draw(axes: Axes, task: str, results: Results) -> None:
    # smoothed returns over the run, the controls grey; the grid's length and R₀ as lines
    labelled = set()
    for run in results.runs:
        control = run.method == CONTROL
        label = "TRPO, largest δ" if control else run.method
        means = window_means(run.returns)
        axes.plot(
            run.columns["steps"][-len(means) :] / STEPS[task],
            means,
            color="0.7" if control else f"C{list(METHODS).index(run.method)}",
            label=None if label in labelled else label,
            linewidth=0.9,
            zorder=1 if control else 2,
        )
        labelled.add(label)
    axes.axhline(results.untrained, color="black", linestyle=":", label="untrained")
    axes.axvline(1, color="0.5", linewidth=0.8)
    axes.set(xlabel="times the grid's length", ylabel="return, mean of a tenth", title=task)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize="small")
