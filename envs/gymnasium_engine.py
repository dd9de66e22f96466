"""Gymnasium's vector environments: any registered id, `module:Env-v0` ids and custom environments."""

import importlib
from functools import partial
from pathlib import Path

import gymnasium as gym
from gymnasium.vector import AutoresetMode, VectorEnv
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
    except gym.error.UnregisteredEnv:
        return None


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
            return gym.make_vec(env_id, num_envs, vectorization_mode=mode, vector_kwargs=autoreset)
        record = partial(RecordVideo, video_folder=str(video), episode_trigger=lambda episode: episode == 0)
        return gym.make_vec(
            env_id, num_envs, vectorization_mode=mode, vector_kwargs=autoreset, wrappers=[record], render_mode="rgb_array"
        )
    except gym.error.DependencyNotInstalled as error:
        for extra in ("box2d", "mujoco"):
            if extra in str(spec.entry_point):
                raise missing_extra(env_id, extra) from error
        raise EnvError(f"environment {env_id!r}: {error}") from error
