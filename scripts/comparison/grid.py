"""A grid of training runs: methods × step sizes × seeds, each run in a separate process."""

import contextlib
import io
import json
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from trpo.agents.runs.metrics_table import TABLE, read_records
from trpo.agents.storage.files import read_file, replace_file
from trpo.report import Status
from trpo.scripts.cli.command import UsageError, run_command
from trpo.scripts.cli.interrupt import Interrupt, Interrupted
from trpo.scripts.cli.numbers import counted
from trpo.scripts.cli.options import parse_train_options, run_folder
from trpo.scripts.cli.processes import start_process
from trpo.scripts.cli.train_words import words_of
from trpo.scripts.comparison.methods import METHODS
from trpo.scripts.train import train

COLUMNS = {  # of a grid's table, from a run's
    "episode_return": "episode/return",
    "mean_kl": "update/mean_kl",
    "entropy": "policy/entropy",
    "gradient_norm": "update/gradient_norm",
}


@dataclass(frozen=True)
class Cell:
    """One run of the grid.

    Args:
        method: of `METHODS`.
        step_size: on the method's own scale.
        seed: of the run.
    """

    method: str
    step_size: float
    seed: int

    def __str__(self) -> str:
        """Return its name, which is also its folder's."""
        return f"{self.method} {self.step_size:g} seed {self.seed}"


@dataclass(frozen=True)
class Grid:
    """The settings shared by all cells.

    Args:
        env: the environment.
        steps: environment steps per run.
        options: more options of `trpo train`.
        out: the grid's folder.
    """

    env: str
    steps: int
    options: str
    out: Path

    def claim(self) -> None:
        """Record the grid's settings in its folder, or check that they are the same.

        Raises:
            UsageError: if it contains a grid with different settings.
        """
        path, mine = (
            self.out / "grid.json",
            {"env": self.env, "steps": self.steps, "options": self.options},
        )
        try:
            held = json.loads(read_file(path))
        except FileNotFoundError:
            held = mine
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{path} cannot be read: {error}") from error
        if not isinstance(held, dict):
            raise UsageError(f"{path} cannot be read: expected an object")
        for name, value in mine.items():
            if held.get(name) != value:
                raise UsageError(
                    f"{self.out} holds a grid with {name} = {held.get(name)!r}, not {value!r}: "
                    "choose another --out"
                )
        replace_file(path, (json.dumps(mine) + "\n").encode())

    def folder(self, cell: Cell) -> Path:
        """Return a cell's run folder.

        Args:
            cell: of this grid.

        Returns:
            The folder, which need not exist yet.
        """
        return run_folder(self.out / "runs", self.env, str(cell))

    def options_of(self, cell: Cell) -> list[str]:
        """Return the words after `trpo train`, without the run's folder and seed.

        Args:
            cell: of this grid.

        Returns:
            Words.
        """
        method = METHODS[cell.method]
        mine = f"{method.options} {method.step_option} {cell.step_size:g}"
        mine += f" --total-steps {self.steps} --threads 1 --keep-checkpoints 1"
        return [self.env, *words_of(self.options), *mine.split()]

    def words(self, cell: Cell) -> list[str]:
        """Return the words after `trpo train`.

        Args:
            cell: of this grid.

        Returns:
            Words.
        """
        place = ["--runs", str(self.out / "runs"), "--name", str(cell), "--seed", str(cell.seed)]
        return [*self.options_of(cell), *place]

    def finished(self, cell: Cell) -> bool:
        """Return whether a cell is finished.

        Args:
            cell: of this grid.

        Returns:
            Whether its folder says so.
        """
        return (self.folder(cell) / "finished.json").exists()


def run_cell(grid: Grid, cell: Cell) -> None:
    """Train one cell in this process; it is also finished if its numbers became non-finite.

    Args:
        grid: the shared settings.
        cell: the one to train.
    """
    folder = grid.folder(cell)
    shutil.rmtree(folder, ignore_errors=True)  # left by an interrupt
    with contextlib.redirect_stdout(io.StringIO()):
        exit_code = run_command(
            lambda words: train(parse_train_options(words))[1], grid.words(cell)
        )
    stopped = exit_code == 1 and _stopped(grid, cell)
    if exit_code and not stopped:
        sys.exit(exit_code)
    (folder / "finished.json").touch()


def _stopped(grid: Grid, cell: Cell) -> bool:
    rows = read_cell(grid, cell)
    return bool(rows) and rows[-1]["status"] == Status.NON_FINITE.name


def run_cells(grid: Grid, cells: Sequence[Cell], workers: int) -> list[Cell]:
    """Train the unfinished cells in parallel, and print the progress.

    Args:
        grid: the shared settings.
        cells: to train.
        workers: parallel processes, each with one thread.

    Returns:
        The cells whose process failed.

    Raises:
        Interrupted: after Ctrl-C or SIGTERM, once every process has ended.
    """
    waiting = [cell for cell in cells if not grid.finished(cell)]
    total, started = len(waiting), time.perf_counter()
    runs = counted(len(cells), "run")
    print(f"{runs}, {len(cells) - total} of them finished earlier", flush=True)
    running: list[tuple[Cell, BaseProcess]] = []
    failed: list[Cell] = []
    with Interrupt() as interrupt:
        while waiting or running:
            while waiting and len(running) < workers:
                cell = waiting.pop(0)
                running.append((cell, start_process(run_cell, grid, cell)))
            wait([process.sentinel for _, process in running], timeout=0.5)
            ended = [(cell, process) for cell, process in running if not process.is_alive()]
            running = [each for each in running if each not in ended]
            for number, (cell, process) in enumerate(ended, 1):
                if process.exitcode:
                    failed.append(cell)
                done = total - len(waiting) - len(running) - len(ended) + number
                left = (time.perf_counter() - started) / done * (total - done) / 60
                said = (
                    f"FAILED with exit code {process.exitcode}"
                    if process.exitcode
                    else _summary(grid, cell)
                )
                print(f"[{done}/{total}] {cell}: {said}; {left:,.0f} min left", flush=True)
            if interrupt.signal:
                for _, process in running:
                    process.terminate()
                for _, process in running:
                    process.join()
                print("interrupted; repeat the command to resume", flush=True)
                raise Interrupted(interrupt.exit_code)
    return failed


def _summary(grid: Grid, cell: Cell) -> str:
    rows = read_cell(grid, cell)
    returns = [row["episode_return"] for row in rows if row["episode_return"]]
    last = f"last return {float(returns[-1]):,.1f}" if returns else "no episode ended"
    largest = max((float(row["mean_kl"]) for row in rows), default=0.0)
    return f"{last}, largest KL {largest:.3g}" + (", stopped" if _stopped(grid, cell) else "")


def read_cell(grid: Grid, cell: Cell) -> list[dict[str, Any]]:
    """Read a finished cell's updates.

    Args:
        grid: the shared settings.
        cell: a finished one.

    Returns:
        Rows of the grid's table, one per update; numbers with 6 digits.
    """
    name = {"method": cell.method, "step_size": f"{cell.step_size:g}", "seed": cell.seed}
    return [
        name
        | {"update": str(record.update), "steps": str(record.steps)}
        | {ours: _short(record.metrics.get(theirs, "")) for ours, theirs in COLUMNS.items()}
        | {"status": record.status.name}
        for record in read_records(grid.folder(cell) / TABLE)
    ]


def _short(value: float | str) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
