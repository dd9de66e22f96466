"""`trpo train ENV`: trains a policy, shows its progress, and leaves a run folder."""

import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from trpo.agents.actions import odd_scale
from trpo.agents.agent import TENSORS, AgentConfig
from trpo.agents.distributions.factory import make_family
from trpo.agents.distributions.family import Family
from trpo.agents.runs import Run
from trpo.agents.storage.checkpoint import decode
from trpo.agents.storage.checkpoint_folder import read_checkpoint
from trpo.agents.storage.migration import migrate_agent
from trpo.agents.storage.tensor_names import without_prefix
from trpo.agents.storage.typed_json import first_difference, from_json, to_json
from trpo.agents.trainer import Trainer
from trpo.scripts.cli import torchrun
from trpo.scripts.cli.claim import claim_name
from trpo.scripts.cli.command import UsageError, warn
from trpo.scripts.cli.filming import check_filming
from trpo.scripts.cli.interrupt import Interrupt
from trpo.scripts.cli.options import TrainOptions, parse_train_options
from trpo.scripts.cli.ranks import BEGIN, FINISHED, Ranks, errors_from_rank_zero
from trpo.scripts.cli.seeds import train_seeds
from trpo.scripts.cli.training import continue_run, finished, make_trainer, train_into
from trpo.scripts.exercises.play import FILE
from trpo.scripts.exercises.student import exercise_of, use_exercise
from trpo.validation import ConfigError


def main(arguments: Sequence[str]) -> int:
    """Train, as the options say.

    Args:
        arguments: the words after `trpo train`.

    Returns:
        0; 130 or 143 when interrupted.
    """
    with errors_from_rank_zero():
        options = parse_train_options(arguments, for_one_algorithm=True)
        if options.resume and not options.name:
            raise UsageError("--resume needs --name: which run to resume, or to start")
        if options.seeds > 1 and torchrun.size() > 1:
            raise UsageError("--seeds is for one process: give torchrun a command for each seed")
    if options.seeds > 1:
        return train_seeds(options, train)
    _, exit_code = train(options)
    return exit_code


def train(options: TrainOptions) -> tuple[Path, int]:
    """Train a policy into a new run folder, or, with `resume`, into the existing one.

    Under torchrun, only the first process reads and writes the folder.

    Args:
        options: all that defines the run.

    Returns:
        The run's folder, and 0; or 130 or 143 when interrupted.

    Raises:
        UsageError: if there is a run of that name.
    """
    folder = options.folder
    with Interrupt() as interrupt, Ranks(options.group_timeout) as ranks:
        if ranks.rank > 0:
            follow(options, interrupt, ranks)
        elif not (options.name and Run.exists(folder)):
            folder = start(options, interrupt, ranks)
        elif options.resume:
            go_on(Run.open(folder), options, interrupt, ranks)
        else:
            raise UsageError(
                f"run {folder} exists: choose another --name, or resume it with --resume"
            )
    return folder, interrupt.exit_code


def start(options: TrainOptions, interrupt: Interrupt, ranks: Ranks) -> Path:
    """Train into a new run folder.

    Args:
        options: all that defines the run.
        interrupt: ends training after the current update.
        ranks: the processes that train it, of which this is the first.

    Returns:
        The folder.

    Raises:
        UsageError: if the folder contains an exercise.py, but the run does not use it.
    """
    left = options.folder / FILE
    if options.name and not options.exercise and left.exists():
        raise UsageError(f"{left} is there: add --exercise, or choose another --name")
    check_filming(options)
    ranks.send(BEGIN)
    # first, so that a bad environment leaves no folder behind
    trainer = make_trainer(options, ranks)
    if unscaled := odd_scale(trainer.agent.action_space):
        warn(unscaled)
    if options.exercise:
        use_exercise(trainer, options.exercise)
    if options.from_run:
        take_agent(trainer, options.from_run)
    config = options.config(trainer.agent.observation_space, trainer.agent.action_space)
    begun = trainer if options.from_run else None
    if not options.name:
        stamp = f"seed{options.learner.trainer.seed}-{time.strftime('%Y%m%d-%H%M%S')}"
        options = replace(options, name=claim_name(options, stamp))
    exercise = exercise_of(options.exercise)
    files = {FILE: exercise} if exercise is not None else {}
    run = Run.create(options.folder, config, exist_ok=options.resume, start=begun, files=files)
    train_into(run, trainer, interrupt, options, ranks)
    return run.folder


def take_agent(trainer: Trainer, path: Path) -> None:
    """Initialise training from a trained agent: networks, normalisation, scales.

    Args:
        trainer: before its first update.
        path: a run's folder, for its newest checkpoint, or a checkpoint.

    Raises:
        UsageError: if the agent's spaces or networks differ.
    """
    checkpoint = read_checkpoint(path)
    try:
        if said := checkpoint.state.get("agent"):
            _check_family(from_json(AgentConfig, migrate_agent(said)), trainer.agent.policy.family)
        trainer.agent.load_tensors(without_prefix(TENSORS, checkpoint.tensors))
    except ValueError as error:
        raise UsageError(
            f"--from {path}: {error}; --like takes a run's options, its networks and distribution "
            "among them"
        ) from error


def _check_family(theirs: AgentConfig, own: Family) -> None:
    # tensors of different distributions may have the same names and shapes
    families = make_family(theirs.action_space, theirs.policy), own
    kinds = [(repr(family), family.choices()) for family in families]
    if kinds[0] != kinds[1]:
        raise ConfigError("its actions have another distribution")


def follow(options: TrainOptions, interrupt: Interrupt, ranks: Ranks) -> None:
    """Train as one of several processes, other than the first.

    Args:
        options: all that defines the run.
        interrupt: of any process, ends training after the current update.
        ranks: the processes.
    """
    if ranks.receive() == BEGIN:
        trainer = make_trainer(options, ranks)
        start = decode(ranks.receive(), options.folder)
        trainer.restore(start.tensors, start.state)
        train_along(trainer, interrupt)


def train_along(trainer: Trainer, interrupt: Interrupt) -> None:
    """Train, without showing or writing anything.

    Args:
        trainer: of one of several processes.
        interrupt: of any of them, ends training after the current update.
    """
    with closing(trainer):
        for _ in trainer.updates():
            if interrupt.asked(trainer.reducer):
                break


def go_on(run: Run, options: TrainOptions, interrupt: Interrupt, ranks: Ranks) -> None:
    """Resume a run, if the options define the same one; if it is finished, say so.

    Args:
        run: an existing run.
        options: those of `trpo train`.
        interrupt: ends training after the current update.
        ranks: the processes that train it, of which this is the first.

    Raises:
        UsageError: if the run has different options or a different exercise.
    """
    if exercise_of(run.folder) != exercise_of(options.exercise):
        other = "another exercise.py, or one where there is none"
        raise UsageError(f"run {run.folder} was started with {other}: choose another --name")
    begun = run.config
    threads = options.threads or begun.threads  # whatever this machine has
    asked = replace(options, threads=threads).config(begun.observation_space, begun.action_space)
    asked = replace(asked, versions=begun.versions, git_commit=begun.git_commit)
    if found := first_difference(to_json(begun), to_json(asked)):
        name, old, new = found
        remedy = "choose another --name"
        ends = {"learner.trainer.total_steps", "learner.trainer.stop_return"}
        # no run goes on to an end that it has reached
        if name in ends and not finished(run, options.learner.trainer):
            option = name.rpartition(".")[2].replace("_", "-")
            remedy = f"change that by trpo resume {run.folder} --{option} {new}"
        raise UsageError(f"run {run.folder} has {name} = {old!r}, not {new!r}: {remedy}")
    with run.lock:
        if said := finished(run, options.learner.trainer):
            ranks.send(FINISHED)
            print(said)
        else:
            continue_run(
                run,
                options.learner.trainer,
                interrupt,
                ranks,
                trust=True,  # all was named
                quiet=options.quiet,
                track=options.track,
            )


if __name__ == "__main__":
    from trpo.scripts.__main__ import main as run_from_shell

    sys.exit(run_from_shell(["train", *sys.argv[1:]]))
