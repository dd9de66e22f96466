"""One way to make environments: EnvPool where it has the task, Gymnasium for everything else, or as the user says."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import gymnasium as gym
from gymnasium.vector import VectorEnv

from envs.door import Door
from envs.envpool_engine import EnvPoolVectorEnv, envpool_ids
from envs.errors import EnvError, missing_extra, unknown_id
from envs.gymnasium_engine import find_spec, make_gymnasium

Engine = Literal["auto", "envpool", "gymnasium", "gymnasium-async"]


@dataclass(frozen=True)
class EnvironmentConfig:
    """The vector environment."""

    engine: Engine = "auto"
    """What steps the environments: EnvPool's threads, Gymnasium in this process, or one process each; auto prefers EnvPool."""
    num_envs: int = 16
    """Environments stepped together, N."""

    def __post_init__(self) -> None:
        if self.num_envs < 1:
            raise EnvError(f"num_envs = {self.num_envs!r} is out of range: expected an integer ≥ 1")


def make_vector_env(env_id: str, config: EnvironmentConfig, seed: int, threads: int = 0) -> VectorEnv:
    """Make N environments behind the `Door`.

    Args:
        env_id: an id of EnvPool or Gymnasium, or `module:Env-v0`.
        config: engine and N.
        seed: in [0, 2³¹ − N); Gymnasium's environments take it at their reset.
        threads: for EnvPool; 0 for one a core.

    Returns:
        Observations (N, O), actions (N, A), autoreset NEXT_STEP.

    Raises:
        EnvError: if the id is unknown, its package or engine missing, or its observations unsupported.
    """
    if config.engine == "envpool" or (config.engine == "auto" and env_id in envpool_ids()):
        return Door(_make_envpool(env_id, config.num_envs, seed, threads))
    if config.engine == "auto" and find_spec(env_id) is None:
        raise unknown_id(env_id, envpool_ids() | gym.registry.keys())
    return Door(make_gymnasium(env_id, config.num_envs, parallel=config.engine == "gymnasium-async"))


def make_recording_env(env_id: str, folder: Path) -> VectorEnv:
    """Make one environment that writes a video of its first episode.

    Args:
        env_id: an id of Gymnasium: EnvPool's own cannot be recorded.
        folder: for the video; made if need be.

    Returns:
        N = 1, behind the `Door`.

    Raises:
        EnvError: if the id is unknown to Gymnasium, or what records or draws it is not installed.
    """
    if importlib.util.find_spec("moviepy") is None:
        raise missing_extra("a video", "video")
    return Door(make_gymnasium(env_id, num_envs=1, parallel=False, video=folder))


def _make_envpool(env_id: str, num_envs: int, seed: int, threads: int) -> VectorEnv:
    if not envpool_ids():
        raise EnvError("engine = 'envpool' is not installed: run pip install envpool, or choose --engine gymnasium")
    if env_id not in envpool_ids():
        raise unknown_id(env_id, envpool_ids())
    return EnvPoolVectorEnv(env_id, num_envs, seed, threads)
