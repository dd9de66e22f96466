"""`trpo train ENV`: trains a policy, shows how it goes, and leaves a run folder behind."""

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from trpo.agents.telemetry import Telemetry
from trpo.agents.trainer import Trainer
from trpo.scripts import run_folder
from trpo.scripts.command import UsageError, run_command
from trpo.scripts.display import Display
from trpo.scripts.hang import Hang
from trpo.scripts.interrupt import Interrupt
from trpo.scripts.lock import locked
from trpo.scripts.loop import learn
from trpo.scripts.options import TrainOptions, parse_train_options
from trpo.scripts.resume import go_on


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
    """Train a policy into a new run folder, or, with `resume`, into the one that is there.

    Args:
        options: all that defines the run.

    Returns:
        The run's folder, and 0; or 130 or 143 when interrupted.

    Raises:
        UsageError: if it is not said which run to resume.
    """
    if options.resume and not options.name:
        raise UsageError("--resume needs --name: which run to go on with, or to start")
    name = options.name or f"seed{options.learner.trainer.seed}-{time.strftime('%Y%m%d-%H%M%S')}"
    folder = run_folder.path(options.runs, options.env, name)
    if options.resume and run_folder.is_run(folder):
        return folder, go_on(folder, options)
    options = replace(
        options, threads=options.cpu_threads
    )  # as config.json has it: sums depend on it by rounding
    with Interrupt() as interrupt:
        hang = Hang()
        # before the folder: a bad environment leaves nothing behind
        hang.trainer = trainer = Trainer(
            partial(options.make_env, on_hang=hang), options.learner, options.threads
        )
        run_folder.create(folder, again=options.resume)
        with locked(folder):
            telemetry = Telemetry(folder, run_folder.write_config(folder, options))
            learn(trainer, telemetry, Display(options.env, options.learner), folder, interrupt)
    return folder, interrupt.exit_code


if __name__ == "__main__":
    sys.exit(run_command(main, sys.argv[1:]))
