"""Kills small runs at random moments, resumes them, and compares them with runs never stopped.

`make kill` does so with 30 runs; `python tests/kill.py 5 7` with 5, from seed 7 on. What differs is
printed, and the exit code is 1.
"""

import csv
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from trpo.agents.runs.checkpoint import load_checkpoint
from trpo.scripts import __main__

FORKS = multiprocessing.get_context(
    "forkserver"
)  # processes that have torch imported already, and nothing else done
FORKS.set_forkserver_preload(["trpo.scripts.train", "trpo.scripts.resume", "envpool"])
UPDATES = 12
SMALL = (
    f"--total-steps {UPDATES * 256 - 300} --batch-size 256 --num-envs 8 --hidden 8 "
    "--checkpoint-interval 3 --threads 1"
)
WORLDS = (
    "CartPole-v1 --engine envpool",
    "Pendulum-v1",
    "CartPole-v1 --engine gymnasium",
    "Pendulum-v1 --value.fit adam",
)


@dataclass(frozen=True)
class Outcome:
    """What became of a run: how often it was killed, what differs from the one never stopped."""

    kills: int
    differences: list[str]


def command(words: str, err: str) -> None:
    """Run a command in this process, silently, its errors in a file, and exit with its code."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(err, os.O_WRONLY | os.O_CREAT), 2)
    sys.exit(__main__.main(words.split()))


def start(words: str, err: str | Path = os.devnull) -> multiprocessing.process.BaseProcess:
    process = FORKS.Process(target=command, args=(words, str(err)))
    process.start()
    return process


def updates_of(run: Path) -> int:
    table = run / "metrics.csv"
    return max(table.read_bytes().count(b"\n") - 1, 0) if table.exists() else 0


def kill_at(
    process: multiprocessing.process.BaseProcess, run: Path, update: int, delay: float
) -> bool:
    """Wait for an update, then `delay` seconds, and kill; return whether it was still alive."""
    while process.is_alive() and updates_of(run) < update:
        time.sleep(0.001)
    process.join(delay)
    killed = process.is_alive()
    process.kill()
    process.join()
    return killed


def survive(seed: int, runs: Path) -> Outcome:
    """Train a run once without and once with kills; say what differs."""
    random = Random(seed)
    world = WORLDS[seed % len(WORLDS)]
    train = f"train {world} {SMALL} --seed {seed} --runs {runs} --resume --name"
    whole, killed = (runs / world.split()[0] / f"{name}{seed}" for name in ("whole", "killed"))
    reference = start(f"{train} whole{seed}")
    reference.join()

    kills, wanted, alive = 0, random.randrange(1, 5), True
    while kills == 0 or (alive and kills < wanted):
        process = start(f"{train} killed{seed}")
        update = random.randrange(min(updates_of(killed), UPDATES - 2), UPDATES - 1)
        delay = random.uniform(0, 0.5) if random.random() < 0.3 else random.uniform(0, 0.05)
        alive = kill_at(process, killed, update, delay)
        kills += alive
        if kills == 0:  # it ended unharmed: begin anew
            shutil.rmtree(killed)
    last = start(f"{train} killed{seed}")
    last.join()
    if last.exitcode:
        return Outcome(kills, [f"the last process ended with {last.exitcode}"])
    return Outcome(kills, differences(whole, killed))


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
    with (run / "metrics.csv").open(newline="") as file:
        return [
            {key: value for key, value in row.items() if "time/" not in key}
            for row in csv.DictReader(file)
        ]


def scalars(run: Path) -> dict[str, list[tuple[int, float]]]:
    board = EventAccumulator(str(run), size_guidance={"scalars": 0})
    board.Reload()
    tags = [tag for tag in board.Tags()["scalars"] if "time/" not in tag]
    return {tag: [(event.step, event.value) for event in board.Scalars(tag)] for tag in tags}


def main(words: Sequence[str]) -> int:
    """Try COUNT runs (30) from seed FIRST (0) on."""
    count, first = [*map(int, words), *(30, 0)[len(words) :]]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        outcomes = list(
            pool.map(lambda seed: survive(seed, Path(folder)), range(first, first + count))
        )
    for seed, outcome in enumerate(outcomes, first):
        if outcome.differences:
            print(f"seed {seed}: {', '.join(outcome.differences)}")
    same = sum(not outcome.differences for outcome in outcomes)
    killed, kills = (
        sum(outcome.kills > 0 for outcome in outcomes),
        sum(outcome.kills for outcome in outcomes),
    )
    print(
        f"{same} of {count} runs equal runs never stopped; "
        f"{killed} of them were killed, {kills} times in all"
    )
    return 0 if same == count else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
