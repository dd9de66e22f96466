"""Observations of any space: a tensor for each leaf, of its own shape, up to the network.

A leaf is a Box, Discrete, MultiDiscrete or MultiBinary space; Dict and Tuple spaces nest them. An
observation nests its tensors in the same way: a single leaf is a plain tensor.
"""

from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeAlias

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from trpo.validation import ConfigError

Observation: TypeAlias = "Tensor | dict[str, Observation] | tuple[Observation, ...]"
LEAVES = (
    gym.spaces.Box,
    gym.spaces.Discrete,
    gym.spaces.MultiDiscrete,
    gym.spaces.MultiBinary,
)


class HasObservations(Protocol):
    """What a network reads of a batch."""

    @property
    def observations(self) -> Observation:
        """Tensors (B, *shape), as the environment gave them."""


def map_leaves(function: Callable[..., Any], *trees: Any) -> Any:
    """Apply a function to the corresponding leaves of observations that are nested alike.

    Args:
        function: of as many leaves as there are trees.
        trees: tensors, arrays or spaces, or the same dicts and tuples of them.

    Returns:
        The results, nested as the trees are.
    """
    first = trees[0]
    if isinstance(first, dict | gym.spaces.Dict):
        return {key: map_leaves(function, *(tree[key] for tree in trees)) for key in first}
    if isinstance(first, tuple | gym.spaces.Tuple):
        return tuple(map_leaves(function, *parts) for parts in zip(*trees, strict=True))
    return function(*trees)


def leaves(tree: Any) -> list[Any]:
    """Return an observation's leaves, or a space's, in the order of its keys.

    Args:
        tree: a leaf, or dicts and tuples of leaves.

    Returns:
        A list of them.
    """
    found: list[Any] = []
    map_leaves(found.append, tree)
    return found


def nested_as(tree: Any, leaves: Iterable[Any]) -> Any:
    """Return leaves nested as a tree's are: the inverse of `leaves`.

    Args:
        tree: a leaf, or dicts and tuples of leaves.
        leaves: as many.

    Returns:
        The same nesting, of the leaves given.
    """
    following = iter(leaves)
    return map_leaves(lambda _: next(following), tree)


def check_observation_space(space: gym.Space) -> None:
    """Refuse a space that no network can read.

    Args:
        space: of one environment.

    Raises:
        ConfigError: if a leaf is none of the four kinds, or has no numbers in it.
    """
    for leaf in leaves(space):
        if not isinstance(leaf, LEAVES):
            expected = (
                "expected Box, Discrete, MultiDiscrete, MultiBinary, or Dict and Tuple of them"
            )
            raise ConfigError(f"observation space {leaf} is not supported: {expected}")
        if gym.spaces.flatdim(leaf) == 0:
            raise ConfigError(f"observation space {leaf} is empty: expected at least one number")


def allocate(space: gym.Space, *leading: int) -> Observation:
    """Return storage for observations, zeroed: numbers as the space has them, floats in float32.

    Args:
        space: of one observation.
        leading: dimensions before the observation's own, such as T and N.

    Returns:
        Tensors (*leading, *shape), nested as the space is.
    """

    def leaf(space: gym.Space) -> Tensor:
        dtype = np.dtype(space.dtype)  # networks compute in float32
        dtype = np.dtype(np.float32) if dtype.kind == "f" else dtype
        return torch.from_numpy(np.zeros((*leading, *(space.shape or ())), dtype))

    return map_leaves(leaf, space)


def select(observation: Observation, index: Any) -> Observation:
    """Index every leaf's leading dimensions.

    Args:
        observation: tensors that share their leading dimensions.
        index: a slice, mask or indices.

    Returns:
        Views for slices, copies for the rest.
    """
    return map_leaves(lambda leaf: leaf[index], observation)


def count(observation: Observation) -> int:
    """Return B, the number of observations in a batch.

    Args:
        observation: tensors (B, …).
    """
    return len(leaves(observation)[0])
