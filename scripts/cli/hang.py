"""An environment in this process that hangs: nothing can interrupt it, so the process ends."""

import sys

from trpo.agents.trainer import Trainer
from trpo.scripts.cli.interrupt import exit_at_once


class Hang:
    """Ends the process; called from another thread than the one that hangs."""

    def __init__(self) -> None:
        self.trainer: Trainer | None = None  # none yet, when environments hang in their first reset

    def __call__(self, said: str) -> None:
        """Say what happened and in which update, and exit with 1.

        Args:
            said: a sentence that names the environment.
        """
        print(
            f"trpo: {said}, in update {self.trainer.update + 1 if self.trainer else 1}",
            file=sys.stderr,
            flush=True,
        )
        exit_at_once(1)
