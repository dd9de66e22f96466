"""From an observation to the features that a multilayer perceptron takes.

`Features` = a `Preprocessor`, which turns every leaf of the observation into floats of an even
scale, then an `Encoder`, which makes one vector of them. The preprocessor has statistics, and no
parameters; the encoder may have parameters. To read images, or anything else, write an `Encoder`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeAlias

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

from trpo.agents.normalization import NormalizationConfig, ObservationNormalizer
from trpo.agents.observations import (
    Observation,
    check_observation_space,
    leaves,
    map_leaves,
)
from trpo.reducer import SERIAL, Reducer
from trpo.validation import ConfigError

IMAGE_RANK = 3  # height, width and channels; a Box of fewer dimensions is read as a vector


def is_image(leaf: gym.Space) -> bool:
    """Return whether a leaf is an image: its shape means something.

    Args:
        leaf: of an observation space.
    """
    return isinstance(leaf, gym.spaces.Box) and len(leaf.shape) >= IMAGE_RANK


class LeafPreprocessor(nn.Module):
    """One leaf as floats: vectors flat and normalised, choices one-hot, images in [0, 1].

    Args:
        leaf: its space.
        config: whether to normalise, and how far normalised numbers may go.
    """

    start: Tensor

    def __init__(self, leaf: gym.Space, config: NormalizationConfig) -> None:
        super().__init__()
        self.choices: tuple[int, ...] = ()
        first = torch.zeros(())
        match leaf:
            case gym.spaces.Discrete(n=n, start=start):
                self.choices, first = (int(n),), torch.as_tensor(start).flatten()
            case gym.spaces.MultiDiscrete(nvec=nvec, start=start):
                self.choices = tuple(map(int, nvec.flatten()))
                first = torch.as_tensor(start).flatten()
        self.rank = len(leaf.shape or ())
        self.register_buffer("start", first, persistent=False)
        self.image = is_image(leaf)
        self.largest = 255.0 if self.image and leaf.dtype == "uint8" else 1.0
        size = gym.spaces.flatdim(leaf)
        self.normalizer = (
            ObservationNormalizer(size, config.observation_clip)
            if config.observations and not self.image
            else None
        )

    def flat(self, observation: Tensor) -> Tensor:
        """Return one vector an observation, or the image as it is; not yet normalised.

        Args:
            observation: (…, *shape), as the environment gave it.

        Returns:
            (…, K) float, or (…, *shape) float for an image.
        """
        if self.image:
            return observation.float() / self.largest
        if self.rank != 1:
            observation = observation.reshape(
                *observation.shape[: observation.ndim - self.rank], -1
            )
        if self.choices:
            parts = (observation - self.start).long().unbind(-1)
            hot = [nn.functional.one_hot(p, n) for p, n in zip(parts, self.choices, strict=True)]
            observation = torch.cat(hot, dim=-1)
        return observation if observation.is_floating_point() else observation.float()

    def forward(self, observation: Tensor) -> Tensor:
        """Return the leaf as a network takes it.

        Args:
            observation: (…, *shape), as the environment gave it.

        Returns:
            (…, K) float, normalised, or (…, *shape) float for an image.
        """
        flat = self.flat(observation)
        return flat if self.normalizer is None else self.normalizer.forward(flat)

    def update(self, observation: Tensor, reducer: Reducer = SERIAL) -> None:
        """Merge a batch into the running statistics.

        Args:
            observation: (B, *shape), as the environment gave it.
            reducer: brings every process's samples together.
        """
        if self.normalizer is not None:
            self.normalizer.update(self.flat(observation), reducer)


class Preprocessor(nn.Module):
    """Every leaf of an observation as floats of an even scale; frozen but for `update`.

    Args:
        space: of one observation.
        config: whether to normalise, and how far normalised numbers may go.

    Raises:
        ConfigError: if the space cannot be read.
    """

    def __init__(self, space: gym.Space, config: NormalizationConfig) -> None:
        super().__init__()
        check_observation_space(space)
        self._nested = map_leaves(lambda leaf: LeafPreprocessor(leaf, config), space)
        self._in_a_row: list[LeafPreprocessor] = leaves(self._nested)
        self.leaves = nn.ModuleList(self._in_a_row)

    def forward(self, observation: Observation) -> Observation:
        """Return the observation as an encoder takes it.

        Args:
            observation: tensors (…, *shape), as the environment gave them.

        Returns:
            Tensors (…, K), normalised, or (…, *shape) for images, nested alike.
        """
        if isinstance(observation, Tensor):  # the common case, in the fewest calls
            return self._in_a_row[0].forward(observation)
        return map_leaves(
            lambda preprocessor, leaf: preprocessor.forward(leaf), self._nested, observation
        )

    def update(self, observation: Observation, reducer: Reducer = SERIAL) -> None:
        """Merge a batch into the running statistics, which hold from then on.

        Args:
            observation: tensors (B, *shape), as the environment gave them.
            reducer: brings every process's samples together.
        """
        for preprocessor, leaf in zip(self._in_a_row, leaves(observation), strict=True):
            preprocessor.update(leaf, reducer)


class Encoder(nn.Module, ABC):
    """A preprocessed observation to one vector of features.

    Args:
        size: F, the number of features.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    @abstractmethod
    def forward(self, observation: Observation) -> Tensor:
        """Return features.

        Args:
            observation: what `Preprocessor` returns; B observations.

        Returns:
            (B, F) float.
        """


MakeEncoder: TypeAlias = Callable[[gym.Space, torch.Generator], Encoder]
"""From the observation space and a source of initial weights to an encoder."""


class FlatEncoder(Encoder):
    """All leaves in a row, as gymnasium.spaces.flatten puts them; nothing is learned.

    Args:
        space: of one observation.
        generator: not drawn from.

    Raises:
        ConfigError: if a leaf is an image.
    """

    def __init__(self, space: gym.Space, generator: torch.Generator) -> None:  # noqa: ARG002
        super().__init__(gym.spaces.flatdim(space))
        for leaf in leaves(space):
            if is_image(leaf):
                expected = "expected vectors, or Dict and Tuple of them; or an encoder of your own"
                raise ConfigError(f"observation space {leaf} is an image: {expected}")

    def forward(self, observation: Observation) -> Tensor:  # noqa: D102
        if isinstance(observation, Tensor):
            return observation
        return torch.cat(leaves(observation), dim=-1)


class Features(nn.Module):
    """An observation, as the environment gave it, to features.

    Args:
        preprocessor: may be shared with other networks of the agent.
        encoder: this network's own.
    """

    def __init__(self, preprocessor: Preprocessor, encoder: Encoder) -> None:
        super().__init__()
        self.preprocessor = preprocessor
        self.encoder = encoder
        self.size = encoder.size

    def forward(self, observation: Observation) -> Tensor:
        """Return features.

        Args:
            observation: tensors (B, *shape).

        Returns:
            (B, F) float.
        """
        return self.encoder.forward(self.preprocessor.forward(observation))

    @property
    def is_fixed(self) -> bool:
        """Whether nothing in it is learned."""
        return next(self.parameters(), None) is None


def flat_features(size: int) -> Features:
    """Return features that are the observation: a vector of numbers, as it comes.

    Args:
        size: F.

    Returns:
        For observations (B, F).
    """
    space = gym.spaces.Box(-np.inf, np.inf, (size,))
    preprocessor = Preprocessor(space, NormalizationConfig(observations=False))
    return Features(preprocessor, FlatEncoder(space, torch.Generator()))
