"""A checker of Gymnasium's interface that reports errors of environments in one line.

Replaces Gymnasium's own checker, whose messages fill pages and omit shapes.
"""

from typing import Any

import gymnasium as gym
import numpy as np

GUIDE = "see gymnasium.farama.org/introduction/migration_guide"


class CheckedEnv(gym.Wrapper):
    """Checks an environment for the old Gym interface and for observations of a wrong shape.

    Args:
        env: one environment.

    Raises:
        TypeError: if its spaces are not Gymnasium's.
    """

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        for name in ("observation_space", "action_space"):
            if not isinstance(space := getattr(env, name, None), gym.Space):
                raise TypeError(f"its {name} is {space!r}, no space of gymnasium.spaces")

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start a new episode.

        Args:
            seed: of all further randomness; `None` to continue the current sequence.
            options: for the environment.

        Returns:
            Observation and information.

        Raises:
            TypeError: if the environment has the old Gym interface.
            ValueError: if an observation's shape differs from its space's.
        """
        try:
            result = self.env.reset(seed=seed, options=options)
        except TypeError as error:
            if "unexpected keyword argument 'seed'" in str(error):
                raise _old("reset() takes no seed: expected reset(*, seed, options)") from error
            if "unexpected keyword argument 'options'" in str(error):
                raise _old("reset() takes no options: expected reset(*, seed, options)") from error
            raise
        if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict)):
            raise _old("reset() returns no (observation, info)")
        check_shape(self.observation_space, result[0])
        return result

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step.

        Args:
            action: of the action space.

        Returns:
            Observation, reward, terminated, truncated, information.

        Raises:
            TypeError: if the environment has the old Gym interface.
            ValueError: if an observation has another shape than its space, or the reward is none
                but an array.
        """
        reward: Any  # the interface requires a number
        try:
            observation, reward, terminated, truncated, info = self.env.step(action)
        except ValueError as error:
            if "unpack (expected 5, got 4)" in str(error):
                raise _old(
                    "step() returns 4 values: expected terminated and truncated, not done"
                ) from error
            raise
        check_shape(self.observation_space, observation)
        if np.ndim(reward):  # NumPy's message would name nothing that the user wrote
            raise ValueError(f"a reward has shape {np.shape(reward)}: expected one number")
        return observation, reward, terminated, truncated, info


def check_shape(space: gym.Space, observation: Any) -> None:
    """Reject an observation whose shape differs from its space's.

    Args:
        space: of the observation.
        observation: arrays, numbers, or dicts and tuples of them.

    Raises:
        ValueError: with both shapes.
    """
    if isinstance(space, gym.spaces.Dict):
        for key, part in space.spaces.items():
            check_shape(part, observation[key])
    elif isinstance(space, gym.spaces.Tuple):
        for part, value in zip(space.spaces, observation, strict=True):
            check_shape(part, value)
    elif space.shape is not None and np.shape(observation) != space.shape:
        shapes = f"shape {np.shape(observation)}: expected {space.shape}, as its space says"
        raise ValueError(f"an observation has {shapes}")


def _old(what: str) -> TypeError:
    return TypeError(f"{what}; that is Gym's interface, not Gymnasium's ({GUIDE})")
