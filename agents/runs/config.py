"""config.json: everything that defines a run, and the versions it was made with."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import gymnasium as gym

from trpo.agents.config import LearnerConfig, TrainerConfig
from trpo.agents.runs.provenance import git_commit, versions
from trpo.agents.storage.errors import RunError
from trpo.agents.storage.files import read_file, replace_file
from trpo.agents.storage.migration import FORMAT, migrate
from trpo.agents.storage.typed_json import from_json, to_json

Settings: TypeAlias = dict[str, bool | int | float | str | list[Any] | dict[str, Any] | None]

CONFIG = "config.json"


@dataclass(frozen=True)
class RunConfig:
    """Everything that defines a run, and the versions it was made with.

    Args:
        env: the environment's id, or any other name for it.
        learner: configuration of the learner.
        observation_space: of one environment; `None` where a run of an earlier version lacks it.
        action_space: of one environment, likewise.
        environment: options of the environments, in the terms of whoever creates them.
        started_from: the run or checkpoint that the agent was initialised from, as given; `None` if
            from the seed.
        video_every: environment steps between videos; 0 for none.
        threads: for tensors; affects the rounding of sums.
        versions: of Python and of the packages that affect results.
        git_commit: of this project's checkout, if there is one.
    """

    env: str
    learner: LearnerConfig
    observation_space: gym.Space | None
    action_space: gym.Space | None
    environment: Settings = field(default_factory=dict)
    started_from: str | None = None
    video_every: int = 0
    threads: int = 1
    versions: dict[str, str] = field(default_factory=versions)
    git_commit: str | None = field(default_factory=git_commit)

    def with_loop(self, loop: TrainerConfig) -> "RunConfig":
        """Return the configuration of a run with another training loop.

        Args:
            loop: one that ends later or earlier, for instance.

        Returns:
            The same otherwise.
        """
        return replace(self, learner=replace(self.learner, trainer=loop))


def write_config(folder: Path, config: RunConfig) -> None:
    """Write config.json.

    Args:
        folder: the run's.
        config: what goes into it.
    """
    text = json.dumps({"format": FORMAT} | to_json(config), indent=2, allow_nan=False)
    replace_file(folder / CONFIG, (text + "\n").encode("utf-8"))


def read_config(folder: Path) -> RunConfig:
    """Read config.json, of this version's format or an earlier one.

    Args:
        folder: the run's.

    Returns:
        The run's configuration.

    Raises:
        RunError: if the folder is not a run's, or its config.json is invalid.
    """
    path = folder / CONFIG
    try:
        return from_json(RunConfig, migrate(json.loads(read_file(path))))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RunError(
            f"{folder} is not a run: expected a folder with {CONFIG}, as trpo train leaves it"
        ) from error
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} cannot be read: {error}") from error
