"""Experiment trackers of a run: which it has, going on in theirs, and none that ends a training.

`tracking.json` has the run's id at each tracker. A run that goes on goes on there, too: it sends
what the tracker has not had, as metrics.csv tells. Rows that are made again are sent once: where a
run is made longer and its δ falls, they are not quite the same, and the tracker has the first ones.
"""

import json
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol, get_args

from trpo.agents.errors import told
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
        run_id: of the tracker's run to go on with; `None` for a new one.
    """

    run_id: str
    where: str  # a person finds it

    def __init__(self, folder: Path, config: RunConfig, run_id: str | None) -> None: ...


class NeverFatal:
    """A tracker that is told of once when it fails, and then left alone.

    Args:
        name: of the tracker.
        begin: returns its run; may raise.
        sent: updates that it has had.
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
            message = f"{self.name}: {told(error)}; training goes on without it"
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
) -> list[NeverFatal]:
    """Begin a run at each tracker, or go on with it.

    Args:
        asked: trackers, beside those that the run has.
        folder: the run's.
        config: the run's configuration.
        earlier: updates that training goes on after.
        later: updates of an earlier process, which are about to be made again.

    Returns:
        A sink a tracker, which has had the earlier updates.
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

        tracker = NeverFatal(name, begin, sent)
        for record in earlier:
            tracker.write(record)
        opened.append(tracker)
    return opened


def tracked(folder: Path) -> dict[Tracker, str]:
    """Return a run's trackers.

    Args:
        folder: the run's.

    Returns:
        Names to the ids that they know the run by; none where they cannot be read.
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
    """Return an id, if it is one: it becomes part of paths and addresses."""
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
