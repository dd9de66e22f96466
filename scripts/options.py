"""Everything that defines a run: the environment, the engine that steps it, and the learner."""

import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from trpo.agents.config import LearnerConfig
from trpo.envs.grouped import GroupedVectorEnv
from trpo.envs.factory import EnvironmentConfig, make_vector_env
from trpo.envs.time_limit import end_process
from trpo.scripts.command import parse
from trpo.scripts.presets import PRESETS
from trpo.validation import require


def cpu_count() -> int:
    """Return the cores that this process may use, where the system tells; else those of the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class TrainOptions:
    """Train a policy, by trust-region policy optimisation or another --algorithm.

    Defaults are the environment's preset, where it has one.
    """

    env: tyro.conf.Positional[str]
    """Environment id: EnvPool's or Gymnasium's, or module:Env-v0."""
    name: str = ""
    """Name of the run, whose folder is RUNS/ENV/NAME; by default seed and time of day."""
    resume: bool = False
    """Go on with the run of this --name if there is one, else start it: for schedulers that start a
    failed job again."""
    runs: Path = Path("runs")
    """Folder of all runs."""
    threads: int = 0
    """CPU threads for environments and for tensors; 0 for one a core."""
    environment: tyro.conf.OmitArgPrefixes[EnvironmentConfig] = field(
        default_factory=EnvironmentConfig
    )
    learner: Annotated[LearnerConfig, tyro.conf.arg(name="")] = field(default_factory=LearnerConfig)

    def __post_init__(self) -> None:
        require(self.threads >= 0, "threads", self.threads, "an integer ≥ 0")
        fits = (
            not {"/", "\0"} & set(self.name)
            and not self.name.startswith(".")
            and len(self.name.encode()) <= 255
        )
        require(fits, "name", self.name, "a file name")

    @property
    def cpu_threads(self) -> int:
        """Threads to use, at least 1."""
        return self.threads or cpu_count()

    def make_env(self, seed: int, on_hang: Callable[[str], None] = end_process) -> GroupedVectorEnv:
        """Make the run's vector environment.

        Args:
            seed: of its first environment.
            on_hang: called with a sentence when environments in this process hang; has to end the
                process.

        Returns:
            The environment, behind the door.
        """
        return make_vector_env(self.env, self.environment, seed, self.cpu_threads, on_hang)


def parse_train_options(arguments: Sequence[str], command: str = "train") -> TrainOptions:
    """Read the options of `trpo train`, on top of the environment's preset.

    Args:
        arguments: the words after the command.
        command: its name, for messages.

    Returns:
        The options.
    """
    env_id = next((word for word in arguments if word in PRESETS), None)
    if env_id is None:
        return parse(TrainOptions, arguments, command)
    preset = parse(TrainOptions, [env_id, *shlex.split(PRESETS[env_id])], command)
    return parse(TrainOptions, arguments, command, default=preset)
