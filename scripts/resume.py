"""`trpo resume RUN`: goes on with a run, from its last boundary checkpoint, as if it had never stopped."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import tyro

from trpo.agents.checkpoint_folder import Checkpoint, CheckpointFolder
from trpo.agents.telemetry import Telemetry, cut_table
from trpo.agents.trainer import Trainer
from trpo.scripts import run_folder
from trpo.scripts.command import UsageError, parse, warn
from trpo.scripts.display import Display
from trpo.scripts.hang import Hang
from trpo.scripts.interrupt import Interrupt
from trpo.scripts.lock import locked
from trpo.scripts.loop import learn
from trpo.scripts.options import TrainOptions
from trpo.validation import require


@dataclass(frozen=True)
class ResumeOptions:
    """Go on with a run that was interrupted or killed, or for longer. What results equals, bit for bit, a run never stopped."""

    run: tyro.conf.Positional[Path]
    """Folder of the run, as trpo train leaves it."""
    total_steps: int | None = None
    """Environment steps to train for, counted from the run's beginning; by default what the run was
    started with."""

    def __post_init__(self) -> None:
        require(
            self.total_steps is None or self.total_steps >= 1,
            "total_steps",
            self.total_steps,
            "an integer ≥ 1",
        )


def main(arguments: Sequence[str]) -> int:
    """Go on, as the options say.

    Args:
        arguments: the words after `trpo resume`.

    Returns:
        0; 130 or 143 when interrupted.
    """
    options = parse(ResumeOptions, arguments, "resume")
    run_folder.read_config(
        options.run, TrainOptions(env="")
    )  # no lock in a folder that is no run's
    with Interrupt() as interrupt, locked(options.run):
        resume(options.run, options.total_steps, interrupt)
    return interrupt.exit_code


def go_on(folder: Path, options: TrainOptions) -> int:
    """Go on with a run, if it is the one that the options define; if it is finished, say so.

    Args:
        folder: the run's.
        options: those of `trpo train`.

    Returns:
        0; 130 or 143 when interrupted.

    Raises:
        UsageError: if the run was started with other options.
    """
    begun = run_folder.read_config(folder, TrainOptions(env=""))
    same = replace(
        begun,
        name=options.name,
        runs=options.runs,
        resume=True,
        threads=options.threads and begun.threads,
    )
    if found := run_folder.first_difference(same, options):
        name, old, new = found
        raise UsageError(
            f"run {folder} was started with {name} = {old!r}, not {new!r}: choose another --name"
        )
    with Interrupt() as interrupt, locked(folder):
        newest = CheckpointFolder(folder / "checkpoints").newest(lambda _: None)
        if newest and newest.state["steps"] >= options.learner.trainer.total_steps:
            print(f"run {folder} is finished: it took {newest.state['steps']:,} steps")
        else:
            resume(folder, None, interrupt)
    return interrupt.exit_code


def resume(folder: Path, total_steps: int | None, interrupt: Interrupt) -> None:
    """Go on with a run.

    Args:
        folder: the run's; this process holds its lock.
        total_steps: environment steps to train for; `None` for what the run was started with.
        interrupt: ends training after the update in which it comes.

    Raises:
        UsageError: if the run is finished, or its table is damaged.
    """
    checkpoints = CheckpointFolder(folder / "checkpoints")
    checkpoint = checkpoints.newest(warn, boundary=True)
    options = _options(folder, total_steps, checkpoints.newest(lambda _: None))
    hang = Hang()
    hang.trainer = trainer = Trainer(
        partial(options.make_env, on_hang=hang), options.learner, options.cpu_threads
    )
    if checkpoint:
        trainer.restore(checkpoint.tensors, checkpoint.state)
    try:
        records = cut_table(folder, trainer.update)
    except (ValueError, KeyError) as error:
        raise UsageError(f"run {folder} cannot go on: {error}") from error
    config = run_folder.extend(folder, options.learner.trainer.total_steps)
    checkpoints.delete_after(trainer.update)
    if config["versions"] != run_folder.versions():
        warn(
            f"the run was started with {config['versions']}: with other versions it may go on differently"
        )
    display = Display(options.env, options.learner)
    display.count_earlier(records)
    print(f"going on after update {trainer.update:,}, step {trainer.steps:,}")
    learn(trainer, Telemetry(folder, config, records), display, folder, interrupt)


def _options(folder: Path, total_steps: int | None, newest: Checkpoint | None) -> TrainOptions:
    options = run_folder.read_config(folder, TrainOptions(env=""))
    loop = options.learner.trainer
    loop = replace(loop, total_steps=total_steps or loop.total_steps)
    if newest and newest.state["steps"] >= loop.total_steps:
        steps = newest.state["steps"]
        raise UsageError(
            f"run {folder} is finished: it took {steps:,} steps; to go on, give a larger --total-steps"
        )
    return replace(options, learner=replace(options.learner, trainer=loop))
