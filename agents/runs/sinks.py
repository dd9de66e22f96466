"""What a run's metrics go to beside metrics.csv, behind one interface."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Protocol

from trpo.agents.metrics import UpdateRecord

Outcome = Literal["finished", "stopped", "failed"]
"""How a training ended: at its end, when it was asked to, or by an exception."""


class Sink(Protocol):
    """TensorBoard, or a tracker."""

    def write(self, record: UpdateRecord) -> None:
        """Take an update.

        Args:
            record: the update.
        """

    def write_video(self, record: UpdateRecord, file: Path) -> None:
        """Take a video.

        Args:
            record: the update that it was filmed after.
            file: *.mp4, with an animation *.gif beside it.
        """

    def write_results(self, results: Mapping[str, float]) -> None:
        """Take what the run came to.

        Args:
            results: names to final values.
        """

    def close(self, outcome: Outcome) -> None:
        """End.

        Args:
            outcome: of the training.
        """
