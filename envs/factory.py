"""One way to make environments: EnvPool where it has the task, else Gymnasium; or as told."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import gymnasium as gym
from gymnasium.vector import VectorEnv

from trpo.envs.envpool_engine import EnvPoolVectorEnv, envpool_ids, worthwhile_groups
from trpo.envs.errors import EnvError, missing_extra, unknown_id
from trpo.envs.grouped import GroupedVectorEnv
from trpo.envs.gymnasium_engine import find_spec, make_gymnasium, make_parallel
from trpo.envs.recording import make_filmed
from trpo.envs.seeding import seed_process
from trpo.envs.time_limit import TimeLimitedVectorEnv, end_process

Engine = Literal["auto", "envpool", "gymnasium", "gymnasium-async"]
LONGEST_TIMEOUT = 1_000_000


@dataclass(frozen=True)
class EnvironmentConfig:
    """The vector environment."""

    engine: Engine = "auto"
    """What steps the environments: EnvPool's threads, Gymnasium in this process, or one process
    each; auto prefers EnvPool."""
    num_envs: int = 32
    """Environments stepped together, N (measured: with 64, Hopper-v5 learns worse; with 16,
    everything is slower)."""
    step_timeout: float = 0.0
    """Seconds after which environments that have not answered a step, or a reset, count as hung; 0
    waits for ever."""

    def __post_init__(self) -> None:
        if self.num_envs < 1:
            raise EnvError(f"num_envs = {self.num_envs!r} is out of range: expected an integer ≥ 1")
        if not 0 <= self.step_timeout <= LONGEST_TIMEOUT:
            expected = f"seconds in [0, {LONGEST_TIMEOUT:,}]"
            raise EnvError(
                f"step_timeout = {self.step_timeout!r} is out of range: expected {expected}"
            )


def make_vector_env(
    env: str | gym.Env | Callable[[], gym.Env],
    config: EnvironmentConfig,
    seed: int,
    threads: int = 0,
    on_hang: Callable[[str], None] = end_process,
) -> GroupedVectorEnv:
    """Make N environments.

    Args:
        env: an id of EnvPool or Gymnasium, or `module:Env-v0`; or a function that makes one
            environment; or one environment, which stays the caller's to close.
        config: engine and N.
        seed: in [0, 2³¹ − N); Gymnasium's environments take it at their reset.
        threads: for EnvPool; 0 for one a core.
        on_hang: called with a sentence, from another thread, when environments in this process
            hang; has to end the process.

    Returns:
        Autoreset NEXT_STEP, in the environment's own spaces.

    Raises:
        EnvError: if the id is unknown, its package or engine missing, or one environment is to
            be many.
    """
    seed_process(seed)  # before an environment is made: it may draw from what the process shares
    if config.engine == "gymnasium-async":
        return GroupedVectorEnv(make_parallel(env, config.num_envs, config.step_timeout))
    if isinstance(env, str) and _uses_envpool(env, config.engine):
        vector = _make_envpool(env, config.num_envs, seed, threads)
    else:
        vector = make_gymnasium(env, config.num_envs)
    if config.step_timeout:
        return TimeLimitedVectorEnv(vector, config.step_timeout, on_hang)
    return GroupedVectorEnv(vector)


def _uses_envpool(env_id: str, engine: Engine) -> bool:
    if engine == "auto" and env_id not in envpool_ids() and find_spec(env_id) is None:
        raise unknown_id(env_id, envpool_ids() | gym.registry.keys())
    return engine == "envpool" or (engine == "auto" and env_id in envpool_ids())


def make_recording_env(env_id: str, files: list[Path], seed: int) -> GroupedVectorEnv:
    """Make environments that film their first episodes.

    Args:
        env_id: an id of Gymnasium, or of EnvPool.
        files: a video each, *.mp4.
        seed: of the first environment.

    Returns:
        N = len(files).

    Raises:
        EnvError: if the id is unknown, or what films or draws it is not installed.
    """
    if importlib.util.find_spec("moviepy") is None:
        raise missing_extra("a video", "video")
    return GroupedVectorEnv(make_filmed(env_id, files, seed))


def _make_envpool(env_id: str, num_envs: int, seed: int, threads: int) -> VectorEnv:
    if not envpool_ids():
        raise EnvError(
            "engine = 'envpool' is not installed: run pip install envpool, "
            "or choose --engine gymnasium"
        )
    if env_id not in envpool_ids():
        raise unknown_id(env_id, envpool_ids())
    return EnvPoolVectorEnv(
        env_id, num_envs, seed, threads, worthwhile_groups(env_id, num_envs, threads)
    )
