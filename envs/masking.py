"""Action masks: adds the choices that a state allows to the observation, as action_mask."""

from collections.abc import Mapping
from typing import Any, Literal

import gymnasium as gym
import numpy as np

from trpo.envs.errors import EnvError

ActionMask = Literal["auto", "none", "info", "method"]
MASK = "action_mask"  # PettingZoo's name, in an observation and in info
METHOD = "action_masks"  # sb3-contrib's


def choices(space: gym.Space) -> int:
    """Return the number of choices in an action, over all Discrete and MultiDiscrete leaves.

    Args:
        space: of actions.

    Returns:
        The length of a mask; 0 without discrete parts.
    """
    match space:
        case gym.spaces.Discrete(n=n):
            return int(n)
        case gym.spaces.MultiDiscrete(nvec=nvec):
            return int(nvec.sum())
        case gym.spaces.Dict(spaces=parts):
            return sum(map(choices, parts.values()))
        case gym.spaces.Tuple(spaces=parts):
            return sum(map(choices, parts))
    return 0


def without_mask(parts: Mapping[str, Any]) -> dict[str, Any]:
    """Return a Dict observation, or its space, without the mask.

    Args:
        parts: by name; with a mask or without.
    """
    return {name: part for name, part in parts.items() if name != MASK}


class MaskedObservation(gym.Wrapper):
    """Observations are a Dict with the state's mask as action_mask, 1 where a choice is allowed.

    Args:
        env: an environment with discrete choices.
        source: of its masks: info["action_mask"], or a method action_masks().

    Raises:
        EnvError: if there is nothing to mask, or no such method.
    """

    def __init__(self, env: gym.Env, source: Literal["info", "method"]) -> None:
        super().__init__(env)
        self.size = choices(env.action_space)
        if self.size == 0:
            raise EnvError(f"action_mask = {source!r}: {env.action_space} has no choices to mask")
        if source == "method" and not env.has_wrapper_attr(METHOD):
            raise EnvError(f"action_mask = 'method': the environment has no method {METHOD}()")
        self.source = source
        space = env.observation_space
        self.nested = isinstance(space, gym.spaces.Dict)
        parts = dict(space.spaces) if isinstance(space, gym.spaces.Dict) else {"observation": space}
        mask = gym.spaces.MultiBinary(self.size)
        self.observation_space = gym.spaces.Dict({**parts, MASK: mask})

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start a new episode.

        Args:
            seed: of all further randomness; `None` to continue the current sequence.
            options: for the environment.

        Returns:
            Observation, with its mask, and information.
        """
        observation, info = self.env.reset(seed=seed, options=options)
        return self._masked(observation, info), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take an action.

        Args:
            action: of the action space.

        Returns:
            Observation, with its mask, reward, terminated, truncated, information.
        """
        observation, reward, terminated, truncated, info = self.env.step(action)
        ended = terminated or truncated
        return self._masked(observation, info, ended), reward, terminated, truncated, info

    def _masked(self, observation: Any, info: dict[str, Any], ended: bool = False) -> Any:
        if self.source == "method":
            mask = self.env.get_wrapper_attr(METHOD)()
        elif MASK in info:
            mask = info[MASK]
        elif ended:  # no action follows a terminal state
            mask = np.ones(self.size)
        else:
            raise ValueError(f'info has no "{MASK}"; --action-mask says that it has')
        bits = np.asarray(mask, dtype=np.int8).reshape(-1)
        if bits.shape != (self.size,):
            raise ValueError(f"an action mask of {len(bits)} numbers: expected {self.size}")
        parts = observation if self.nested else {"observation": observation}
        return {**parts, MASK: bits}


class UnmaskedObservation(gym.ObservationWrapper):
    """A Dict observation without its mask.

    Args:
        env: an environment whose observations have one.
    """

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        assert isinstance(env.observation_space, gym.spaces.Dict)
        self.observation_space = gym.spaces.Dict(self.observation(env.observation_space.spaces))

    def observation(self, observation: Any) -> Any:
        """Return an observation's other parts.

        Args:
            observation: as the environment gives it.
        """
        return without_mask(observation)


def with_mask(env: gym.Env, source: ActionMask) -> gym.Env:
    """Return an environment with its masks added to observations, or removed from them.

    Args:
        env: any.
        source: of its masks; auto: the observation, else a method, if either exists.

    Returns:
        The environment, wrapped if need be.

    Raises:
        EnvError: if there is nothing to mask, or no such method.
    """
    space = env.observation_space
    has_mask = isinstance(space, gym.spaces.Dict) and MASK in space.spaces
    if source == "none":
        return UnmaskedObservation(env) if has_mask else env
    if source == "auto":
        by_method = not has_mask and env.has_wrapper_attr(METHOD) and choices(env.action_space)
        return MaskedObservation(env, "method") if by_method else env
    return MaskedObservation(env, source)
