"""A run on disk: its folder, lock, configuration, checkpoints, metrics and results."""

from trpo.agents.runs.config import RunConfig
from trpo.agents.runs.run import Run
from trpo.agents.storage.errors import CheckpointError, RunError

__all__ = ["CheckpointError", "Run", "RunConfig", "RunError"]
