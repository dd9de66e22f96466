"""Discrete choices that EnvPool declares as integers."""

import gymnasium as gym
import numpy as np

from trpo.envs.masking import MASK


class Choices:
    """The choices that EnvPool means by an integer Box, as it has no discrete spaces.

    Args:
        box: of one environment's actions, of integers.
        observations: space of one observation; if its action mask has one number per combination of
            choices, actions are combinations.
    """

    def __init__(self, box: gym.spaces.Box, observations: gym.Space) -> None:
        # as int64: a difference may not fit into the Box's own dtype
        self._low, self._dtype = box.low.astype(np.int64), box.dtype
        self._numbers = box.high.astype(np.int64) - self._low + 1
        parts = observations.spaces if isinstance(observations, gym.spaces.Dict) else {}
        self._joint = MASK in parts and parts[MASK].shape == tuple(self._numbers)

    def space(self) -> gym.Space:
        """Return the space of one environment's actions, from 0 on."""
        if self._joint:
            return gym.spaces.Discrete(int(np.prod(self._numbers)))
        return gym.spaces.MultiDiscrete(self._numbers)

    def __call__(self, actions: np.ndarray) -> np.ndarray:
        """Return actions as EnvPool takes them.

        Args:
            actions: (n,) or (n, A), of the space.

        Returns:
            (n, A).
        """
        if self._joint:
            actions = np.stack(np.unravel_index(actions.astype(np.int64), self._numbers), axis=-1)
        return (actions + self._low).astype(self._dtype)
