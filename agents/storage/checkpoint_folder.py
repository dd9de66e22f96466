"""The checkpoints of a run: which are kept, and which can be used."""

from __future__ import annotations

import math
import os
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec

from trpo.agents.storage.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from trpo.agents.storage.errors import CheckpointError
from trpo.agents.storage.files import remove_drafts

if TYPE_CHECKING:  # for annotations alone: the trainer stands above this folder
    from trpo.agents.trainer import Trainer

CHECKPOINTS = "checkpoints"
BEST = "best.safetensors"
NAME = re.compile(r"update-[0-9]+\.safetensors")

Count = Annotated[int, msgspec.Meta(ge=0)]


class TrainingState(msgspec.Struct):
    """The state training resumes from, besides tensors; `Trainer.snapshot` returns it."""

    update: Count
    steps: Count
    non_finite: Count
    restarts: Count
    at_resume_point: bool
    episodes: Count
    recent: list[tuple[float, int]]
    mean_return: float | None = None
    evaluation_return: float | None = None


class CheckpointFolder:
    """A run's `checkpoints/`: the newest few, and the best.

    Args:
        path: the folder, existing.

    Raises:
        CheckpointError: if it is a symbolic link, which may point anywhere.
    """

    def __init__(self, path: Path) -> None:
        if os.path.islink(path):  # pathlib accepts any text as a path
            raise CheckpointError(f"{path} is a link: expected a folder")
        self.path = path

    def save(self, trainer: Trainer) -> None:
        """Write a checkpoint of the run's current state, and delete surplus ones.

        At a resume point, the best by training returns is written first: a run killed between the
        two resumes from an earlier checkpoint. With evaluations, `save_best` writes the best. If a
        run ends before any score is known, its last checkpoint is the best.

        Args:
            trainer: at rest between updates.
        """
        if trainer.at_resume_point and not trainer.config.trainer.eval_every:
            self.save_best(trainer, trainer.mean_return)
        tensors, state = trainer.snapshot()
        if trainer.finished and self._best_return() == -math.inf:
            save_checkpoint(self.path / BEST, tensors, state)  # replaced by the first with a score
        save_checkpoint(self.path / f"update-{trainer.update:06d}.safetensors", tensors, state)
        self._delete_superseded(trainer)

    def save_best(self, trainer: Trainer, mean_return: float | None) -> None:
        """Write a checkpoint of the run's current state as the best, if it is.

        Args:
            trainer: at rest between updates.
            mean_return: the policy's score; `None` if there is none yet.
        """
        if mean_return is not None and mean_return > self._best_return():
            tensors, state = trainer.snapshot()
            save_checkpoint(self.path / BEST, tensors, state | {"mean_return": mean_return})

    def best(self) -> Checkpoint:
        """Read the best checkpoint, by evaluations or else by the last 100 episodes.

        Returns:
            The checkpoint.

        Raises:
            CheckpointError: if there is none, or it cannot be used.
        """
        if not (self.path / BEST).exists():
            when = "at resume points (checkpoint_interval), or by evaluations (eval_every)"
            raise CheckpointError(f"{self.path} holds no {BEST} yet: it is chosen {when}")
        return _load(self.path / BEST)

    def named(self, name: str) -> Checkpoint:
        """Read one of the checkpoints.

        Args:
            name: of its file.

        Returns:
            The checkpoint.

        Raises:
            CheckpointError: if it cannot be used.
        """
        return _load(self.path / name)

    def newest(self, warn: Callable[[str], None], resumable: bool = False) -> Checkpoint | None:
        """Read the newest checkpoint that can be read.

        Args:
            warn: called with one line about each newer one that cannot.
            resumable: whether training must be able to continue exactly from it.

        Returns:
            The checkpoint; `None` if the folder contains none.

        Raises:
            CheckpointError: if it contains some, but none can be used.
        """
        damaged = False
        for path in reversed(self._updates()):
            try:
                checkpoint = _load(path)
            except CheckpointError as error:
                damaged = True
                warn(f"{error}; trying the one before it")
                continue
            if checkpoint.state["at_resume_point"] or not resumable:
                return checkpoint
        if damaged:
            raise CheckpointError(f"{self.path} holds no checkpoint that can be used")
        return None

    def remove_drafts(self) -> None:
        """Remove partially written checkpoints of killed processes."""
        for name in (BEST, "update-*"):
            remove_drafts(self.path, name)

    def _delete_superseded(self, trainer: Trainer) -> None:
        """Delete all but the newest few resume points and this checkpoint.

        Checkpoints of later updates, left by an earlier process, are kept until training reaches
        them or ends.
        """
        config = trainer.config.trainer
        resume_points = [
            number
            for number in map(_update, self._updates())
            if number <= trainer.update and number % config.checkpoint_interval == 0
        ]
        kept = {*resume_points[-config.keep_checkpoints :], trainer.update}
        for path in self._updates():
            number = _update(path)
            if number not in kept and (number < trainer.update or trainer.finished):
                path.unlink()

    def _updates(self) -> list[Path]:
        found = self.path.glob("update-*.safetensors")
        return sorted((path for path in found if NAME.fullmatch(path.name)), key=_update)

    def _best_return(self) -> float:
        try:
            mean_return: float = self.best().state.get("mean_return", -math.inf)
        except CheckpointError:  # there is none yet, or it is damaged and will be replaced
            return -math.inf
        return mean_return


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint file, or a run's newest checkpoint.

    Args:
        path: a checkpoint, or a run's folder.

    Returns:
        The checkpoint.

    Raises:
        CheckpointError: if there is none that can be used.
    """
    if not path.is_dir():
        return load_checkpoint(path)
    newest = CheckpointFolder(path / CHECKPOINTS).newest(warnings.warn)
    if newest is None:
        raise CheckpointError(f"{path / CHECKPOINTS} holds no checkpoint")
    return newest


def _load(path: Path) -> Checkpoint:
    checkpoint = load_checkpoint(path)
    try:
        msgspec.convert(checkpoint.state, TrainingState)
    except msgspec.ValidationError as error:
        raise CheckpointError(f"{path} is not a readable checkpoint: {error}") from error
    return checkpoint


def _update(path: Path) -> int:
    return int(path.stem.removeprefix("update-"))
