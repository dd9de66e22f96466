"""Communication per update between processes that train together, and its time.

Under torchrun, or for a single process:

    torchrun --standalone --nproc-per-node 2 -m trpo.scripts.benchmarks.group HalfCheetah-v5
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist

from trpo.scripts.cli.options import parse_train_options
from trpo.scripts.cli.ranks import Ranks
from trpo.scripts.cli.training import make_trainer

REPEATS = 200  # repetitions of a timed all-reduce
WARM_UP, UPDATES = 3, 20  # updates not measured, and measured


class Meter:
    """Counts the bytes and calls that a process passes to torch.distributed."""

    def __init__(self) -> None:
        self.rounds = self.bytes = 0
        for name, place in (("all_reduce", 0), ("all_gather", 1)):
            setattr(dist, name, self._metered(getattr(dist, name), place))

    def _metered(self, call: Callable, place: int) -> Callable:
        def metered(*arguments: Any, **named: Any) -> None:
            call(*arguments, **named)
            self.rounds += 1
            self.bytes += arguments[place].nbytes

        return metered


def all_reduce_seconds(numbers: int) -> float:
    """Return the median time of an all-reduce of float32."""
    times = []
    for _ in range(REPEATS):
        tensor = torch.ones(numbers)
        before = time.perf_counter()
        dist.all_reduce(tensor)
        times.append(time.perf_counter() - before)
    return statistics.median(times)


def main(words: list[str]) -> int:
    """Train for some updates, and print their cost as JSON, from the first process.

    Args:
        words: of `trpo train`.

    Returns:
        0.
    """
    options = parse_train_options(words)
    with Ranks() as ranks:
        meter = Meter()
        trainer = make_trainer(options, ranks)
        updates = trainer.updates()
        for _ in range(WARM_UP):
            next(updates)
        meter.rounds = meter.bytes = 0
        seconds = [next(updates).metrics["time/seconds"] for _ in range(UPDATES)]
        parameters = sum(p.numel() for p in trainer.agent.policy.parameters())
        found = {
            "processes": ranks.size,
            "threads": options.cpu_threads,
            "environments": options.environment.num_envs,
            "batch": options.learner.trainer.batch_size,
            "parameters": parameters,
            "seconds": statistics.median(seconds),
            "rounds": meter.rounds / UPDATES,
            "bytes": meter.bytes / UPDATES,
        }
        if ranks.size > 1:
            found["one number"] = all_reduce_seconds(1)
            found["one a parameter"] = all_reduce_seconds(parameters)
    if ranks.rank == 0:
        print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
