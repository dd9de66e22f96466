"""Kills one of four processes that train a run, and compares with a run of which none was killed.

`make kill-ranks` does so at 20 random moments; `python tests/kill_ranks.py 5 7` at 5, from seed 7
on. Every fourth time torchrun itself starts them, and after the kill again; else the processes are
started as it starts them, which takes less time, and what they say is looked at, too. What differs
is printed, and the exit code is 1.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.groups import Launch
from tests.helpers import HOME
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


def await_moment(random: Random, run: Path, whole: Path, alive: Callable[[], bool]) -> None:
    """Wait for a random update of a run, and a little longer."""
    update = random.randrange(1, updates_of(whole))
    while alive() and updates_of(run) < update:
        time.sleep(0.001)
    time.sleep(random.uniform(0, 0.1))


def survive(seed: int, runs: Path, whole: Path) -> list[str]:
    """Kill a process of a run, start all again, and say what is wrong with what comes of it."""
    random = Random(seed)
    run = runs / "Pendulum-v1" / f"killed{seed}"
    err = runs / f"err{seed}"
    err.mkdir()
    words = f"{TRAIN} --runs {runs} --name {run.name} --resume"
    launch = Launch(words, SIZE, err)
    killed = launch.processes[random.randrange(SIZE)]
    await_moment(random, run, whole, killed.is_alive)
    killed.kill()
    codes, wrong = launch.join(60), []
    if 0 in codes or None in codes or len(launch.said) != 1:
        wrong.append(f"processes ended with {codes}, and said {launch.said}")
    if any(codes := Launch(words, SIZE, err, 1, launch.store).join()):
        return [*wrong, f"started again, they ended with {codes}"]
    return wrong + differences(whole, run)


def survive_torchrun(seed: int, runs: Path, whole: Path) -> list[str]:
    """Kill a process of a run that torchrun started, and say what is wrong with what it makes."""
    random = Random(seed)
    run = runs / "Pendulum-v1" / f"torchrun{seed}"
    torchrun = f"-m torch.distributed.run --standalone --nproc-per-node {SIZE} --max-restarts 1"
    words = f"{torchrun} -m trpo.scripts {TRAIN} --runs {runs} --name {run.name} --resume"
    with subprocess.Popen(
        [sys.executable, *words.split()],
        cwd=HOME,
        env=os.environ | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    ) as agent:
        await_moment(random, run, whole, lambda: agent.poll() is None)
        search = ["pgrep", "--parent", str(agent.pid), "--full", "trpo.scripts"]
        ranks = subprocess.run(search, capture_output=True, text=True, check=False).stdout.split()
        if len(ranks) != SIZE:
            return [f"torchrun has processes {ranks}: {agent.communicate()[0]}"]
        os.kill(int(random.choice(ranks)), signal.SIGKILL)
        said = agent.communicate()[0]
    if agent.returncode:
        return [f"torchrun ended with {agent.returncode}: {said}"]
    # it saw a process die, and started all of them once more
    wrong = [] if "SIGKILL" in said or "exitcode: -9" in said else [f"torchrun said {said}"]
    return wrong + differences(whole, run)


def main(words: Sequence[str]) -> int:
    """Try COUNT moments (20) from seed FIRST (0) on."""
    count, first = [*map(int, words), *(20, 0)[len(words) :]]
    with tempfile.TemporaryDirectory() as folder:
        whole = never_killed(Path(folder))
        wrong = {}
        for seed in range(first, first + count):
            by_torchrun = seed % 4 == 0
            kill = survive_torchrun if by_torchrun else survive
            wrong[seed] = kill(seed, Path(folder), whole)
            name = f"seed {seed}{', torchrun' if by_torchrun else ''}"
            print(f"{name}: {'; '.join(wrong[seed]) or 'the same'}", flush=True)
    same = sum(not found for found in wrong.values())
    print(f"{same} of {count} runs of {SIZE} processes equal one never killed")
    return 0 if same == count else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
