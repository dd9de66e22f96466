"""EnvPool: C++ environments stepped by a pool of threads, deterministic for a seed whatever their number."""

import warnings
from functools import cache
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space


@cache
def envpool_ids() -> frozenset[str]:
    """Return the ids that EnvPool has; none where it is not installed."""
    try:
        import envpool
    except ImportError:
        return frozenset()
    return frozenset(envpool.list_all_envs())


class EnvPoolVectorEnv(VectorEnv):
    """An EnvPool task as a Gymnasium vector environment; its seed is fixed when it is made.

    Args:
        env_id: one of `envpool_ids()`.
        num_envs: N.
        seed: in [0, 2³¹ − N).
        threads: to step environments with; 0 for one a core.
    """

    def __init__(self, env_id: str, num_envs: int, seed: int, threads: int) -> None:
        import envpool

        self._pool: Any = envpool.make_gymnasium(env_id, num_envs=num_envs, seed=seed, num_threads=threads)
        self.spec = gym.envs.registration.EnvSpec(env_id)
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}
        self.num_envs = num_envs
        with warnings.catch_warnings():  # EnvPool states float32 bounds in float64, which Gymnasium remarks on
            warnings.simplefilter("ignore", UserWarning)
            self.single_observation_space = self._pool.single_observation_space
            self.single_action_space = self._pool.single_action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        is_box = isinstance(self.single_action_space, gym.spaces.Box)
        self._action_dtype = self.single_action_space.dtype if is_box else np.int32

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:  # noqa: ARG002 set when made
        """Start new episodes.

        Args:
            seed: not used: the seed was given when the environment was made.
            options: not used.

        Returns:
            Observations and information.
        """
        return self._pool.reset()

    def step(self, actions: np.ndarray) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step every environment.

        Args:
            actions: (N, …), of any dtype.

        Returns:
            Observations, rewards, terminated, truncated, information.
        """
        return self._pool.step(actions.astype(self._action_dtype, copy=False))

    def close_extras(self, **kwargs: Any) -> None:  # noqa: ARG002, D102
        self._pool.close()
