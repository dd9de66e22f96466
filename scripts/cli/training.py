"""Shared by `trpo train` and `trpo resume`: the training loop, and resuming a run."""

import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial

from trpo.agents.config import TrainerConfig
from trpo.agents.runs import Run, RunError
from trpo.agents.runs.provenance import versions
from trpo.agents.runs.trackers import Tracker
from trpo.agents.storage.checkpoint import encode
from trpo.agents.trainer import Trainer
from trpo.scripts.cli.command import UsageError, warn
from trpo.scripts.cli.display import Display
from trpo.scripts.cli.filming import Filming, check_filming
from trpo.scripts.cli.hang import ExitOnHang
from trpo.scripts.cli.interrupt import Interrupt
from trpo.scripts.cli.options import TrainOptions, check_trackers, options_of
from trpo.scripts.cli.output import printable
from trpo.scripts.cli.ranks import BEGIN, Ranks
from trpo.scripts.exercises.play import FILE
from trpo.scripts.exercises.student import use_exercise


def train_into(
    run: Run, trainer: Trainer, interrupt: Interrupt, options: TrainOptions, ranks: Ranks
) -> None:
    """Train, and show the progress, until the run is finished or interrupted.

    Args:
        run: the run to write to.
        trainer: new, or restored from one of the run's checkpoints.
        interrupt: ends training after the current update.
        options: everything that defines the run, and how it is shown, filmed and tracked.
        ranks: the processes that train it, of which this is the first; the others start as it does.
    """
    ranks.send(encode(*trainer.snapshot()))
    display = Display(run.config.env, trainer, options.quiet)
    filming = Filming(run.folder, options, trainer.steps)
    with closing(trainer), run.recording(trainer, options.track) as updates, display:
        for record in run.records()[: trainer.update]:
            display.remember(record)
        display.tell(updates.tracked)
        for record in updates:
            display.show(record)
            if filming.due(record) and (file := filming.film(trainer.agent, record)):
                updates.add_video(record, file)
            if interrupt.asked(trainer.reducer):
                break
    since = trainer.update % trainer.config.trainer.checkpoint_interval
    resume_point = None if trainer.finished else trainer.update - since
    display.summarize(run.folder, updates.results, resume_point)


def continue_run(
    run: Run,
    loop: TrainerConfig,
    interrupt: Interrupt,
    ranks: Ranks,
    *,
    trust: bool,
    quiet: bool,
    track: Sequence[Tracker] = (),
) -> None:
    """Resume a run from its last resume point.

    Args:
        run: this process holds its lock.
        loop: the run's own, or with other conditions for ending.
        interrupt: ends training after the current update.
        ranks: the processes that train it, of which this is the first.
        trust: whether to import the module that its environment is registered by, and its
            exercise.py.
        quiet: whether to show nothing but the run's folder, at the end.
        track: trackers to add to those that the run has.

    Raises:
        UsageError: if the run is finished, would import what is not trusted, cannot be filmed, or a
            tracker is not installed.
        RunError: if what is there of it cannot be read or gone on from, or its environment has
            other spaces than it had.
        EnvError: if its environments cannot be made.
        TrainingError: if they fail, or nothing finite is learned.
    """
    check_trackers(track)  # for the run's own trackers, missing packages only give a warning
    if said := finished(run, loop):
        ends = "--total-steps" + (" or --stop-return" if loop.stop_return < math.inf else "")
        raise UsageError(f"{said}; to continue, give a larger {ends}")
    if run.config.versions != versions():
        warn(
            f"the run was started with {run.config.versions}: "
            "with other versions the resumed run may differ"
        )
    checkpoint = run.checkpoints.newest(warn, resumable=True)
    # or the run could not be resumed
    run.records_around(checkpoint.state["update"] if checkpoint else 0)
    options = options_of(run, trust)
    exercise = run.folder / FILE
    if exercise.exists() and not trust:
        raise UsageError(
            f"{exercise} would be imported, and run, to train on: if you trust it, add --trust"
        )
    learner = replace(options.learner, trainer=loop)
    options = replace(options, learner=learner, quiet=quiet, track=tuple(track))
    check_filming(options)
    ranks.send(BEGIN)
    trainer = make_trainer(options, ranks)
    _check_spaces(run, trainer)
    if exercise.exists():
        use_exercise(trainer, run.folder)
    if checkpoint is None and run.config.started_from:
        raise RunError(
            f"run {run.folder} cannot be resumed: {run.checkpoints.path} lacks its start"
        )
    if checkpoint:
        trainer.restore(checkpoint.tensors, checkpoint.state)
    run.extend(loop)
    if not quiet:
        again = len(run.records()) - trainer.update
        after = f"update {trainer.update:,}, step {trainer.steps:,}"
        print(f"resuming after {after}" + (f"; {again:,} updates are made again" if again else ""))
    train_into(run, trainer, interrupt, options, ranks)


def _check_spaces(run: Run, trainer: Trainer) -> None:
    for name in ("observation_space", "action_space"):
        before, now = getattr(run.config, name), getattr(trainer.agent, name)
        if before not in (None, now):
            changed = f"{run.config.env} has {name} {now}, the run {before}"
            raise RunError(f"run {run.folder} cannot be resumed: {changed}")


def make_trainer(options: TrainOptions, ranks: Ranks) -> Trainer:
    """Create a run's trainer, at its first update.

    Args:
        options: everything that defines the run.
        ranks: the processes that train it.

    Returns:
        The trainer; environments that hang end this process.
    """
    hang = ExitOnHang(ranks)
    make_env = partial(options.make_env, on_hang=hang)
    hang.trainer = trainer = Trainer(make_env, options.learner, options.cpu_threads)
    return trainer


def finished(run: Run, loop: TrainerConfig) -> str:
    """Return how a run finished, as a sentence; "" if it has not.

    Args:
        run: any.
        loop: defines when it ends.

    Returns:
        Determined by its newest readable checkpoint, and by the one from which it would resume,
        whose evaluation may have been better.
    """
    for resumable in (False, True):
        newest = run.checkpoints.newest(lambda _: None, resumable)
        if newest is None:
            break
        steps, reached = newest.state["steps"], newest.state.get("evaluation_return")
        if loop.finished(steps, reached):
            said = f"run {printable(run.folder)} is finished: it took {steps:,} steps"
            if reached is None:
                return said
            return f"{said}, and its last evaluation's return was {reached:,.2f}"
    return ""
