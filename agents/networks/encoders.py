"""From an observation to the features that a multilayer perceptron takes.

`Features` = a `Preprocessor`, which turns every leaf of the observation into floats of similar
scale, then an `Encoder`, which combines them into one vector. The preprocessor has statistics, but
no parameters; the encoder may have parameters. Images are read by convolutions, one network per
image; to read observations differently, write an `Encoder`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

from trpo.agents.networks.convolutions import ImageEncoder
from trpo.agents.networks.images import AUTO, Image, ImageConfig, bounds_of, image_in
from trpo.agents.normalization import NormalizationConfig, ObservationNormalizer
from trpo.agents.observations import (
    Observation,
    check_space,
    leaves,
    nested_as,
)
from trpo.reducer import SERIAL, Reducer
from trpo.validation import ConfigError

PIECES = 16  # of a batch of large images: statistics convert one piece at a time to floats


class VectorPreprocessor(nn.Module):
    """Converts a leaf that is not an image to floats: flat, choices one-hot, normalised.

    Args:
        leaf: its space.
        config: whether to normalise, and the clipping range.
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
        size = gym.spaces.flatdim(leaf)
        self.normalizer = (
            ObservationNormalizer(size, config.observation_clip) if config.observations else None
        )

    def flat(self, observation: Tensor) -> Tensor:
        """Return one vector per observation, not yet normalised.

        Args:
            observation: (…, *shape), as the environment gave it.

        Returns:
            (…, K) float.
        """
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
            (…, K) float, normalised.
        """
        flat = self.flat(observation)
        return flat if self.normalizer is None else self.normalizer.forward(flat)

    def update(self, observation: Tensor, reducer: Reducer = SERIAL) -> None:
        """Merge a batch into the running statistics.

        Args:
            observation: (B, *shape), as the environment gave it.
            reducer: pools the samples of all processes.
        """
        if self.normalizer is not None:
            self.normalizer.update(self.flat(observation), reducer)


class ImagePreprocessor(nn.Module):
    """Converts an image to floats: in [0, 1] by its bounds, then normalised per channel.

    Bytes are stored as bytes up to here. Categories such as MiniGrid's get one channel each: a key
    is no closer to a ball than to a wall, and rare categories should weigh as much as common ones.
    Without normalisation, a game's background, which fills most of an image, would dominate what
    moves.

    Args:
        leaf: its space.
        image: how it is read.
        config: whether to normalise, and the clipping range.
    """

    codes: Tensor
    least: Tensor

    def __init__(self, leaf: gym.Space, image: Image, config: NormalizationConfig) -> None:
        super().__init__()
        low, high = bounds_of(leaf) or (0.0, 1.0)
        self.low, self.range = low, high - low
        self.image = image
        if image.codes:
            assert isinstance(leaf, gym.spaces.Box)
            least = torch.from_numpy(leaf.low.astype(np.int64))  # of each cell's channel
            self.register_buffer("least", least, persistent=False)
            self.register_buffer("codes", torch.arange(image.codes), persistent=False)
        self.normalizer = (
            ObservationNormalizer(image.channels, config.observation_clip)
            if config.observations and (config.images or image.is_grid)
            else None
        )

    def cells(self, observation: Tensor) -> Tensor:
        """Return images in [0, 1], one vector per cell; not normalised.

        Args:
            observation: (…, *shape), as the environment gave it.

        Returns:
            (…, H, W, C) float, C `image.channels`.
        """
        dtype = observation.dtype if observation.is_floating_point() else torch.float32
        numbers = observation.long() - self.least if self.image.codes else observation.to(dtype)
        if len(self.image.shape) == 2:
            by_cell = numbers.unsqueeze(-1)
        else:
            by_cell = numbers.movedim(self.image.channel_axis, -1)
        if self.image.codes:
            return by_cell.unsqueeze(-1).eq(self.codes).flatten(-2).to(dtype)
        return (by_cell - self.low if self.low else by_cell) / self.range

    def forward(self, observation: Tensor) -> Tensor:
        """Return the image as a network takes it.

        Args:
            observation: (…, *shape), as the environment gave it.

        Returns:
            (…, *shape) float; for categories (…, C, H, W) or (…, H, W, C), channels where they
            were.
        """
        cells = self.cells(observation)
        normalized = cells if self.normalizer is None else self.normalizer.forward(cells)
        image = normalized.movedim(-1, self.image.channel_axis)
        return image if self.image.codes else image.reshape(observation.shape)

    def update(self, observation: Tensor, reducer: Reducer = SERIAL) -> None:
        """Merge a batch into the running statistics, if there are any.

        Args:
            observation: (B, *shape), as the environment gave it.
            reducer: pools the samples of all processes.
        """
        if self.normalizer is None:
            return
        # the same number of pieces in every process; grids without categories are small
        few = self.image.is_grid and not self.image.codes
        for some in observation.tensor_split(1 if few else PIECES):
            self.normalizer.update(self.cells(some).reshape(-1, self.image.channels), reducer)


class Preprocessor(nn.Module):
    """Converts every leaf of an observation to floats of similar scale; only `update` changes it.

    Args:
        space: of one observation.
        config: whether to normalise, and the clipping range.
        images: how images are read.

    Raises:
        ConfigError: if the space cannot be read.
    """

    def __init__(
        self,
        space: gym.Space,
        config: NormalizationConfig,
        images: ImageConfig = AUTO,
    ) -> None:
        super().__init__()
        check_space("observation", space)

        def make(leaf: gym.Space) -> VectorPreprocessor | ImagePreprocessor:
            image = image_in(leaf, images)
            if image is None:
                return VectorPreprocessor(leaf, config)
            return ImagePreprocessor(leaf, image, config)

        self._typed = [make(leaf) for leaf in leaves(space)]
        self.leaves = nn.ModuleList(self._typed)  # registers them, but forgets their types

    @property
    def has_statistics(self) -> bool:
        """Whether `update` changes anything."""
        return any(leaf.normalizer is not None for leaf in self._typed)

    def forward(self, observation: Observation) -> Observation:
        """Return the observation as an encoder takes it.

        Args:
            observation: tensors (…, *shape), as the environment gave them.

        Returns:
            Tensors (…, K), normalised, or (…, *shape) for images, nested alike.
        """
        if isinstance(observation, Tensor):  # the common case, in the fewest calls
            return self._typed[0].forward(observation)
        parts = zip(self._typed, leaves(observation), strict=True)
        return nested_as(observation, [part.forward(leaf) for part, leaf in parts])

    def update(self, observation: Observation, reducer: Reducer = SERIAL) -> None:
        """Merge a batch into the running statistics, which take effect at once.

        Args:
            observation: tensors (B, *shape), as the environment gave them.
            reducer: pools the samples of all processes.
        """
        for preprocessor, leaf in zip(self._typed, leaves(observation), strict=True):
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
    """Concatenates the leaves, like gymnasium.spaces.flatten; no parameters.

    Args:
        space: of one observation, without images.
        generator: not drawn from.
    """

    def __init__(self, space: gym.Space, generator: torch.Generator) -> None:  # noqa: ARG002
        super().__init__(gym.spaces.flatdim(space))

    def forward(self, observation: Observation) -> Tensor:  # noqa: D102
        if isinstance(observation, Tensor):
            return observation
        return torch.cat(leaves(observation), dim=-1)


class LeafEncoder(Encoder):
    """Concatenates the output of one network per image and the unchanged vectors.

    Args:
        space: of one observation.
        generator: source of the initial weights.
        config: how images are read.

    Raises:
        ConfigError: if an image is too small for its network.
    """

    def __init__(self, space: gym.Space, generator: torch.Generator, config: ImageConfig) -> None:
        def make(leaf: gym.Space) -> tuple[int, nn.Module]:
            image = image_in(leaf, config)
            if image is None:
                return gym.spaces.flatdim(leaf), nn.Identity()
            encoder = ImageEncoder(image, generator)
            return encoder.size, encoder

        sizes, parts = zip(*map(make, leaves(space)), strict=True)
        super().__init__(sum(sizes))
        self.parts = nn.ModuleList(parts)

    def forward(self, observation: Observation) -> Tensor:  # noqa: D102
        features = [part(leaf) for part, leaf in zip(self.parts, leaves(observation), strict=True)]
        return torch.cat(features, dim=-1)


def encoder_for(space: gym.Space, config: ImageConfig) -> MakeEncoder:
    """Return a factory of the encoder that fits a space.

    Args:
        space: of one observation.
        config: how images are read.

    Returns:
        Of convolutions if there are images, else of an encoder without parameters.

    Raises:
        ConfigError: if an encoder or categories were requested, but there is no image for them.
    """
    images = [image for leaf in leaves(space) if (image := image_in(leaf, config))]
    if config.grid_codes and not any(image.codes for image in images):
        expected = "expected None or 0, as nothing in the observation is a grid of integers"
        raise ConfigError(f"grid_codes = {config.grid_codes}: {expected} ({space})")
    if images:
        return partial(LeafEncoder, config=config)
    if config.encoder not in {"auto", "flat"}:
        expected = "expected auto or flat, as nothing in the observation is an image"
        raise ConfigError(f"encoder = {config.encoder!r}: {expected} ({space})")
    return FlatEncoder


class Features(nn.Module):
    """From an observation, as the environment gave it, to features.

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
        """Whether it has no parameters to learn."""
        return next(self.parameters(), None) is None

    @property
    def suits_dual_numbers(self) -> bool:
        """Whether J v is faster with dual numbers: if nature or impala reads images."""
        parts = self.encoder.modules()
        return any(isinstance(p, ImageEncoder) and p.image.has_deep_encoder for p in parts)


def flat_features(size: int) -> Features:
    """Return features that are the observation itself, a vector.

    Args:
        size: F.

    Returns:
        For observations (B, F).
    """
    space = gym.spaces.Box(-np.inf, np.inf, (size,))
    preprocessor = Preprocessor(space, NormalizationConfig(observations=False))
    return Features(preprocessor, FlatEncoder(space, torch.Generator()))
