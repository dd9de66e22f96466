"""The door: whatever the environment, a learner sees flat float observations (N, O) and sends flat actions (N, A)."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space
from gymnasium.wrappers.vector import FlattenObservation

from envs.errors import EnvError

OBSERVATION_SPACES = (gym.spaces.Box, gym.spaces.Discrete, gym.spaces.MultiDiscrete, gym.spaces.MultiBinary)


class Door(VectorWrapper):
    """Flattens observations, by Gymnasium's own utilities where they are no Box, and fits actions to the action space.

    Continuous actions are clipped here, where they leave: their log-probability stays that of the unclipped action.

    Args:
        env: any vector environment.

    Raises:
        EnvError: if the observation space is an image, or cannot be flattened to numbers.
    """

    def __init__(self, env: VectorEnv) -> None:
        _check_observation_space(env.single_observation_space)
        if not isinstance(env.single_observation_space, gym.spaces.Box):
            env = FlattenObservation(env)
        super().__init__(env)
        space, actions = env.single_observation_space, env.single_action_space
        assert isinstance(space, gym.spaces.Box)
        self.single_observation_space = gym.spaces.flatten_space(space)
        self.observation_space = batch_space(self.single_observation_space, env.num_envs)
        self._flat = self.observation_space.shape
        self._action_shape = (env.num_envs, *(actions.shape or ()))
        self._bounds = (actions.low, actions.high) if isinstance(actions, gym.spaces.Box) else None
        self._start = getattr(actions, "start", 0)  # of Discrete and MultiDiscrete: the policy counts from 0

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Start new episodes.

        Args:
            seed: of environment 0; the others' follow.
            options: for the environment.

        Returns:
            Observations (N, O) and information.
        """
        observations, info = self.env.reset(seed=seed, options=options)
        return observations.reshape(self._flat), info

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step every environment.

        Args:
            actions: (N, A), as the policy chose them.

        Returns:
            Observations (N, O), rewards, terminated, truncated, each (N,), and information.
        """
        actions = actions.reshape(self._action_shape)
        actions = np.clip(actions, *self._bounds) if self._bounds else actions + self._start
        observations, rewards, terminated, truncated, info = self.env.step(actions)
        return observations.reshape(self._flat), rewards, terminated, truncated, info


def _check_observation_space(space: gym.Space) -> None:
    match space:
        case gym.spaces.Box() if len(space.shape) >= 3:
            raise EnvError(f"observation space {space} is an image: expected vectors, or Dict and Tuple of them")
        case gym.spaces.Dict() | gym.spaces.Tuple():
            for part in space.values() if isinstance(space, gym.spaces.Dict) else space:
                _check_observation_space(part)
        case _ if not isinstance(space, OBSERVATION_SPACES):
            raise EnvError(
                f"observation space {space} is not supported: expected Box, Discrete, MultiDiscrete, MultiBinary, Dict or Tuple"
            )
