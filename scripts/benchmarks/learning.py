"""`trpo benchmark learning`: trains and evaluates a panel of tasks, one row per run."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import active_children
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from trpo.scripts.benchmarks.learners import Outcome, learn, learn_sb3, train_words
from trpo.scripts.benchmarks.learning_report import draw, summarize
from trpo.scripts.cli.command import EnvIds, UsageError, parse
from trpo.scripts.cli.interrupt import end_with_parent
from trpo.scripts.cli.options import parse_train_options
from trpo.scripts.cli.options_record import add_options
from trpo.scripts.cli.processes import FORKS
from trpo.scripts.cli.tables import add_rows, print_rows, read_rows, write_provenance
from trpo.scripts.cli.train_words import with_options_joined, words_of
from trpo.validation import require

PANEL = (
    "HalfCheetah-v5",
    "Hopper-v5",
    "Walker2d-v5",
    "Ant-v5",
    "Swimmer-v5",
    "Humanoid-v5",
    "InvertedDoublePendulum-v5",
    "InvertedPendulum-v5",
    "Reacher-v5",
    "Pusher-v5",
    "CartPole-v1",
    "Acrobot-v1",
    "Pendulum-v1",
    "MountainCar-v0",
    "MountainCarContinuous-v0",
    "LunarLander-v3",
    "LunarLanderContinuous-v3",
    "BipedalWalker-v3",
)
RESULTS, CURVES = "results.csv", "curves.csv"
CELL = ("environment", "learner", "seed", "options")  # columns that identify a run
POINTS = 50  # points of a learning curve
Learner = Literal["trpo", "sb3-contrib"]


@dataclass(frozen=True)
class LearningOptions:
    """Train with each task's preset, evaluate the final policy, add a row to OUT/results.csv.

    Runs already in OUT are skipped, so an interrupted command can be repeated.
    """

    envs: EnvIds = PANEL
    """Environments to train on."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds, one run each."""
    peer: Literal["none", "sb3"] = "none"
    """sb3: also train sb3-contrib's TRPO with RL Baselines3 Zoo's settings, for as many steps."""
    episodes: int = 50
    """Evaluation episodes of the final policy."""
    workers: int = 2
    """Parallel runs, each with one thread."""
    out: Path = Path("runs/learning")
    """Folder for results.csv, curves.csv, options.json, the figures and runs/."""
    options: str = ""
    """Further options of trpo train for every run, as one string."""

    def __post_init__(self) -> None:
        words_of(self.options)
        require(self, "episodes", self.episodes >= 1, "an integer ≥ 1")
        require(self, "workers", self.workers >= 1, "an integer ≥ 1")
        require(self, "envs", len(self.envs) >= 1, "at least one environment")
        seeds = len(self.seeds) >= 1 and min(self.seeds) >= 0
        require(self, "seeds", seeds, "one integer ≥ 0, or more")

    def words(self, env: str, seed: int) -> list[str]:
        """Return the words after `trpo train` of one run.

        Args:
            env: the environment.
            seed: of the run.
        """
        return train_words(env, seed, words_of(self.options), self.out / "runs")


@dataclass(frozen=True)
class Cell:
    """One run.

    Args:
        env: the environment.
        learner: who trains.
        seed: of the run.
        options: more options of `trpo train`; none for the peer.
    """

    env: str
    learner: Learner
    seed: int
    options: str

    @classmethod
    def of_row(cls, row: dict[str, Any]) -> "Cell":
        """Return the cell that a row of results.csv is of.

        Args:
            row: as it was read.
        """
        return cls(row["environment"], row["learner"], int(row["seed"]), row["options"])

    def columns(self) -> dict[str, Any]:
        """Return what tells its rows from others'."""
        return dict(zip(CELL, (self.env, self.learner, self.seed, self.options), strict=True))


def main(arguments: Sequence[str]) -> int:
    """Train and evaluate every environment with every seed, in parallel processes.

    Args:
        arguments: the words after `trpo benchmark learning`.

    Returns:
        0, or 1 if a run failed.
    """
    options = parse(LearningOptions, with_options_joined(arguments), "benchmark learning")
    done = {Cell.of_row(row) for row in read_rows(options.out / RESULTS, CELL)}
    cells = cells_of(options)
    options.out.mkdir(parents=True, exist_ok=True)
    left = [cell for cell in cells if cell not in done]
    write_provenance(options.out / "provenance.json")
    with ProcessPoolExecutor(options.workers, FORKS, end_with_parent) as pool:
        runs = {pool.submit(run, cell, options): cell for cell in left}
        try:
            failures = keep_all(runs, options.out)
        except UsageError:  # as it is for every run: the peer is not installed
            pool.shutdown(cancel_futures=True)
            raise
        except KeyboardInterrupt:  # the pool would start one more run, and wait for it
            for process in active_children():
                process.kill()
            raise
    if rows := read_rows(options.out / RESULTS):
        print_rows(summarize(rows))
        for axis in ("steps", "seconds"):
            draw(read_rows(options.out / CURVES), axis, options.out / f"{axis}.png")
    return 1 if failures else 0


def cells_of(options: LearningOptions) -> list[Cell]:
    """Return the requested runs, seed by seed, and record what their options resolve to.

    Args:
        options: of the command.

    Returns:
        One per seed, environment and learner.
    """
    runs = {f"{env} {options.options}".strip(): options.words(env, 0) for env in options.envs}
    add_options(options.out, runs)
    peers: tuple[Learner, ...] = ("sb3-contrib",) if options.peer == "sb3" else ()
    cells = (
        Cell(env, learner, seed, options.options if learner == "trpo" else "")
        for seed in options.seeds
        for env in options.envs
        for learner in ("trpo", *peers)
    )
    return list(dict.fromkeys(cells))  # duplicates are run once


def run(cell: Cell, options: LearningOptions) -> Outcome:
    """Train and evaluate once, on one thread.

    Args:
        cell: who trains on what.
        options: evaluation and folders.

    Returns:
        What came of it.
    """
    words = options.words(cell.env, cell.seed)
    if cell.learner == "trpo":
        return learn(words, options.episodes)
    torch.set_num_threads(1)
    steps = parse_train_options(words).learner.trainer.total_steps
    return learn_sb3(cell.env, cell.seed, steps, options.episodes)


def keep_all(runs: Mapping[Future[Outcome], Cell], out: Path) -> int:
    """Add runs to the tables as they end, and print each.

    Args:
        runs: what comes of them, to which they are.
        out: the tables' folder.

    Returns:
        How many failed.

    Raises:
        UsageError: if the peer is not installed.
    """
    failures = 0
    for number, future in enumerate(as_completed(runs), 1):
        cell = runs[future]
        name = f"[{number}/{len(runs)}] {cell.env} {cell.learner} seed {cell.seed}"
        try:
            outcome = future.result()
        except UsageError:
            raise
        except Exception as error:  # one run's failure does not affect the others
            failures += 1
            print(f"{name} failed: {error!r}", flush=True)
            continue
        keep(cell, outcome, out)
        mean, seconds = outcome.deterministic.mean(), outcome.seconds[-1]
        print(f"{name}: {mean:,.1f} in {seconds:.0f} s", flush=True)
    return failures


def keep(cell: Cell, outcome: Outcome, out: Path) -> None:
    """Add a run to the tables: its curve first, as what has a result is not run again.

    Args:
        cell: the run.
        outcome: of it.
        out: the tables' folder.
    """
    # by a command that was killed at this point
    if cell not in map(Cell.of_row, read_rows(out / CURVES)):
        add_rows(out / CURVES, curve(cell, outcome))
    add_rows(out / RESULTS, [cell.columns() | outcome.row()])


def curve(cell: Cell, outcome: Outcome) -> list[dict[str, Any]]:
    """Return a run's learning curve: rows of curves.csv.

    Args:
        cell: the run.
        outcome: of it.

    Returns:
        `POINTS` rows, or one per update if there are fewer.
    """
    updates = len(outcome.steps)
    return [
        cell.columns()
        | {
            "steps": int(outcome.steps[update]),
            "seconds": round(float(outcome.seconds[update]), 2),
            "return_100": outcome.returns[update],
        }
        for update in np.linspace(0, updates - 1, min(POINTS, updates)).round().astype(int)
    ]
