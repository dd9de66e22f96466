"""Images among the observations: which leaves are images, and where their channels are."""

from dataclasses import dataclass
from typing import Literal

import gymnasium as gym
import numpy as np
from torch import Tensor

from trpo.validation import ConfigError, require, require_numbers

EncoderName = Literal["auto", "nature", "impala", "grid", "flat"]

SMALLEST_GREY = 16  # minimum side of a matrix of bytes read as an image without a channel axis
LARGEST_RANGE = 1e6  # wider bounds only state a data type's range, not one of pixel intensities
SMALLEST = {"nature": 36, "impala": 5, "grid": 5}
"""Minimum side length, in pixels, for each encoder."""
CODES = 11  # object types in MiniGrid, whose bounds are those of a byte
MOST_CODES = 32  # if bounds allow more, they are taken for a data type's range
LARGEST_CODED = 15  # longest side of a grid whose integers are read as categories


@dataclass(frozen=True)
class ImageConfig:
    """How image observations are read."""

    encoder: EncoderName = "auto"
    """Encoder of image observations: the Nature CNN (Mnih et al. 2015), IMPALA's residual network
    (Espeholt et al. 2018), a small CNN for grids (after Young & Tian 2019), or flat: no
    convolutions, the observation is flattened. auto: nature for sides ≥ 36 pixels, else grid."""
    channels: Literal["auto", "first", "last"] = "auto"
    """Position of the channel axis. auto: the axis next to two equal sides; if that does not
    decide, the smaller of the first and last axis."""
    grid_codes: int | None = None
    """Number of categories of the integers in a small grid observation: each is one-hot encoded as
    a channel, counted from the space's lower bound; larger values are all zeros. 0: use the
    integers as numbers. None: categories for grids up to 15×15, as many as the bounds allow (11, as
    in MiniGrid, if they allow more than 32), else numbers."""

    def __post_init__(self) -> None:
        require_numbers(self)
        codes = self.grid_codes or 0
        known = codes == 0 or 2 <= codes <= 256
        require(self, "grid_codes", known, "None, 0, or an integer from 2 to 256")


AUTO = ImageConfig()


@dataclass(frozen=True)
class Image:
    """A leaf that is read as an image.

    Args:
        shape: as the environment gives it: (H, W), (C, H, W) or (H, W, C), or frames of those.
        first: whether channels come before height and width.
        encoder: which network reads it.
        codes: number of categories of a cell's integer; 0 where it is used as a number.
    """

    shape: tuple[int, ...]
    first: bool
    encoder: Literal["nature", "impala", "grid"]
    codes: int = 0

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width."""
        return _sides(self.shape, self.first)

    @property
    def planes(self) -> int:
        """Channels of all frames, as a network takes them."""
        height, width = self.sides
        return int(np.prod(self.shape)) // (height * width) * max(self.codes, 1)

    @property
    def is_grid(self) -> bool:
        """Whether its elements are cells rather than pixels, judged by its size."""
        return min(self.sides) < SMALLEST["nature"]

    @property
    def has_deep_encoder(self) -> bool:
        """Whether it is read by nature or impala, which end in a hidden layer."""
        return self.encoder != "grid"

    @property
    def channel_axis(self) -> int:
        """The channel axis, counted from the end."""
        return -3 if self.first else -1

    @property
    def channels(self) -> int:
        """Channels of a frame, as a network takes them."""
        given = 1 if len(self.shape) == 2 else self.shape[self.channel_axis]
        return given * max(self.codes, 1)

    def channels_first(self, observation: Tensor) -> Tensor:
        """Return images as convolutions take them.

        Args:
            observation: (B, …, C, H, W) or (B, …, H, W, C), as preprocessed.

        Returns:
            (B, planes, H, W), a view where that is possible.
        """
        if not self.first:
            observation = observation.movedim(-1, -3)
        return observation.reshape(observation.shape[0], self.planes, *self.sides)

    def __str__(self) -> str:
        """Return a description of how it is read."""
        sizes = "×".join(map(str, self.shape))
        place = "first" if self.first else "last"
        channels = "without channels" if len(self.shape) == 2 else f"channels {place}"
        codes = f", {self.codes} codes" if self.codes else ""
        return f"{sizes}, {channels}{codes}, read by {self.encoder}"


def image_in(leaf: gym.Space, config: ImageConfig) -> Image | None:
    """Return how a leaf is read as an image; `None` where it is read as a vector.

    Bounded leaves of three or four dimensions are images, and so are matrices of bytes; unbounded
    ones of three or four dimensions only if an encoder is named.

    Args:
        leaf: of an observation space.
        config: the options.

    Raises:
        ConfigError: if the image is too small for the named encoder.
    """
    if config.encoder == "flat" or not isinstance(leaf, gym.spaces.Box | gym.spaces.MultiBinary):
        return None
    shape = leaf.shape
    named = config.encoder != "auto"
    if len(shape) == 2:
        is_image = leaf.dtype == np.uint8 and min(shape) >= SMALLEST_GREY
        first = True
    else:
        is_image = len(shape) in {3, 4} and (named or bounds_of(leaf) is not None)
        first = is_image and _channels_first(shape[-3:], config.channels)
    if not is_image:
        return None
    sides = _sides(shape, first)
    if config.encoder != "auto":
        encoder = config.encoder
        if min(sides) < SMALLEST[encoder]:
            expected = f"expected {SMALLEST[encoder]} pixels per side or more, or --encoder auto"
            raise ConfigError(f"encoder = {encoder!r} cannot read images {shape}: {expected}")
    elif min(sides) < SMALLEST["grid"]:
        return None
    else:
        encoder = "nature" if min(sides) >= SMALLEST["nature"] else "grid"
    return Image(shape, first, encoder, _codes(leaf, sides, config) if encoder == "grid" else 0)


def _codes(leaf: gym.Space, sides: tuple[int, int], config: ImageConfig) -> int:
    """Return the number of categories of a grid's integers; 0 where they are used as numbers."""
    if not isinstance(leaf, gym.spaces.Box) or not np.issubdtype(leaf.dtype, np.integer):
        return 0
    if bounds_of(leaf) is None:
        return 0
    allowed = int((leaf.high.astype(np.int64) - leaf.low.astype(np.int64)).max()) + 1
    if config.grid_codes is not None:
        return config.grid_codes
    if allowed == 2 or max(sides) > LARGEST_CODED:
        return 0
    return allowed if allowed <= MOST_CODES else CODES


def bounds_of(leaf: gym.Space) -> tuple[float, float] | None:
    """Return the smallest and the largest number that a leaf can hold, if it is bounded.

    Args:
        leaf: a Box, or bits.

    Returns:
        Both, or `None`.
    """
    if isinstance(leaf, gym.spaces.MultiBinary):
        return 0.0, 1.0
    assert isinstance(leaf, gym.spaces.Box)
    low, high = float(leaf.low.min()), float(leaf.high.max())
    return (low, high) if 0 < high - low <= LARGEST_RANGE else None


def _channels_first(shape: tuple[int, ...], channels: str) -> bool:
    """Return whether the channel axis of a three-dimensional shape is the first."""
    one, two, three = shape
    if channels != "auto":
        return channels == "first"
    if (one == two) != (two == three):
        return two == three
    return one < three


def _sides(shape: tuple[int, ...], first: bool) -> tuple[int, int]:
    """Return height and width."""
    height, width = shape[-2:] if first else shape[-3:-1]
    return height, width
