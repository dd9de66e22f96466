"""`trpo compare ENV`: trains every method at every step size with every seed, and compares them."""

import difflib
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from trpo.agents.randomness import Component
from trpo.agents.rollouts.evaluation import evaluate
from trpo.agents.rollouts.rollout import BrokenEnvironmentError, environment_errors
from trpo.agents.storage.files import replace_file
from trpo.agents.trainer import Trainer
from trpo.scripts.cli.command import EnvId, UsageError, parse
from trpo.scripts.cli.numbers import counted
from trpo.scripts.cli.options import cpu_count, parse_train_options
from trpo.scripts.cli.options_record import add_options
from trpo.scripts.cli.sizes import MOST_THREADS
from trpo.scripts.cli.tables import write_provenance
from trpo.scripts.cli.train_words import with_options_joined, words_of
from trpo.scripts.comparison.grid import COLUMNS, Cell, Grid, read_cell, run_cells
from trpo.scripts.comparison.methods import METHODS
from trpo.scripts.comparison.report import write_report
from trpo.scripts.comparison.table import UNTRAINED, Results, write_table
from trpo.validation import require


@dataclass(frozen=True)
class CompareOptions:
    """Compare update rules over step sizes and seeds; repeating the command resumes it."""

    env: EnvId
    """Environment id, as trpo train takes it."""
    methods: tuple[str, ...] = tuple(METHODS)
    """Methods to compare."""
    step_sizes: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
    """Step sizes, as multiples of each method's default."""
    seeds: int = 5
    """Runs of each method at each step size."""
    steps: int = 100_000
    """Environment steps per run."""
    workers: int = 0
    """Parallel runs, each with one thread; 0: one per core."""
    out: Path | None = None
    """Folder for the table, the report, the figures and the runs. Default: runs/compare/ENV."""
    options: str = ""
    """Further options of trpo train for every run, as one string."""

    def __post_init__(self) -> None:
        words_of(self.options)
        require(self, "methods", len(self.methods) >= 1, f"one or more of {', '.join(METHODS)}")
        sizes = self.step_sizes
        require(
            self,
            "step_sizes",
            len(sizes) >= 1 and all(0 < size < np.inf for size in sizes),
            "numbers > 0",
        )
        require(self, "seeds", 1 <= self.seeds <= 10_000, "an integer in [1, 10000]")
        require(self, "steps", self.steps >= 1, "an integer ≥ 1")
        workers = 0 <= self.workers <= MOST_THREADS
        require(self, "workers", workers, f"an integer in [0, {MOST_THREADS}]")


def main(arguments: Sequence[str]) -> int:
    """Compare, as the options say.

    Args:
        arguments: the words after `trpo compare`.

    Returns:
        0, or 1 if a run's process failed.

    Raises:
        UsageError: if a method is unknown, or the environment fails with the untrained policy.
    """
    options = parse(CompareOptions, with_options_joined(arguments), "compare")
    for method in options.methods:
        if method not in METHODS:
            near = difflib.get_close_matches(method, METHODS, n=1)
            guess = f"; did you mean {near[0]}?" if near else ""
            raise UsageError(
                f"methods: unknown method {method!r}: expected {', '.join(METHODS)}{guess}"
            )
    out = options.out or Path("runs/compare") / options.env.replace("/", "-").replace(":", "-")
    grid = Grid(options.env, options.steps, options.options, out)
    cells = [
        Cell(method, size * METHODS[method].usual, seed)
        for seed in range(options.seeds)  # seed by seed: an interrupted grid has all step sizes
        for method in dict.fromkeys(options.methods)
        for size in sorted(set(options.step_sizes))
    ]
    try:
        # first, so that a bad environment leaves nothing behind
        untrained = untrained_return(grid, cells[0])
    except BrokenEnvironmentError as error:
        raise UsageError(f"{options.env} {error}") from error
    out.mkdir(parents=True, exist_ok=True)
    grid.claim()
    add_options(out, {m: grid.options_of(Cell(m, METHODS[m].usual, 0)) for m in options.methods})
    started = time.perf_counter()
    sides = {
        "method": len(set(options.methods)),
        "step size": len(set(options.step_sizes)),
        "seed": options.seeds,
    }
    each = " × ".join(f"{count} {name}{'s' * (count > 1)}" for name, count in sides.items())
    runs = counted(len(cells), "run")
    print(f"{runs} of {options.steps:,} steps: {each}")
    failed = run_cells(grid, cells, options.workers or cpu_count())
    write_provenance(out / "provenance.json", time.perf_counter() - started)
    rows: list[dict[str, Any]] = [
        row for cell in cells if cell not in failed for row in read_cell(grid, cell)
    ]
    if rows:
        nothing = dict.fromkeys(("steps", *COLUMNS, "status"), "")
        first = (
            {"method": UNTRAINED, "step_size": 0, "seed": 0, "update": 0}
            | nothing
            | {"episode_return": f"{untrained:.6g}"}
        )
        write_table(out / "updates.csv.gz", [first, *rows])
        publish(out, options.env)
    for cell in failed:
        print(f"trpo: failed: {cell}; the same command tries it again", file=sys.stderr)
    return 1 if failed else 0


def publish(out: Path, env: str) -> None:
    """Write a grid's report and figures from its table.

    Args:
        out: the grid's folder.
        env: its environment.
    """
    # here, because matplotlib is slow to import
    from trpo.scripts.comparison.figures import draw_all

    results = Results(out / "updates.csv.gz")
    report = write_report(results, env)
    replace_file(out / "report.md", report.encode("utf-8"))
    draw_all(results, env, out)
    print(report.partition("## Every step size")[0])
    print(out / "report.md")


def untrained_return(grid: Grid, cell: Cell, episodes: int = 100) -> float:
    """Return R₀: the mean return of the untrained policy, from which all runs of a seed start.

    Args:
        grid: what all cells share.
        cell: whose untrained policy plays.
        episodes: to play, with sampled actions.

    Returns:
        In raw rewards.
    """
    run = parse_train_options(grid.words(cell))
    # as a run creates it, so that its errors are raised before the grid begins
    trainer = Trainer(run.make_env, run.learner)
    trainer.close()
    seed = trainer.randomness.integer(Component.EVALUATION)
    with (
        closing(
            replace(run, environment=replace(run.environment, num_envs=episodes)).make_env(seed)
        ) as env,
        environment_errors(),
    ):
        played = evaluate(env, trainer.agent, seed, trainer.randomness.generator(Component.ACTIONS))
    return float(np.mean([episode.undiscounted_return for episode in played]))
