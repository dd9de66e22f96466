"""Small runs in processes of their own, and what two runs do not have in common."""

import csv
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.helpers import HOME
from trpo.agents.runs.board import TAGS
from trpo.agents.storage.checkpoint import load_checkpoint
from trpo.scripts import __main__
from trpo.scripts.cli.processes import FORKS

FORKS.set_forkserver_preload(["tests.preloaded"])
UPDATES = 12  # of a run of SMALL
SMALL = (
    f"--total-steps {UPDATES * 256 - 300} --batch-size 256 --num-envs 8 --hidden 8 "
    "--value.hidden 8 --checkpoint-interval 3 --threads 1"
)


def command(words: str, err: str) -> None:
    """Run a command in this process, silently, its errors in a file, and exit with its code."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(err, os.O_WRONLY | os.O_CREAT), 2)
    sys.exit(__main__.main(words.split()))


def start(words: str, err: str | Path = os.devnull) -> multiprocessing.process.BaseProcess:
    process = FORKS.Process(target=command, args=(words, str(err)))
    process.start()
    return process


def launch(words: list[str]) -> subprocess.Popen:
    """Run a command as a shell would, in a session of its own, so that it can be sent signals."""
    command = [sys.executable, "-m", "trpo.scripts", *words]
    return subprocess.Popen(
        command,
        cwd=HOME,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
    )


def wait_for_rows(process: subprocess.Popen, run: Path, count: int) -> None:
    while process.poll() is None and not (
        (run / "metrics.csv").exists() and len(rows(run)) > count
    ):
        time.sleep(0.005)


def rows(run: Path) -> list[bytes]:
    return (run / "metrics.csv").read_bytes().splitlines(keepends=True)


def updates_of(run: Path) -> int:
    table = run / "metrics.csv"
    return max(table.read_bytes().count(b"\n") - 1, 0) if table.exists() else 0


def differences(one: Path, other: Path) -> list[str]:
    """Return the names of what two runs do not have in common, the time that things took aside."""
    found = []
    files = [sorted(path.name for path in (run / "checkpoints").iterdir()) for run in (one, other)]
    if files[0] != files[1] or len(files[0]) < 3:
        return [f"checkpoints {files[0]}, {files[1]}"]
    for name in files[0]:
        mine, theirs = (load_checkpoint(run / "checkpoints" / name) for run in (one, other))
        same = mine.tensors.keys() == theirs.tensors.keys() and all(
            torch.equal(mine.tensors[key], theirs.tensors[key]) for key in mine.tensors
        )
        if not same or mine.state != theirs.state:
            found.append(name)
    if untimed_rows(one) != untimed_rows(other):
        found.append("metrics.csv")
    if scalars(one) != scalars(other):
        found.append("TensorBoard")
    return found


def untimed_rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return [
            {key: value for key, value in row.items() if "time/" not in key}
            for row in csv.DictReader(file)
        ]


def scalars(run: Path) -> dict[str, list[tuple[int, float]]]:
    """The points of TensorBoard's charts, by tag."""
    board = EventAccumulator(str(run), size_guidance={"scalars": 0})
    board.Reload()
    return {
        tag: [(event.step, event.value) for event in board.Scalars(tag)]
        for tag in set(TAGS.values()) & set(board.Tags()["scalars"])
        if "time/" not in tag
    }
