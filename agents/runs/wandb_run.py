"""A run at Weights & Biases, configured by its WANDB_… environment variables."""

import os
from collections.abc import Mapping
from pathlib import Path

import wandb

from trpo.agents.metrics import UpdateRecord
from trpo.agents.runs.board import options
from trpo.agents.runs.config import RunConfig
from trpo.agents.runs.sinks import Outcome


class WandbRun:
    """See `trpo.agents.runs.trackers.TrackedRun`."""

    def __init__(self, folder: Path, config: RunConfig, run_id: str | None) -> None:
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "trpo"),
            name=os.environ.get("WANDB_NAME", f"{config.env} {folder.name}"),
            dir=os.environ.get("WANDB_DIR", folder),
            id=run_id,
            resume="allow" if run_id else None,
            config=options(config),
            tags=[word for word in (config.learner.algorithm, config.env) if len(word) <= 64],
            reinit="create_new",
            settings=wandb.Settings(console="off", silent=True),
        )
        self.run_id: str = self._run.id
        later = f"to upload it: wandb sync {Path(self._run.dir).parent}"
        self.where: str = later if self._run.offline else str(self._run.url)

    def write(self, record: UpdateRecord) -> None:
        """Log every metric by its name in metrics.csv.

        Args:
            record: the update.
        """
        self._run.log(dict(record.metrics), step=record.steps)

    def write_video(self, record: UpdateRecord, file: Path) -> None:
        """Log a video.

        Args:
            record: the update after which it was filmed.
            file: *.mp4.
        """
        self._run.log({"video": wandb.Video(str(file), format="mp4")}, step=record.steps)

    def write_results(self, results: Mapping[str, float]) -> None:
        """Write the results to the summary.

        Args:
            results: names to final values.
        """
        self._run.summary.update({f"result/{name}": value for name, value in results.items()})

    def close(self, outcome: Outcome) -> None:
        """Finish.

        Args:
            outcome: of the training.
        """
        self._run.finish(exit_code=int(outcome == "failed"))
