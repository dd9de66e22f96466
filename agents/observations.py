"""Observations of any space: one tensor per leaf, of the leaf's shape, up to the network.

A leaf is a Box, Discrete, MultiDiscrete or MultiBinary space; Dict and Tuple spaces nest them. An
observation nests its tensors in the same way: a single leaf is a plain tensor.
"""

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any, Protocol, TypeAlias

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from trpo.validation import ConfigError

Observation: TypeAlias = "Tensor | dict[str, Observation] | tuple[Observation, ...]"
BEGINS, OBSERVATION = "begins a sequence", "observation"  # parts of concatenated sequences
LARGEST_SPACE = 10_000_000  # elements; a first layer of 64 units then has 2.5 GB of weights
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


def named_leaves(space: gym.Space, name: str = "observation") -> dict[str, gym.Space]:
    """Return a space's leaves by their place in it, in the order of `leaves`.

    Args:
        space: of one observation.
        name: of the whole.

    Returns:
        Names such as observation.image, or observation[0].
    """
    parts: dict[str, gym.Space] = {}
    if isinstance(space, gym.spaces.Dict):
        parts = {f"{name}.{key}": part for key, part in space.spaces.items()}
    elif isinstance(space, gym.spaces.Tuple):
        parts = {f"{name}[{number}]": part for number, part in enumerate(space.spaces)}
    else:
        return {name: space}
    return {k: leaf for key, part in parts.items() for k, leaf in named_leaves(part, key).items()}


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


def check_space(kind: str, space: gym.Space) -> None:
    """Reject a space that is not supported.

    Args:
        kind: observation or action.
        space: of one environment.

    Raises:
        ConfigError: if there are no leaves, a leaf is none of the four kinds or empty, or the space
            is too large for memory.
    """
    for leaf in leaves(space):
        if not isinstance(leaf, LEAVES):
            expected = (
                "expected Box, Discrete, MultiDiscrete, MultiBinary, or Dict and Tuple of them"
            )
            raise ConfigError(f"{kind} space {leaf} is not supported: {expected}")
    sizes = [gym.spaces.flatdim(leaf) for leaf in leaves(space)]
    if min(sizes, default=0) == 0:
        expected = "expected at least one number in each of its parts"
        raise ConfigError(f"{kind} space {space} is empty: {expected}")
    if sum(sizes) > LARGEST_SPACE:
        expected = f"expected at most {LARGEST_SPACE:,} numbers, one per choice"
        raise ConfigError(f"{kind} space {space} is too large: {expected}")


def allocate(space: gym.Space, *leading: int) -> Observation:
    """Return zeroed storage for observations: of the space's dtypes, but floats in float32.

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


def to_device(observation: Observation, device: torch.device) -> Observation:
    """Move every leaf.

    Args:
        observation: tensors.
        device: the target; tensors already there are not copied.

    Returns:
        The same, on the device.
    """
    return map_leaves(lambda leaf: leaf.to(device), observation)


def count(observation: Observation) -> int:
    """Return B, the number of observations in a batch.

    Args:
        observation: tensors (B, …).
    """
    return len(leaves(observation)[0])


def is_in_sequences(observation: Observation) -> bool:
    """Return whether observations are concatenated sequences (`recurrence.py`).

    Args:
        observation: tensors.
    """
    return isinstance(observation, dict) and BEGINS in observation


def plain(observation: Observation) -> Observation:
    """Return observations as the environment gave them, sequences or not.

    Args:
        observation: tensors (B, *shape), or concatenated sequences of them.
    """
    if not is_in_sequences(observation):
        return observation
    assert isinstance(observation, dict)
    return observation[OBSERVATION]


def whole_sequences(observation: Observation, starts: Iterable[int]) -> list[int]:
    """Move cuts to where sequences begin, if observations are sequences.

    Args:
        observation: tensors (B, …).
        starts: rows where pieces begin, ascending, the first 0.

    Returns:
        The starts, each moved to the next row at which a sequence begins.
    """
    if not is_in_sequences(observation):
        return list(starts)
    assert isinstance(observation, dict)
    begins = observation[BEGINS]
    assert isinstance(begins, Tensor)
    first = begins.nonzero().flatten()
    following = torch.searchsorted(first, first.new_tensor(list(starts)))
    found: list[int] = first[following.clamp(max=len(first) - 1)].unique().tolist()
    return found


def map_pieces(
    function: Callable[[Observation], Tensor], observation: Observation, size: int
) -> Tensor:
    """Apply a function to a batch piece by piece, to limit memory.

    Args:
        function: from b observations to a tensor (b, …).
        observation: tensors (B, *shape).
        size: maximum observations per piece, except that sequences stay whole.

    Returns:
        (B, …).
    """
    rows = count(observation)
    starts = whole_sequences(observation, range(0, rows, size))
    pieces = (select(observation, slice(*ends)) for ends in pairwise([*starts, rows]))
    return torch.cat([function(piece) for piece in pieces])
