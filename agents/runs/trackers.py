"""Experiment trackers of a run, which resume with it, and whose failures never end training.

`tracking.json` has the run's id at each tracker. A resumed run continues there, too, and first
sends updates of metrics.csv that the tracker lacks. Repeated rows are sent only once: where a run
is extended while δ is annealed, they differ slightly, and the tracker has the original ones.
"""

import json
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol, get_args

from trpo.agents.errors import one_line
from trpo.agents.metrics import UpdateRecord
from trpo.agents.runs.config import RunConfig
from trpo.agents.runs.sinks import Outcome, Sink
from trpo.agents.storage.files import read_file, replace_file

Tracker = Literal["wandb", "mlflow"]
TRACKING = "tracking.json"


class TrackedRun(Sink, Protocol):
    """A run at a tracker.

    Args:
        folder: the run's.
        config: the run's configuration.
        run_id: of the tracker's run to continue; `None` for a new one.
    """

    run_id: str
    where: str  # for people to find it

    def __init__(self, folder: Path, config: RunConfig, run_id: str | None) -> None: ...


class FailsafeTracker:
    """A tracker that, if it fails, is reported once and then no longer used.

    Args:
        name: of the tracker.
        begin: returns its run; may raise.
        sent: number of updates already sent.
    """

    def __init__(self, name: Tracker, begin: Callable[[], TrackedRun], sent: int) -> None:
        self.name = name
        self.where = ""
        self._sent = sent
        self._run: TrackedRun | None = None
        with self._guarded():
            self._run = begin()
            self.where = self._run.where

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # whatever a tracker raises
            self._run = None
            message = f"{self.name}: {one_line(error)}; training continues without it"
            warnings.warn(message, stacklevel=3)

    def write(self, record: UpdateRecord) -> None:
        """Send an update, unless it has been sent.

        Args:
            record: the update.
        """
        if self._run and record.update > self._sent:
            with self._guarded():
                self._run.write(record)

    def write_video(self, record: UpdateRecord, file: Path) -> None:
        """Send a video, unless it has been sent.

        Args:
            record: the update that it was filmed after.
            file: *.mp4.
        """
        if self._run and record.update > self._sent:
            with self._guarded():
                self._run.write_video(record, file)

    def write_results(self, results: Mapping[str, float]) -> None:
        """Send the results.

        Args:
            results: names to final values.
        """
        if self._run:
            with self._guarded():
                self._run.write_results(results)

    def close(self, outcome: Outcome) -> None:
        """End the tracker's run.

        Args:
            outcome: of the training.
        """
        if self._run:
            with self._guarded():
                self._run.close(outcome)


def open_trackers(
    asked: Sequence[Tracker],
    folder: Path,
    config: RunConfig,
    earlier: Sequence[UpdateRecord],
    later: Sequence[UpdateRecord],
) -> list[FailsafeTracker]:
    """Start a run at each tracker, or continue it.

    Args:
        asked: trackers to add to those that the run has.
        folder: the run's.
        config: the run's configuration.
        earlier: updates before the one at which training resumes.
        later: updates of an earlier process, which will be repeated.

    Returns:
        One sink per tracker, to which the earlier updates have been sent.
    """
    known = tracked(folder)
    opened = []
    for name in dict.fromkeys((*known, *asked)):
        sent = len(earlier) + len(later) if name in known else 0

        def begin(name: Tracker = name) -> TrackedRun:
            run = _class_of(name)(folder, config, known.get(name))
            known[name] = run.run_id
            replace_file(folder / TRACKING, (json.dumps(known, indent=2) + "\n").encode())
            return run

        tracker = FailsafeTracker(name, begin, sent)
        for record in earlier:
            tracker.write(record)
        opened.append(tracker)
    return opened


def tracked(folder: Path) -> dict[Tracker, str]:
    """Return a run's trackers.

    Args:
        folder: the run's.

    Returns:
        Their names, mapped to their ids of the run; empty if they cannot be read.
    """
    try:
        content = json.loads(read_file(folder / TRACKING))
        return {name: _checked(content[name]) for name in get_args(Tracker) if name in content}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, RecursionError) as error:
        warnings.warn(f"{folder / TRACKING} cannot be read: {error}", stacklevel=2)
        return {}


def _checked(run_id: object) -> str:
    """Return an id after validating it, as it becomes part of paths and URLs."""
    if not isinstance(run_id, str) or not re.fullmatch(r"[\w-]{1,64}", run_id):
        raise ValueError("expected a run's id")
    return run_id


def _class_of(name: Tracker) -> type[TrackedRun]:
    """Return a tracker's class; its module imports a package that may take seconds."""
    match name:
        case "wandb":
            from trpo.agents.runs.wandb_run import WandbRun

            return WandbRun
        case "mlflow":
            from trpo.agents.runs.mlflow_run import MlflowRun

            return MlflowRun
