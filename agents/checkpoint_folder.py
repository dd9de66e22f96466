"""Which checkpoints a run keeps, and which of them can be used."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from trpo.agents.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from trpo.agents.trainer import Trainer

BEST = "best.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read.

    Args:
        tensors: by name.
        state: everything else.
    """

    tensors: dict[str, Tensor]
    state: dict[str, Any]


class CheckpointFolder:
    """A run's `checkpoints/`: the newest few, and the best.

    Args:
        path: the folder, existing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def save(self, trainer: Trainer) -> None:
        """Write a checkpoint of the run as it is now; at a boundary, also if it is the best, and delete what is too many.

        Args:
            trainer: at rest between updates.
        """
        tensors, state = trainer.snapshot()
        best = trainer.mean_return is not None and trainer.mean_return > self._best_return()
        if (
            trainer.at_resume_point and best
        ):  # first: killed between the two, a run goes on from a checkpoint before both
            save_checkpoint(self.path / BEST, tensors, state | {"mean_return": trainer.mean_return})
        save_checkpoint(self.path / f"update-{trainer.update:06d}.safetensors", tensors, state)
        if not trainer.at_resume_point:
            # and delete none, so that a boundary stays even where only one checkpoint is kept
            return
        for old in self._updates()[: -trainer.config.trainer.keep_checkpoints]:
            old.unlink()

    def newest(self, warn: Callable[[str], None], boundary: bool = False) -> Checkpoint | None:
        """Read the newest checkpoint that can be read.

        Args:
            warn: called with one line about each newer one that cannot.
            boundary: whether it has to be one that training can be continued from exactly.

        Returns:
            The checkpoint; `None` if the folder holds none.

        Raises:
            CheckpointError: if it holds some, and none can be used.
        """
        damaged = False
        for path in reversed(self._updates()):
            try:
                checkpoint = Checkpoint(*load_checkpoint(path))
            except CheckpointError as error:
                damaged = True
                warn(f"{error}; trying the one before it")
                continue
            if checkpoint.state["at_boundary"] or not boundary:
                return checkpoint
        if damaged:
            raise CheckpointError(f"{self.path} holds no checkpoint that can be used")
        return None

    def delete_after(self, update: int) -> None:
        """Delete the checkpoints of later updates, which are about to be made again.

        Args:
            update: the last to keep.
        """
        for path in self._updates():
            if _update(path) > update:
                path.unlink()

    def _updates(self) -> list[Path]:
        return sorted(self.path.glob("update-[0-9]*.safetensors"), key=_update)

    def _best_return(self) -> float:
        try:
            return float(load_checkpoint(self.path / BEST)[1]["mean_return"])
        except CheckpointError:  # there is none yet, or it is damaged and gives way to the next
            return float("-inf")


def _update(path: Path) -> int:
    return int(path.stem.removeprefix("update-"))
