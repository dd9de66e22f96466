"""`trpo train ENV`: trains a policy, shows how it goes, and leaves a run folder behind."""

import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from agents.checkpoint_folder import CheckpointFolder
from agents.telemetry import Telemetry
from agents.trainer import Trainer
from scripts import run_folder
from scripts.command import run_command
from scripts.display import Display
from scripts.interrupt import Interrupt
from scripts.lock import locked
from scripts.options import TrainOptions, parse_train_options
from trpo.parallel import set_workers


def main(arguments: Sequence[str]) -> int:
    """Train, as the options say.

    Args:
        arguments: the words after `trpo train`.

    Returns:
        0; 130 or 143 when interrupted.
    """
    _, exit_code = train(parse_train_options(arguments))
    return exit_code


def train(options: TrainOptions) -> tuple[Path, int]:
    """Train a policy into a new run folder.

    Args:
        options: all that defines the run.

    Returns:
        The run's folder, and 0; or 130 or 143 when interrupted.
    """
    options = replace(options, threads=options.cpu_threads)  # as config.json has it: sums depend on it by rounding
    set_workers(options.threads)
    with Interrupt() as interrupt:
        trainer = Trainer(options.make_env, options.learner)  # before the folder: a bad environment leaves nothing behind
        name = options.name or f"seed{options.learner.trainer.seed}-{time.strftime('%Y%m%d-%H%M%S')}"
        folder = run_folder.create(options.runs, options.env, name)
        with locked(folder):
            telemetry = Telemetry(folder, run_folder.write_config(folder, options))
            learn(trainer, telemetry, Display(options.env, options.learner), folder, interrupt)
    return folder, interrupt.exit_code


def learn(trainer: Trainer, telemetry: Telemetry, display: Display, folder: Path, interrupt: Interrupt) -> None:
    """Run the training loop, and write down what comes of it: rows, checkpoints, results.

    Args:
        trainer: new, or restored from a checkpoint.
        telemetry: the run's.
        display: what the user sees.
        folder: the run's; this process holds its lock.
        interrupt: ends training after the update in which it comes.
    """
    checkpoints = CheckpointFolder(folder / "checkpoints")
    with closing(trainer), closing(telemetry), display:
        for record in trainer.updates():
            telemetry.write(record)
            display.show(record)
            last = trainer.finished or bool(interrupt.signal)
            if last:
                telemetry.write_results(display.results())
            if last or trainer.at_boundary:
                telemetry.sync()  # before the checkpoint, which is never ahead of the table
                checkpoints.save(trainer)
            if last:
                break
    display.summarize(folder)
    if not trainer.finished:
        print(f"interrupted, and saved; to go on: trpo resume {folder}")


if __name__ == "__main__":
    sys.exit(run_command(main, sys.argv[1:]))
