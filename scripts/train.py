"""`trpo train ENV`: trains a policy, shows how it goes, and leaves a run folder behind."""

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from trpo.agents.actions import odd_scale
from trpo.agents.agent import TENSORS
from trpo.agents.runs import Run
from trpo.agents.runs.checkpoint_folder import read_checkpoint
from trpo.agents.runs.typed_json import first_difference, to_json
from trpo.agents.tensor_names import without_prefix
from trpo.agents.trainer import Trainer
from trpo.scripts.cli.command import UsageError, warn
from trpo.scripts.cli.hang import Hang
from trpo.scripts.cli.interrupt import Interrupt
from trpo.scripts.cli.options import TrainOptions, parse_train_options
from trpo.scripts.cli.training import continue_run, finished, train_into
from trpo.scripts.exercises.student import keep_exercise, use_exercise
from trpo.validation import ConfigError


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
        UsageError: if it is not said which run to resume, or there is a run of that name.
    """
    if options.resume and not options.name:
        raise UsageError("--resume needs --name: which run to go on with, or to start")
    name = f"seed{options.learner.trainer.seed}-{time.strftime('%Y%m%d-%H%M%S')}"
    options = replace(options, name=options.name or name)
    folder = options.folder
    with Interrupt() as interrupt:
        if Run.exists(folder):
            if not options.resume:
                raise UsageError(
                    f"run {folder} exists: choose another --name, or go on with it by --resume"
                )
            go_on(Run.open(folder), options, interrupt)
        else:
            start(folder, options, interrupt)
    return folder, interrupt.exit_code


def start(folder: Path, options: TrainOptions, interrupt: Interrupt) -> None:
    """Train into a new run folder.

    Args:
        folder: the run's.
        options: all that defines the run.
        interrupt: ends training after the update in which it comes.
    """
    hang = Hang()
    # before the folder: a bad environment leaves nothing behind
    make_env = partial(options.make_env, on_hang=hang)
    hang.trainer = trainer = Trainer(make_env, options.learner, options.cpu_threads)
    if unscaled := odd_scale(trainer.agent.action_space):
        warn(unscaled)
    if options.exercise:
        use_exercise(trainer, options.exercise)
    if options.from_run:
        take_agent(trainer, options.from_run)
    config = options.config(trainer.agent.observation_space, trainer.agent.action_space)
    begun = trainer if options.from_run else None
    run = Run.create(folder, config, exist_ok=options.resume, start=begun)
    if options.exercise:
        keep_exercise(options.exercise, folder)
    train_into(run, trainer, interrupt, options.quiet)


def take_agent(trainer: Trainer, path: Path) -> None:
    """Let training begin from a trained agent: networks, normalisation, scales.

    Args:
        trainer: before its first update.
        path: a run's folder, for its newest checkpoint, or a checkpoint.

    Raises:
        UsageError: if the agent is of other spaces or networks.
    """
    checkpoint = read_checkpoint(path)
    try:
        trainer.agent.load_tensors(without_prefix(TENSORS, checkpoint.tensors))
    except ConfigError as error:
        raise UsageError(
            f"--from {path}: {error}; --like takes a run's options, its networks among them"
        ) from error


def go_on(run: Run, options: TrainOptions, interrupt: Interrupt) -> None:
    """Go on with a run, if it is the one that the options define; if it is finished, say so.

    Args:
        run: which was begun.
        options: those of `trpo train`.
        interrupt: ends training after the update in which it comes.

    Raises:
        UsageError: if the run was started with other options.
    """
    begun = run.config
    threads = options.threads or begun.threads  # whatever this machine has
    asked = replace(options, threads=threads).config(begun.observation_space, begun.action_space)
    asked = replace(asked, versions=begun.versions, git_commit=begun.git_commit)
    if found := first_difference(to_json(begun), to_json(asked)):
        name, old, new = found
        raise UsageError(
            f"run {run.folder} was started with {name} = {old!r}, not {new!r}: "
            "choose another --name"
        )
    with run.lock:
        if said := finished(run, options.learner.trainer):
            print(said)
        else:
            # trusted: the environment was named
            continue_run(run, options.learner.trainer, interrupt, True, options.quiet)


if __name__ == "__main__":
    from trpo.scripts.__main__ import main as run_from_shell

    sys.exit(run_from_shell(["train", *sys.argv[1:]]))
