"""One room for a run: its folder, lock, configuration, checkpoints, metrics and results."""

from trpo.agents.runs.config import RunConfig
from trpo.agents.runs.errors import CheckpointError, RunError
from trpo.agents.runs.run import Run

__all__ = ["CheckpointError", "Run", "RunConfig", "RunError"]
