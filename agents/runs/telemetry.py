"""What a run logs during training: rows in metrics.csv, TensorBoard's file, and trackers."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from trpo.agents.metrics import UpdateRecord
from trpo.agents.runs.config import RunConfig
from trpo.agents.runs.metrics_table import TABLE, TableWriter
from trpo.agents.runs.sinks import Outcome, Sink
from trpo.agents.runs.tensorboard import TensorBoard
from trpo.agents.runs.trackers import Tracker, open_trackers


class Telemetry:
    """Writes a run's metrics into its folder, and to its trackers.

    Args:
        folder: the run's, existing.
        config: the run's configuration.
        earlier: updates before the one at which training resumes.
        later: updates of an earlier process, which will be repeated.
        track: trackers to add to those that the run has.
    """

    def __init__(
        self,
        folder: Path,
        config: RunConfig,
        earlier: Sequence[UpdateRecord] = (),
        later: Sequence[UpdateRecord] = (),
        track: Sequence[Tracker] = (),
    ) -> None:
        with ExitStack() as opened:
            self._table = opened.enter_context(closing(TableWriter(folder / TABLE, earlier, later)))
            board = TensorBoard(folder, config, earlier)
            opened.pop_all()  # closed by an exception above
        trackers = open_trackers(track, folder, config, earlier, later)
        self._sinks: list[Sink] = [board, *trackers]
        self.tracked: dict[str, str] = {tracker.name: tracker.where for tracker in trackers}

    def write(self, record: UpdateRecord) -> None:
        """Write one update; metrics without a value are empty in the table, and not sent to sinks.

        Args:
            record: the update.
        """
        self._table.write(record)
        for sink in self._sinks:
            sink.write(record)

    def write_video(self, record: UpdateRecord, file: Path) -> None:
        """Show a video.

        Args:
            record: the update after which it was filmed.
            file: *.mp4, with an animation *.gif next to it.
        """
        for sink in self._sinks:
            sink.write_video(record, file)

    def sync(self) -> None:
        """Flush all rows to disk."""
        self._table.sync()

    def write_results(self, results: Mapping[str, float]) -> None:
        """Write the run's results.

        Args:
            results: names to final values.
        """
        for sink in self._sinks:
            sink.write_results(results)

    def forget_later(self) -> None:
        """Drop rows of updates that were not repeated because training ended before them."""
        self._table.forget_later()

    def close(self, outcome: Outcome = "stopped") -> None:
        """Close the files, and end the trackers' runs.

        Args:
            outcome: of the training.
        """
        with ExitStack() as closed:
            closed.callback(self._table.close)
            for sink in self._sinks:
                closed.callback(sink.close, outcome)
