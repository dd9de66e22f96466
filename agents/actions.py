"""From a policy's actions to the environment's: scale, bounds, offsets and shape in one place."""

from typing import Any

import gymnasium as gym
import numpy as np

from trpo.agents.observations import leaves, map_leaves, named_leaves, nested_as

LARGEST_BOUND = 1e6  # wider bounds only state a data type's range, not sensible values


def odd_scale(space: gym.Space) -> str | None:
    """Explain why a policy's actions are not scaled to the space, if they are not.

    Args:
        space: of one environment's actions.

    Returns:
        One line for the user; `None` if all actions are scaled.
    """
    for name, leaf in named_leaves(space, "actions").items():
        if isinstance(leaf, gym.spaces.Box) and not LeafAdapter(leaf).scaled:
            low, high = leaf.low.min(), leaf.high.max()
            return (
                f"{name} in [{low:g}, {high:g}] have no scale to go by: the policy's are in the "
                "environment's own units, with a standard deviation of exp(initial_log_std) at "
                "first; set --initial-log-std to the logarithm of a sensible one"
            )
    return None


class ActionAdapter:
    """Turns a policy's flat actions (N, A) into an environment's, leaf by leaf.

    Args:
        space: of one environment's actions.
    """

    def __init__(self, space: gym.Space) -> None:
        self._nested = map_leaves(LeafAdapter, space)
        self._adapters: list[LeafAdapter] = leaves(self._nested)
        ends = np.cumsum([0, *(adapter.size for adapter in self._adapters)]).tolist()
        self._columns = list(map(slice, ends, ends[1:]))

    def __call__(self, actions: np.ndarray) -> Any:
        """Return actions as the environment takes them.

        Args:
            actions: (N, A), as the policy chose them, leaf after leaf.

        Returns:
            (N, *shape), in the action space and of its dtype; nested as the space is.
        """
        parts = zip(self._adapters, self._columns, strict=True)
        return nested_as(self._nested, [adapter(actions[:, columns]) for adapter, columns in parts])


class LeafAdapter:
    """Turns a policy's flat actions into an environment's, for one of the four kinds of space.

    A bounded Box is scaled: the policy's [-1, 1] is the Box's [low, high], so that a standard
    deviation means the same for torques and for steering angles. If either bound is infinite,
    actions are not scaled. Out-of-bounds actions are clipped only here; their log-probability
    remains that of the unclipped action. `start` is added to discrete actions.

    Args:
        space: Box, Discrete, MultiDiscrete or MultiBinary.
    """

    def __init__(self, space: gym.Space) -> None:
        self.shape = space.shape or ()
        self.size = int(np.prod(self.shape))
        self.dtype = np.dtype(space.dtype)
        self.scaled = False
        self.bounds: tuple[np.ndarray, np.ndarray] | None = None
        self.start: np.ndarray | int = 0
        match space:
            case gym.spaces.Box(low=low, high=high):
                self.bounds = low, high
                self.scaled = bool(max(np.abs(low).max(), np.abs(high).max()) <= LARGEST_BOUND)
                if self.scaled:
                    self.middle = (low / 2 + high / 2).astype(np.float32)
                    self.half = (high / 2 - low / 2).astype(np.float32)
            case gym.spaces.Discrete(start=start) | gym.spaces.MultiDiscrete(start=start):
                self.start = start

    def __call__(self, actions: np.ndarray) -> np.ndarray:
        """Return actions as the environment takes them.

        Args:
            actions: (N, A), as the policy chose them.

        Returns:
            (N, *shape), in the action space and of its dtype.
        """
        actions = actions.reshape(-1, *self.shape)
        if self.bounds is None:
            return (actions + self.start).astype(self.dtype, copy=False)
        if self.scaled:
            actions = actions * self.half + self.middle
        if self.dtype.kind in "biu":
            actions = actions.round()
        return actions.clip(*self.bounds).astype(self.dtype, copy=False)
