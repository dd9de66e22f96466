"""`trpo benchmark checkpoint`: the cost of a run's resume points."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trpo.agents.runs.telemetry import Telemetry
from trpo.agents.stopwatch import Stopwatch
from trpo.agents.storage.checkpoint_folder import CheckpointFolder
from trpo.agents.trainer import Trainer
from trpo.scripts.cli.command import EnvIds, parse
from trpo.scripts.cli.options import TrainOptions, parse_train_options
from trpo.scripts.cli.options_record import write_options
from trpo.scripts.cli.tables import print_rows, write_provenance, write_rows
from trpo.validation import require


@dataclass(frozen=True)
class CheckpointOptions:
    """Measure the share of time that resume points take, and of steps in episodes they cut off."""

    envs: EnvIds = ("CartPole-v1", "HalfCheetah-v5")
    """Environments."""
    resume_points: int = 4
    """Resume points to measure; one more interval of training serves as warm-up."""
    threads: int = 0
    """CPU threads; 0: one per core."""
    out: Path = Path("runs/checkpoint")
    """Folder for cost.csv."""

    def __post_init__(self) -> None:
        require(self, "resume_points", self.resume_points >= 1, "an integer ≥ 1")
        require(self, "threads", self.threads >= 0, "an integer ≥ 0")


def main(arguments: Sequence[str]) -> int:
    """Measure, print, and write cost.csv.

    Args:
        arguments: the words after `trpo benchmark checkpoint`.

    Returns:
        0.
    """
    options = parse(CheckpointOptions, arguments, "benchmark checkpoint")
    options.out.mkdir(parents=True, exist_ok=True)
    runs = {env: [env, "--threads", str(options.threads)] for env in options.envs}
    rows = [measure(parse_train_options(words), options.resume_points) for words in runs.values()]
    write_rows(options.out / "cost.csv", rows)
    write_options(options.out, runs)
    write_provenance(options.out / "provenance.json")
    print_rows([
        {name: f"{v:.4g}" if isinstance(v, float) else str(v) for name, v in row.items()}
        for row in rows
    ])
    return 0


def measure(run: TrainOptions, resume_points: int) -> dict[str, Any]:
    """Train, and time what happens at resume points.

    Args:
        run: everything that defines the run.
        resume_points: how many resume points.

    Returns:
        A row of cost.csv.
    """
    interval = run.learner.trainer.checkpoint_interval
    endless = replace(run.learner, trainer=replace(run.learner.trainer, total_steps=10**15))
    trainer = Trainer(run.make_env, endless, run.cpu_threads)
    with tempfile.TemporaryDirectory() as folder:
        telemetry, checkpoints = (
            Telemetry(Path(folder), run.config(None, None)),
            CheckpointFolder(Path(folder)),
        )
        watch, updating, steps, cut = Stopwatch(), 0.0, 0, 0
        for record in trainer.updates():
            # fresh environments come with the first update after a resume point
            watch.lap("updates and fresh environments")
            updating += record.metrics["time/seconds"]
            telemetry.write(record)
            watch.lap("logging")
            if trainer.at_resume_point:
                cut += int(trainer.environments.collector.lengths.sum())
                telemetry.sync()
                checkpoints.save(trainer)
                watch.lap("saving")
            if record.update == interval:  # warm-up is over: measurements start here
                watch, updating, steps, cut = Stopwatch(), 0.0, trainer.steps, 0
            if record.update == interval * (resume_points + 1):
                break
        telemetry.close()
    trainer.close()
    fresh = watch.seconds["updates and fresh environments"] - updating
    return {
        "environment": run.env,
        "interval": interval,
        "resume_points": resume_points,
        "seconds": watch.total,
        "saving_ms": 1000 * watch.seconds["saving"] / resume_points,
        "fresh_environments_ms": 1000 * fresh / resume_points,
        "share_of_time": (watch.seconds["saving"] + fresh) / watch.total,
        "share_of_steps_in_cut_episodes": cut / (trainer.steps - steps),
    }
