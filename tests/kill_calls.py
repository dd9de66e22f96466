"""Kills processes at single calls that change files, and checks that nothing good is lost.

`make kill-calls` does so 75 times, over `train`, `resume --total-steps` and the cells of `compare`;
`python tests/kill_calls.py 20 7` 20 times, from seed 7 on. A call is a rename, an unlink, a new
folder, an fsync, or half of a write to a growing file: what comes after it never happens. Then the
same command is given again, and what results is compared with a run that was never stopped.
"""

import contextlib
import io
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.processes import FORKS, SMALL, differences
from trpo.agents.runs import Run
from trpo.agents.storage.files import AppendedFile
from trpo.scripts import __main__
from trpo.scripts.comparison.grid import Cell, Grid, read_cell, run_cell

LONGER = "--total-steps 4000"
CALLS = ("fsync", "replace", "rename", "unlink", "mkdir")
MOST = 10**9


def die_at(number: int, counter: Path) -> None:
    """Let this process die at a call, before it; count the calls in a file's size."""
    descriptor = os.open(counter, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    made = 0

    def count() -> bool:
        nonlocal made
        made += 1
        os.write(descriptor, b".")
        return made == number

    def counted(call: Callable) -> Callable:
        def instead(*words, **options):
            if count():
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*words, **options)

        return instead

    def write(self: AppendedFile, content: bytes) -> None:
        if count():
            whole_write(self, content[: len(content) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        whole_write(self, content)

    whole_write, AppendedFile.write = AppendedFile.write, write
    for name in CALLS:
        setattr(os, name, counted(getattr(os, name)))


def work(job: Callable[[], int], number: int, counter: Path) -> None:
    die_at(number, counter)
    with contextlib.redirect_stdout(io.StringIO()):
        sys.exit(job())


@dataclass(frozen=True)
class Command:
    """A command line, as a job for another process."""

    words: str

    def __call__(self) -> int:
        return __main__.main(self.words.split())


@dataclass(frozen=True)
class TrainCell:
    """A cell of `trpo compare`, likewise."""

    grid: Grid
    cell: Cell

    def __call__(self) -> int:
        run_cell(self.grid, self.cell)
        return 0


def run_to(job: Callable[[], int], number: int, folder: Path) -> tuple[int | None, int]:
    """Do a job in another process, which dies at a call; return its exit code and its calls."""
    counter = folder / "calls"
    process = FORKS.Process(target=work, args=(job, number, counter))
    process.start()
    process.join()
    return process.exitcode, counter.stat().st_size


def newest(run: Path) -> int:
    """Return the update of a run's newest checkpoint that can be used, -1 if there is none."""
    with contextlib.suppress(ValueError):
        checkpoint = Run.open(run).checkpoints.newest(lambda _: None)
        return checkpoint.state["update"] if checkpoint else -1
    return -1


class Harness:
    """Runs that were never stopped, and what becomes of those that are.

    Args:
        folder: an empty one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.finished = self._path("finished")
        self._command("finished", "").__call__()
        self.longer = self._path("longer")
        self._command("longer", LONGER).__call__()
        self.grid = Grid("CartPole-v1", 2000, SMALL.replace("--threads 1", ""), folder / "grid")
        self.cell = Cell("trpo", 0.02, 0)
        TrainCell(self.grid, self.cell)()
        self.rows = read_cell(self.grid, self.cell)
        self.calls: dict[str, int] = {}  # of each kind of job, once one was done
        self.kills = 0

    def train(self, random: Random) -> list[str]:
        """Kill `trpo train --resume`, and give the command again."""
        shutil.rmtree(self._path("x"), ignore_errors=True)
        job = self._command("x", "")
        kept = self._kill("train", job, random, self._path("x"), -1)
        return kept + self._again(job, self.finished, self._path("x"))

    def resume(self, random: Random) -> list[str]:
        """Kill `trpo resume --total-steps` of a finished run, whose policy must not be lost."""
        run = self._path("y")
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(self.finished, run)
        job = Command(f"resume {run} {LONGER}")
        kept = self._kill("resume", job, random, run, newest(self.finished))
        return kept + self._again(job, self.longer, run)

    def compare(self, random: Random) -> list[str]:
        """Kill a cell of `trpo compare`, which begins anew."""
        shutil.rmtree(self.grid.folder(self.cell))
        job = TrainCell(self.grid, self.cell)
        kept = self._kill("compare", job, random, self.grid.folder(self.cell), -1)
        if not self.grid.finished(self.cell):
            kept += [] if run_to(job, MOST, self.folder)[0] == 0 else ["compare: no second try"]
        same = read_cell(self.grid, self.cell) == self.rows
        return kept + ([] if same else ["compare: other rows"])

    def _kill(
        self, name: str, job: Callable[[], int], random: Random, run: Path, least: int
    ) -> list[str]:
        number = random.randrange(1, self.calls.get(name, 80) + 1)
        code, calls = run_to(job, number, self.folder)
        if code == 0:  # it made fewer calls than that
            self.calls[name] = calls
        self.kills += code == -signal.SIGKILL
        if code not in {0, -signal.SIGKILL}:
            return [f"{name}, call {number}: exit code {code}"]
        if newest(run) < least:
            return [f"{name}, call {number}: update {least} is gone, {newest(run)} is left"]
        files = sorted((run / "checkpoints").glob("update-*"))
        if files and newest(run) < 0:
            return [f"{name}, call {number}: no checkpoint can be used"]
        return []

    def _again(self, job: Callable[[], int], whole: Path, run: Path) -> list[str]:
        code, _ = run_to(job, MOST, self.folder)
        if code not in {0, 2}:  # 2: it was finished before
            return [f"{job}: exit code {code}"]
        return differences(whole, run) + [str(draft) for draft in run.rglob("*.tmp")]

    def _path(self, name: str) -> Path:
        return self.folder / "CartPole-v1" / name

    def _command(self, name: str, more: str) -> Command:
        words = f"train CartPole-v1 {SMALL} {more} --runs {self.folder} --name {name}"
        return Command(f"{words} --resume")


def main(words: Sequence[str]) -> int:
    """Make COUNT trials (75) from seed FIRST (0) on."""
    count, first = [*map(int, words), *(75, 0)[len(words) :]]
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        with contextlib.redirect_stdout(io.StringIO()):
            harness = Harness(Path(folder))
        kinds = harness.train, harness.resume, harness.compare
        for seed in range(first, first + count):
            for said in kinds[seed % len(kinds)](Random(seed)):
                wrong.append(said)
                print(f"seed {seed}: {said}", flush=True)
    print(f"{harness.kills} kills in {count} trials; {len(wrong)} things wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
