"""Recording of a run during training: rows, checkpoints, results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from trpo.agents.metrics import UpdateRecord
from trpo.agents.runs.results import Results
from trpo.agents.runs.sinks import Outcome
from trpo.agents.runs.telemetry import Telemetry
from trpo.agents.runs.trackers import Tracker

if TYPE_CHECKING:
    from types import TracebackType

    from trpo.agents.runs.run import Run
    from trpo.agents.trainer import Trainer


class Recording:
    """Yields a trainer's updates, each once its row and any due checkpoint are on disk.

    If the loop over it ends early, but not with an exception, the current state is saved.

    Args:
        run: contains no state later than the trainer's, except for updates that will be repeated.
        trainer: new, or restored from one of the run's checkpoints.
        track: trackers to add to those that the run has.
    """

    def __init__(self, run: Run, trainer: Trainer, track: Sequence[Tracker] = ()) -> None:
        self._run = run
        self._trainer = trainer
        self._track = track
        self.tracked: dict[str, str] = {}  # by name, where the run can be viewed
        self._saved = trainer.update
        self.results = Results(trainer.config.max_kl)

    def __enter__(self) -> Recording:
        run, trainer = self._run, self._trainer
        with ExitStack() as opened:
            opened.enter_context(run.lock)
            run.checkpoints.path.mkdir(exist_ok=True)
            run.remove_drafts()
            earlier, later = run.records_around(trainer.update)
            for record in earlier:
                self.results.count(record)
            self._telemetry = Telemetry(run.folder, run.config, earlier, later, self._track)
            self.tracked = self._telemetry.tracked
            self._opened = opened.pop_all()  # closed by an exception above
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._opened:
            outcome: Outcome = "failed"
            try:
                if error is None:
                    if self._saved != self._trainer.update:
                        self._finish()
                    outcome = "finished" if self._trainer.finished else "stopped"
            finally:
                self._telemetry.close(outcome)

    def __iter__(self) -> Iterator[UpdateRecord]:
        """Train.

        Yields:
            One record an update.
        """
        trainer = self._trainer
        for record in trainer.updates():
            self._telemetry.write(record)
            self.results.count(record)
            if "evaluation/return" in record.metrics:
                self._run.checkpoints.save_best(trainer, trainer.evaluation_return)
            if trainer.finished:
                self._finish()
            elif trainer.at_resume_point:
                self._save()
            yield record

    def add_video(self, record: UpdateRecord, file: Path) -> None:
        """Show a video in TensorBoard and the trackers.

        Args:
            record: the update after which it was filmed.
            file: *.mp4 in the run's folder, with an animation *.gif next to it.
        """
        self._telemetry.write_video(record, file)

    def _finish(self) -> None:
        self._telemetry.write_results(self.results.numbers())
        if self._trainer.finished:
            self._telemetry.forget_later()
        self._save()

    def _save(self) -> None:
        self._telemetry.sync()  # before the checkpoint, which must never be ahead of the table
        self._run.checkpoints.save(self._trainer)
        self._saved = self._trainer.update
