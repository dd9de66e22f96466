"""A run in MLflow's store, given by MLFLOW_TRACKING_URI or MLflow's default."""

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path

from mlflow import MlflowClient, get_tracking_uri
from mlflow.entities import Metric, Param

from trpo.agents.metrics import UpdateRecord
from trpo.agents.runs.board import options
from trpo.agents.runs.config import RunConfig
from trpo.agents.runs.sinks import Outcome

MOST_PARAMS = 100  # in a batch
STATUS: dict[Outcome, str] = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}


class MlflowRun:
    """See `trpo.agents.runs.trackers.TrackedRun`."""

    def __init__(self, folder: Path, config: RunConfig, run_id: str | None) -> None:
        logging.getLogger("mlflow").setLevel(logging.CRITICAL)  # whatever it raises is reported
        self._client = MlflowClient()
        if run_id:
            self._client.update_run(run_id, status="RUNNING")
        self.run_id = run_id or self._begin(folder, config)
        experiment = self._client.get_run(self.run_id).info.experiment_id
        uri = get_tracking_uri().rpartition("@")[2]  # without a password
        self.where = f"{uri}, experiment {experiment}, run {self.run_id}"

    def _begin(self, folder: Path, config: RunConfig) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "trpo")
        experiment = self._client.get_experiment_by_name(name)
        run = self._client.create_run(
            experiment.experiment_id if experiment else self._client.create_experiment(name),
            run_name=f"{config.env} {folder.name}",
            tags={
                "environment": config.env,
                "algorithm": config.learner.algorithm,
                "mlflow.source.name": "trpo train",
                "mlflow.source.git.commit": config.git_commit or "",
            },
        )
        params = [Param(key, str(value)) for key, value in options(config).items()]
        for first in range(0, len(params), MOST_PARAMS):
            self._client.log_batch(run.info.run_id, params=params[first : first + MOST_PARAMS])
        return str(run.info.run_id)

    def write(self, record: UpdateRecord) -> None:
        """Log every metric by its name in metrics.csv.

        Args:
            record: the update.
        """
        self._log(record.metrics, record.steps)

    def write_video(self, record: UpdateRecord, file: Path) -> None:  # noqa: ARG002 its name has it
        """Log a video as an artifact.

        Args:
            record: the update after which it was filmed.
            file: *.mp4.
        """
        self._client.log_artifact(self.run_id, str(file), "videos")

    def write_results(self, results: Mapping[str, float]) -> None:
        """Log the results, as metrics of step 0.

        Args:
            results: names to final values.
        """
        self._log({f"result/{name}": value for name, value in results.items()}, 0)

    def close(self, outcome: Outcome) -> None:
        """Set the run's status.

        Args:
            outcome: of the training.
        """
        self._client.set_terminated(self.run_id, STATUS[outcome])

    def _log(self, metrics: Mapping[str, float], step: int) -> None:
        now = int(time.time() * 1000)
        logged = [Metric(name, value, now, step) for name, value in metrics.items()]
        self._client.log_batch(self.run_id, metrics=logged)
