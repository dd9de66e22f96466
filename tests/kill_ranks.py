"""Kills one of four processes that train a run, starts them again, compares with one never killed.

`make kill-ranks` does so at 20 random moments; `python tests/kill_ranks.py 5 7` at 5, from seed 7
on. What differs is printed, and the exit code is 1.
"""

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.groups import Launch
from tests.processes import SMALL, differences, updates_of

SIZE = 4
TRAIN = f"train Pendulum-v1 {SMALL}"


def never_killed(runs: Path) -> Path:
    """Train the run that all others are compared with."""
    run = runs / "Pendulum-v1" / "whole"
    launch = Launch(f"{TRAIN} --runs {runs} --name whole", SIZE, runs)
    codes = launch.join()
    if any(codes):
        raise RuntimeError(f"processes ended with {codes}: {launch.said}")
    return run


def survive(seed: int, runs: Path, whole: Path) -> list[str]:
    """Kill a process of a run, let it go on, and say what is wrong with what comes of it."""
    random = Random(seed)
    run = runs / "Pendulum-v1" / f"killed{seed}"
    err = runs / f"err{seed}"
    err.mkdir()
    words = f"{TRAIN} --runs {runs} --name {run.name} --resume"
    launch = Launch(words, SIZE, err)
    killed, update = (
        launch.processes[random.randrange(SIZE)],
        random.randrange(1, updates_of(whole)),
    )
    while killed.is_alive() and updates_of(run) < update:
        time.sleep(0.001)
    time.sleep(random.uniform(0, 0.1))
    killed.kill()
    codes, wrong = launch.join(60), []
    if 0 in codes or None in codes or len(launch.said) != 1:
        wrong.append(f"processes ended with {codes}, and said {launch.said}")
    if any(codes := Launch(words, SIZE, err, 1).join()):
        return [*wrong, f"started again, they ended with {codes}"]
    return wrong + differences(whole, run)


def main(words: Sequence[str]) -> int:
    """Try COUNT moments (20) from seed FIRST (0) on."""
    count, first = [*map(int, words), *(20, 0)[len(words) :]]
    with tempfile.TemporaryDirectory() as folder:
        whole = never_killed(Path(folder))
        wrong = {}
        for seed in range(first, first + count):
            wrong[seed] = survive(seed, Path(folder), whole)
            print(f"seed {seed}: {'; '.join(wrong[seed]) or 'the same'}", flush=True)
    same = sum(not found for found in wrong.values())
    print(f"{same} of {count} runs of {SIZE} processes equal one never killed")
    return 0 if same == count else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
