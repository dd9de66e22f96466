"""The door: whatever the environment, a learner sees flat float observations (N, O) and sends flat actions (N, A)."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space
from gymnasium.wrappers.vector import FlattenObservation

from trpo.envs.envpool_engine import EnvPoolVectorEnv, join
from trpo.envs.errors import EnvError

OBSERVATION_SPACES = (
    gym.spaces.Box,
    gym.spaces.Discrete,
    gym.spaces.MultiDiscrete,
    gym.spaces.MultiBinary,
)

Step = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]


class Door(VectorWrapper):
    """Flattens observations, by Gymnasium's own utilities where they are no Box, and fits actions to the action space.

    Continuous actions are clipped here, where they leave: their log-probability stays that of the
    unclipped action. Environments may come in `parts`: slices of the N, each of which can be
    stepped by itself, in `send` and `receive`.

    Args:
        env: any vector environment.

    Raises:
        EnvError: if the observation space is an image, or cannot be flattened to numbers.
    """

    def __init__(self, env: VectorEnv) -> None:
        _check_observation_space(env.single_observation_space)
        self._divided = env if isinstance(env, EnvPoolVectorEnv) and len(env.parts) > 1 else None
        self.parts = self._divided.parts if self._divided else [slice(0, env.num_envs)]
        if not isinstance(env.single_observation_space, gym.spaces.Box):
            env = FlattenObservation(env)
        super().__init__(env)
        space, actions = env.single_observation_space, env.single_action_space
        assert isinstance(space, gym.spaces.Box)
        self.single_observation_space = gym.spaces.flatten_space(space)
        self.observation_space = batch_space(self.single_observation_space, env.num_envs)
        self._size = gym.spaces.flatdim(space)  # O
        self._action_shape = actions.shape or ()
        self._bounds = (actions.low, actions.high) if isinstance(actions, gym.spaces.Box) else None
        self._start = getattr(
            actions, "start", 0
        )  # of Discrete and MultiDiscrete: the policy counts from 0

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start new episodes.

        Args:
            seed: of environment 0; the others' follow.
            options: for the environment.

        Returns:
            Observations (N, O) and information.
        """
        observations, info = self.env.reset(seed=seed, options=options)
        return self._flat(observations), info

    def step(self, actions: np.ndarray) -> Step:
        """Step every environment.

        Args:
            actions: (N, A), as the policy chose them.

        Returns:
            Observations (N, O), rewards, terminated, truncated, each (N,), and information.
        """
        for number, part in enumerate(self.parts):
            self.send(number, actions[part])
        return join([self.receive(number) for number in range(len(self.parts))])

    def send(self, number: int, actions: np.ndarray) -> None:
        """Let a part step, at once if there are several; a part that is all there is steps when it is waited for.

        Args:
            number: of the part.
            actions: (n, A), as the policy chose them.
        """
        if self._divided:
            self._divided.send(number, self._fit(actions))
        else:
            self._sent = self._fit(actions)

    def receive(self, number: int) -> Step:
        """Wait for a part's step.

        Args:
            number: of the part.

        Returns:
            As `step`, of n environments.
        """
        result = self._divided.receive(number) if self._divided else self.env.step(self._sent)
        observations, rewards, terminated, truncated, info = result
        return self._flat(observations), rewards, terminated, truncated, info

    def _fit(self, actions: np.ndarray) -> np.ndarray:
        actions = actions.reshape(-1, *self._action_shape)
        return actions.clip(*self._bounds) if self._bounds else actions + self._start

    def _flat(self, observations: np.ndarray) -> np.ndarray:
        return observations.reshape(len(observations), self._size)


def _check_observation_space(space: gym.Space) -> None:
    match space:
        case gym.spaces.Box() if len(space.shape) >= 3:
            raise EnvError(
                f"observation space {space} is an image: expected vectors, or Dict and Tuple of them"
            )
        case gym.spaces.Dict() | gym.spaces.Tuple():
            for part in space.values() if isinstance(space, gym.spaces.Dict) else space:
                _check_observation_space(part)
        case _ if not isinstance(space, OBSERVATION_SPACES):
            raise EnvError(
                f"observation space {space} is not supported: expected Box, Discrete, MultiDiscrete, MultiBinary, Dict or Tuple"
            )
