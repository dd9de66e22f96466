"""Gymnasium's vector environments: any registered id, `module:Env-v0` ids and custom environments."""

import importlib
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.wrappers import RecordVideo

from envs.errors import EnvError, missing_extra, unknown_id


def find_spec(env_id: str) -> gym.envs.registration.EnvSpec | None:
    """Return the registered specification of an id, importing what registers it.

    Args:
        env_id: `Env-v0`, `namespace/Env-v0` or `module:Env-v0`.

    Returns:
        The specification; `None` if nobody registered the id.

    Raises:
        EnvError: if the id names a module that cannot be imported, or ALE is not installed.
    """
    module, _, name = env_id.rpartition(":")
    try:
        if module:
            importlib.import_module(module)
        if name.startswith("ALE/"):
            gym.register_envs(importlib.import_module("ale_py"))
        return gym.spec(name)
    except ModuleNotFoundError as error:
        if error.name == "ale_py":
            raise missing_extra(env_id, "atari") from error
        raise EnvError(f"environment {env_id!r}: cannot import module {error.name!r}") from error
    except gym.error.Error:  # unregistered, or no such thing as an id
        return None


class ProcessVectorEnv(VectorWrapper):
    """Environments in a process each, of which one may die: the others are then ended, where Gymnasium would wait for it.

    Args:
        env: Gymnasium's `AsyncVectorEnv`.
    """

    def __init__(self, env: VectorEnv) -> None:
        super().__init__(env)
        # its own remarks about a process that failed fill a page; the error that follows says it in a line
        warnings.filterwarnings("ignore", module=r"gymnasium\.vector\.async_vector_env")

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step every environment.

        Args:
            actions: one an environment.

        Returns:
            Observations, rewards, terminated, truncated, information.

        Raises:
            ChildProcessError: if a process died.
        """
        try:
            return self.env.step(actions)
        except (EOFError, ConnectionError) as error:
            env = self.env.unwrapped
            assert isinstance(env, AsyncVectorEnv)
            for process in env.processes:
                process.kill()
                process.join()
            env.closed = True
            raise ChildProcessError("the process of an environment died") from error


def make_gymnasium(env_id: str, num_envs: int, parallel: bool, video: Path | None = None) -> VectorEnv:
    """Make N copies of a registered environment, autoreset NEXT_STEP.

    Args:
        env_id: a registered id.
        num_envs: N.
        parallel: one process an environment, instead of all in this one.
        video: folder for a video of each environment's first episode; `None` for no video.

    Returns:
        The environment's own vector class if it has one of that autoreset mode, else Gymnasium's.

    Raises:
        EnvError: if the id is unknown, or needs a package that is not installed.
    """
    spec = find_spec(env_id)
    if spec is None:
        raise unknown_id(env_id, gym.registry)
    try:
        if spec.vector_entry_point is not None and not parallel and video is None:
            env = gym.make_vec(env_id, num_envs, vectorization_mode="vector_entry_point")
            if env.metadata.get("autoreset_mode") is AutoresetMode.NEXT_STEP:
                return env
            env.close()
        mode = "async" if parallel else "sync"
        autoreset = {"autoreset_mode": AutoresetMode.NEXT_STEP}
        if video is None:
            env = gym.make_vec(env_id, num_envs, vectorization_mode=mode, vector_kwargs=autoreset)
            return ProcessVectorEnv(env) if parallel else env
        record = partial(RecordVideo, video_folder=str(video), episode_trigger=lambda episode: episode == 0)
        return gym.make_vec(
            env_id, num_envs, vectorization_mode=mode, vector_kwargs=autoreset, wrappers=[record], render_mode="rgb_array"
        )
    except gym.error.DependencyNotInstalled as error:
        for extra in ("box2d", "mujoco"):
            if extra in str(spec.entry_point):
                raise missing_extra(env_id, extra) from error
        raise EnvError(f"environment {env_id!r}: {error}") from error
