"""The wrappers of every Gymnasium environment, from the inside out."""

import importlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import gymnasium as gym
from gymnasium.wrappers import FrameStackObservation, TimeLimit

from trpo.envs.errors import EnvError, one_line

Wrap: TypeAlias = Callable[[gym.Env], gym.Env]


class RepeatedAction(gym.Wrapper):
    """Action repeat: rewards are summed, the last observation is returned.

    Args:
        env: any.
        times: steps of `env` per step, fewer where the episode ends.
    """

    def __init__(self, env: gym.Env, times: int) -> None:
        super().__init__(env)
        self.times = times

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take an action.

        Args:
            action: of the action space.

        Returns:
            Observation, reward, terminated, truncated, information.
        """
        total = 0.0
        for _ in range(self.times):
            observation, reward, terminated, truncated, info = self.env.step(action)
            total += float(reward)
            if terminated or truncated:
                break
        return observation, total, terminated, truncated, info


def wrappers_for(
    own: Sequence[str], frame_skip: int | None, frame_stack: int | None, time_limit: int | None
) -> list[Wrap]:
    """Return the wrappers for the options.

    Args:
        own: the user's, as module:function.
        frame_skip: action repeat; `None` for none.
        frame_stack: number of stacked frames; `None` for no stacking.
        time_limit: steps of the outermost wrapper after which an episode is truncated.

    Returns:
        Functions from an environment to a wrapped one, innermost first.

    Raises:
        EnvError: if one of the user's cannot be imported.
    """
    wrappers: list[Wrap] = []
    if frame_skip:
        wrappers.append(partial(RepeatedAction, times=frame_skip))
    wrappers += map(_imported, own)
    if frame_stack:
        wrappers.append(partial(FrameStackObservation, stack_size=frame_stack))
    if time_limit:
        wrappers.append(partial(TimeLimit, max_episode_steps=time_limit))
    return wrappers


def _imported(name: str) -> Wrap:
    """Return the function that `module:function` names."""
    module, _, function = name.partition(":")
    try:
        wrap: Wrap = getattr(importlib.import_module(module), function)
    except ModuleNotFoundError as error:
        raise EnvError(f"wrapper {name!r}: cannot import module {error.name!r}") from error
    except AttributeError as error:
        raise EnvError(f"wrapper {name!r}: module {module!r} has no {function!r}") from error
    except Exception as error:
        raise EnvError(f"wrapper {name!r}: importing it raised {one_line(error)}") from error
    return wrap
