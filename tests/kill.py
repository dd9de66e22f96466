"""Kills small runs at random moments, resumes them, and compares them with runs never stopped.

`make kill` does so with 30 runs; `python tests/kill.py 5 7` with 5, from seed 7 on. What differs is
printed, and the exit code is 1.
"""

import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.processes import SMALL, UPDATES, differences, start, updates_of

ENVIRONMENTS = (
    "CartPole-v1 --engine envpool",
    "Pendulum-v1",
    "CartPole-v1 --engine gymnasium",
    "Pendulum-v1 --value.fit adam --distribution beta",
    "MiniGrid-Empty-5x5-v0",
    "CartPole-v1 --recurrent gru --recurrent-size 8",
)


@dataclass(frozen=True)
class Outcome:
    """What became of a run: how often it was killed, what differs from the one never stopped."""

    kills: int
    differences: list[str]


def kill_at(process: BaseProcess, run: Path, update: int, delay: float) -> bool:
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
    environment = ENVIRONMENTS[seed % len(ENVIRONMENTS)]
    train = f"train {environment} {SMALL} --seed {seed} --runs {runs} --resume --name"
    whole, killed = (
        runs / environment.split()[0] / f"{name}{seed}" for name in ("whole", "killed")
    )
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
