"""An environment in this process that hangs: nothing can interrupt it, so the process ends."""

from trpo.agents.trainer import Trainer
from trpo.scripts.cli.interrupt import exit_at_once
from trpo.scripts.cli.output import say_error


class Hang:
    """Ends the process; called from another thread than the one that hangs."""

    def __init__(self) -> None:
        self.trainer: Trainer | None = None  # none yet, when environments hang in their first reset

    def __call__(self, said: str) -> None:
        """Say what happened and in which update, and exit with 1.

        Args:
            said: a sentence that names the environment.
        """
        say_error(f"{said}, in update {self.trainer.update + 1 if self.trainer else 1}")
        exit_at_once(1)
