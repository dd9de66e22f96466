"""An environment that hangs in this process cannot be interrupted, so the process exits."""

from trpo.agents.trainer import Trainer
from trpo.scripts.cli.interrupt import exit_at_once
from trpo.scripts.cli.output import say_error
from trpo.scripts.cli.ranks import Ranks


class ExitOnHang:
    """Ends the process; called from a different thread than the one that hangs.

    Args:
        ranks: the processes that train the run.
    """

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks
        self.trainer: Trainer | None = None  # none yet, if environments hang in their first reset

    def __call__(self, said: str) -> None:
        """Print what happened and in which update, and exit with 1.

        Args:
            said: a sentence that names the environment.
        """
        line = f"{said}, in update {self.trainer.update + 1 if self.trainer else 1}"
        if self.ranks.is_first_failure(line):
            say_error(line)
        exit_at_once(1)
