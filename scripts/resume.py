"""`trpo resume RUN`: resumes a run, as if it had never stopped."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from trpo.agents.runs import Run
from trpo.agents.runs.trackers import Tracker
from trpo.scripts.cli.command import RunFolder, parse
from trpo.scripts.cli.interrupt import Interrupt
from trpo.scripts.cli.ranks import Ranks
from trpo.scripts.cli.training import continue_run
from trpo.validation import require


@dataclass(frozen=True)
class ResumeOptions:
    """Resume a run, bit for bit as if it had never stopped, or extend it."""

    run: RunFolder
    """Folder of the run, as trpo train leaves it."""
    total_steps: int | None = None
    """Environment steps to train for, counted from the run's beginning. Default: unchanged."""
    stop_return: float | None = None
    """Mean evaluation return at which training ends; inf: never. Default: unchanged."""
    track: tuple[Tracker, ...] = ()
    """Trackers to add, wandb or mlflow; those that the run has are kept."""
    quiet: bool = False
    """Print only the run's folder, at the end."""
    trust: bool = False
    """Allow importing the modules that the run names, its environment's and its wrappers', and its
    exercise.py. This executes their code."""

    def __post_init__(self) -> None:
        require(
            self, "total_steps", self.total_steps is None or self.total_steps >= 1, "an integer ≥ 1"
        )


def main(arguments: Sequence[str]) -> int:
    """Go on, as the options say.

    Args:
        arguments: the words after `trpo resume`.

    Returns:
        0; 130 or 143 when interrupted.
    """
    options = parse(ResumeOptions, arguments, "resume")
    run = Run.open(options.run)
    with Interrupt() as interrupt, run.lock, Ranks() as ranks:
        loop = run.config.learner.trainer
        loop = replace(
            loop,
            total_steps=options.total_steps or loop.total_steps,
            stop_return=loop.stop_return if options.stop_return is None else options.stop_return,
        )
        continue_run(
            run,
            loop,
            interrupt,
            ranks,
            trust=options.trust,
            quiet=options.quiet,
            track=options.track,
        )
    return interrupt.exit_code
