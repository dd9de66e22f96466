"""One interface for everything a run's metrics go to besides metrics.csv."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Protocol

from trpo.agents.metrics import UpdateRecord

Outcome = Literal["finished", "stopped", "failed"]
"""How training ended: finished, stopped on request, or failed with an exception."""


class Sink(Protocol):
    """TensorBoard, or a tracker."""

    def write(self, record: UpdateRecord) -> None:
        """Log an update.

        Args:
            record: the update.
        """

    def write_video(self, record: UpdateRecord, file: Path) -> None:
        """Log a video.

        Args:
            record: the update after which it was filmed.
            file: *.mp4, with an animation *.gif next to it.
        """

    def write_results(self, results: Mapping[str, float]) -> None:
        """Log the run's results.

        Args:
            results: names to final values.
        """

    def close(self, outcome: Outcome) -> None:
        """End.

        Args:
            outcome: of the training.
        """
