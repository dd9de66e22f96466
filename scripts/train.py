"""`trpo train ENV`: trains a policy, shows how it goes, and leaves a run folder behind."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from agents.checkpoint import save_checkpoint
from agents.telemetry import Telemetry
from agents.trainer import Trainer
from scripts import run_folder
from scripts.command import run_command
from scripts.display import Display
from scripts.options import TrainOptions, parse_train_options
from trpo.parallel import set_workers


def main(arguments: Sequence[str]) -> int:
    """Train, as the options say.

    Args:
        arguments: the words after `trpo train`.

    Returns:
        0, or 130 when interrupted.
    """
    options = parse_train_options(arguments)
    _, finished = train(options)
    return 0 if finished else 130


def train(options: TrainOptions) -> tuple[Path, bool]:
    """Train a policy into a new run folder.

    Args:
        options: all that defines the run.

    Returns:
        The run's folder, and whether training came to its end.
    """
    set_workers(options.cpu_threads)
    trainer = Trainer(options.make_env, options.learner)  # before the folder: a bad environment leaves nothing behind
    name = options.name or f"seed{options.learner.trainer.seed}-{time.strftime('%Y%m%d-%H%M%S')}"
    folder = run_folder.create(options.runs, options.env, name)
    telemetry = Telemetry(folder, run_folder.write_config(folder, options))

    finished = False
    with Display(f"TRPO on {options.env}", options.learner.trainer.total_steps, options.learner.trust_region.max_kl) as display:
        try:
            for record in trainer.updates():
                telemetry.write(record)
                display.show(record)
                if trainer.at_boundary:
                    save(trainer, folder)
            finished = True
        except KeyboardInterrupt:
            display.console.print("interrupted: the policy as it is now is saved")
        finally:
            save(trainer, folder)
            telemetry.close(display.results())
    display.summarize(folder)
    return folder, finished


def save(trainer: Trainer, folder: Path) -> None:
    """Write a checkpoint of the run as it is now.

    Args:
        trainer: at rest between updates.
        folder: the run's.
    """
    save_checkpoint(folder / "checkpoints" / f"update-{trainer.update:06d}.safetensors", *trainer.snapshot())


if __name__ == "__main__":
    sys.exit(run_command(main, sys.argv[1:]))
