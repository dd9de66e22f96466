"""A run's folder: config.json, metrics.csv, TensorBoard events, checkpoints/, evaluation.json."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from trpo.agents.runs.config import CONFIG, RunConfig, read_config, write_config
from trpo.agents.runs.lock import Lock
from trpo.agents.runs.metrics_table import TABLE, columns_of, read_records
from trpo.agents.runs.recording import Recording
from trpo.agents.runs.trackers import TRACKING
from trpo.agents.runs.videos import VIDEOS
from trpo.agents.storage.checkpoint_folder import CHECKPOINTS, CheckpointFolder
from trpo.agents.storage.errors import RunError
from trpo.agents.storage.files import remove_drafts, replace_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from trpo.agents.config import TrainerConfig
    from trpo.agents.metrics import UpdateRecord
    from trpo.agents.runs.trackers import Tracker
    from trpo.agents.trainer import Trainer

EVALUATION = "evaluation.json"


class Run:
    """A run on disk, to be trained, continued, read or evaluated.

        spaces = trainer.agent.observation_space, trainer.agent.action_space
        run = Run.create(Path("runs/mine"), RunConfig("CartPole-v1", trainer.config, *spaces))
        with run.recording(trainer) as updates:
            for record in updates:
                print(record.steps, record.metrics.get("episode/return"))

    Args:
        folder: its path.
        config: the content of config.json.

    Raises:
        RunError: if its checkpoints/ or videos/ is a symbolic link, which may point anywhere.
    """

    def __init__(self, folder: Path, config: RunConfig) -> None:
        if os.path.islink(folder / VIDEOS):  # pathlib accepts any text as a path
            raise RunError(f"{folder / VIDEOS} is a link: expected a folder")
        self.folder = folder
        self.config = config
        self.lock = Lock(folder)
        self.checkpoints = CheckpointFolder(folder / CHECKPOINTS)

    @staticmethod
    def exists(folder: Path) -> bool:
        """Return whether a folder contains a run: whether it has a config.json.

        Args:
            folder: any path.

        Returns:
            Whether there is a run to resume.
        """
        return (folder / CONFIG).exists()

    @classmethod
    def create(
        cls,
        folder: Path,
        config: RunConfig,
        exist_ok: bool = False,
        start: Trainer | None = None,
        files: Mapping[str, bytes] | None = None,
    ) -> Run:
        """Create a new run's folder.

        Args:
            folder: its path.
            config: everything that defines the run.
            exist_ok: whether the folder may exist, if it contains no run.
            start: the initial state, if it does not follow from `config`.
            files: by name, other files needed for resuming it.

        Returns:
            The run.

        Raises:
            RunError: if there is such a run already, or the folder cannot be created.
        """
        try:
            (folder / CHECKPOINTS).mkdir(parents=True, exist_ok=exist_ok)
        except FileExistsError as error:
            raise RunError(f"run {folder} exists") from error
        except OSError as error:
            raise RunError(f"cannot make run folder {folder}: {error.strerror}") from error
        run = cls(folder, config)
        with run.lock:
            if cls.exists(folder):
                raise RunError(f"run {folder} exists")
            if start:
                run.checkpoints.save(start)
            for name, content in (files or {}).items():
                remove_drafts(folder, name)
                replace_file(folder / name, content)
            write_config(folder, config)  # last, as it turns the folder into a run
        return run

    @classmethod
    def open(cls, folder: Path) -> Run:
        """Open an existing run.

        Args:
            folder: its path.

        Returns:
            The run.

        Raises:
            RunError: if the folder is not a run's, its config.json cannot be read, or its
                checkpoints or videos are links.
        """
        return cls(folder, read_config(folder))

    def extend(self, loop: TrainerConfig) -> None:
        """Change when the run ends.

        Args:
            loop: the run's own, with other conditions for ending.
        """
        self.config = self.config.with_loop(loop)
        with self.lock:
            write_config(self.folder, self.config)

    def recording(self, trainer: Trainer, track: Sequence[Tracker] = ()) -> Recording:
        """Train, and record the results.

        Args:
            trainer: new, or restored from one of the run's checkpoints.
            track: trackers to add to those that the run has.

        Returns:
            The trainer's updates, to be entered and iterated over.
        """
        return Recording(self, trainer, track)

    def records(self) -> list[UpdateRecord]:
        """Read metrics.csv, update by update.

        Returns:
            Its updates.

        Raises:
            RunError: if the table cannot be read.
        """
        return read_records(self.folder / TABLE)

    def records_around(self, update: int) -> tuple[list[UpdateRecord], list[UpdateRecord]]:
        """Read metrics.csv up to an update, and from there on.

        Args:
            update: number of the last update before training resumes.

        Returns:
            The first `update` updates, and the later ones.

        Raises:
            RunError: if the table cannot be read, or lacks any of the first.
        """
        records = self.records()
        earlier, later = records[:update], records[update:]
        if len(earlier) < update or any(n != made.update for n, made in enumerate(earlier, 1)):
            lacks = f"{self.folder / TABLE} lacks some of the first {update} updates"
            raise RunError(f"run {self.folder} cannot be resumed: {lacks}")
        return earlier, later

    def metrics(self) -> dict[str, np.ndarray]:
        """Read metrics.csv, column by column.

        Returns:
            `update`, `steps` and every metric, each (U,), NaN where an update has none.

        Raises:
            RunError: if the run has no updates yet, or the table cannot be read.
        """
        records = self.records()
        if not records:
            raise RunError(f"{self.folder} has no updates yet")
        return columns_of(records)

    def write_evaluation(self, result: Mapping[str, object]) -> None:
        """Write evaluation.json.

        Args:
            result: JSON content, with finite numbers.
        """
        text = json.dumps(result, indent=2, allow_nan=False) + "\n"
        replace_file(self.folder / EVALUATION, text.encode("utf-8"))

    def remove_drafts(self) -> None:
        """Remove temporary files left by killed processes; needs the lock."""
        for name in (CONFIG, TABLE, TRACKING):
            remove_drafts(self.folder, name)
        remove_drafts(self.folder / VIDEOS, "step-*")
        self.checkpoints.remove_drafts()
