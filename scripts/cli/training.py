"""What `trpo train` and `trpo resume` share: the loop, and going on with a run."""

from contextlib import closing
from dataclasses import replace
from functools import partial

from trpo.agents.runs import Run
from trpo.agents.runs.provenance import versions
from trpo.agents.trainer import Trainer
from trpo.scripts.cli.command import UsageError, warn
from trpo.scripts.cli.display import Display
from trpo.scripts.cli.hang import Hang
from trpo.scripts.cli.interrupt import Interrupt
from trpo.scripts.cli.options import options_of
from trpo.scripts.exercises.play import FILE
from trpo.scripts.exercises.student import use_exercise


def train_into(run: Run, trainer: Trainer, interrupt: Interrupt) -> None:
    """Train, and show how it goes, until the run is finished or interrupted.

    Args:
        run: the folder that everything is written into.
        trainer: new, or restored from one of the run's checkpoints.
        interrupt: ends training after the update in which it comes.
    """
    display = Display(run.config.env, trainer)
    with closing(trainer), run.recording(trainer) as updates, display:
        for record in updates:
            display.show(record)
            if interrupt.signal:
                break
    display.summarize(run.folder, updates.results, trainer.finished)


def continue_run(run: Run, total_steps: int | None, interrupt: Interrupt, trust: bool) -> None:
    """Go on with a run from its last resume point.

    Args:
        run: this process holds its lock.
        total_steps: environment steps to train for; `None` for what the run was started with.
        interrupt: ends training after the update in which it comes.
        trust: whether to import the module that its environment is registered by.

    Raises:
        UsageError: if the run is finished.
    """
    total_steps = total_steps or run.config.learner.trainer.total_steps
    if (steps := steps_taken(run)) >= total_steps:
        raise UsageError(
            f"run {run.folder} is finished: it took {steps:,} steps; "
            "to go on, give a larger --total-steps"
        )
    if run.config.versions != versions():
        warn(
            f"the run was started with {run.config.versions}: "
            "with other versions it may go on differently"
        )
    checkpoint = run.checkpoints.newest(warn, resumable=True)
    options = options_of(run, trust)
    trainer_config = replace(options.learner.trainer, total_steps=total_steps)
    options = replace(options, learner=replace(options.learner, trainer=trainer_config))
    hang = Hang()
    make_env = partial(options.make_env, on_hang=hang)
    hang.trainer = trainer = Trainer(make_env, options.learner, options.cpu_threads)
    if (run.folder / FILE).exists():
        use_exercise(trainer, run.folder)
    if checkpoint:
        trainer.restore(checkpoint.tensors, checkpoint.state)
    run.extend(total_steps)
    print(f"going on after update {trainer.update:,}, step {trainer.steps:,}")
    train_into(run, trainer, interrupt)


def steps_taken(run: Run) -> int:
    """Return how far a run has come.

    Args:
        run: any.

    Returns:
        Environment steps at its newest checkpoint that can be read.
    """
    newest = run.checkpoints.newest(lambda _: None)
    return newest.state["steps"] if newest else 0
