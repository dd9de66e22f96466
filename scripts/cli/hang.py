"""An environment in this process that hangs: nothing can interrupt it, so the process ends."""

from trpo.agents.trainer import Trainer
from trpo.scripts.cli.interrupt import exit_at_once
from trpo.scripts.cli.output import say_error
from trpo.scripts.cli.ranks import Ranks


class Hang:
    """Ends the process; called from another thread than the one that hangs.

    Args:
        ranks: the process, and those that train the run with it.
    """

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks
        self.trainer: Trainer | None = None  # none yet, when environments hang in their first reset

    def __call__(self, said: str) -> None:
        """Say what happened and in which update, and exit with 1.

        Args:
            said: a sentence that names the environment.
        """
        line = f"{said}, in update {self.trainer.update + 1 if self.trainer else 1}"
        if self.ranks.is_first_failure(line):
            say_error(line)
        exit_at_once(1)
