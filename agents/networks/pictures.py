"""Pictures among the observations: which leaves are some, and how they lie in their shape."""

from dataclasses import dataclass
from typing import Literal

import gymnasium as gym
import numpy as np
from torch import Tensor

from trpo.validation import ConfigError, require

EncoderName = Literal["auto", "nature", "impala", "grid", "flat"]

SMALLEST_GREY = 16  # pixels a side from which a matrix of bytes is a picture without channels
LARGEST_RANGE = 1e6  # a Box that reaches farther says what a number can be, and holds no brightness
SMALLEST = {"nature": 36, "impala": 5, "grid": 5}
"""Pixels a side that each encoder needs."""
CODES = 11  # kinds of object in MiniGrid, whose bounds are a byte's
MOST_CODES = 32  # that bounds are believed
LARGEST_CODED = 15  # cells a side up to which whole numbers are taken for codes


@dataclass(frozen=True)
class PictureConfig:
    """How pictures among the observations are read."""

    encoder: EncoderName = "auto"
    """Network that reads pictures: Nature's convolutions (Mnih et al. 2015), IMPALA's residual ones
    (Espeholt et al. 2018), a small one for grids (after Young & Tian 2019), or flat: all numbers in
    a row; auto: nature from 36 pixels a side on, else grid."""
    channels: Literal["auto", "first", "last"] = "auto"
    """Where a picture's channels stand in its shape; auto: where the other two sides are equal,
    beside them, else at the smaller end."""
    grid_codes: int | None = None
    """Whole numbers that a grid reads are this many codes, from the least on, each a plane of its
    own, as a choice is one-hot; the rest are on none. 0: they are numbers. None: codes in grids of
    up to 15 cells a side, as many as bounds allow, or 11 where those are more than 32 (MiniGrid has
    11 kinds of object), else numbers."""

    def __post_init__(self) -> None:
        codes = self.grid_codes or 0
        known = codes == 0 or 2 <= codes <= 256
        require(self, "grid_codes", known, "None, 0, or an integer from 2 to 256")


AUTO = PictureConfig()


@dataclass(frozen=True)
class Picture:
    """A leaf that is read as a picture.

    Args:
        shape: as the environment gives it: (H, W), (C, H, W) or (H, W, C), or frames of those.
        first: whether channels come before height and width.
        encoder: which network reads it.
        codes: how many codes a cell's number is one of; 0 where it is a number.
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
        """Whether it has cells rather than pixels: it is too small to show anything."""
        return min(self.sides) < SMALLEST["nature"]

    @property
    def has_deep_encoder(self) -> bool:
        """Whether nature or impala reads it, whose last layer is a hidden layer already."""
        return self.encoder != "grid"

    @property
    def channel_axis(self) -> int:
        """Where the channels stand, counted from the end."""
        return -3 if self.first else -1

    @property
    def channels(self) -> int:
        """Channels of a frame, as a network takes them."""
        given = 1 if len(self.shape) == 2 else self.shape[self.channel_axis]
        return given * max(self.codes, 1)

    def channels_first(self, observation: Tensor) -> Tensor:
        """Return pictures as convolutions take them.

        Args:
            observation: (B, …, C, H, W) or (B, …, H, W, C), as preprocessed.

        Returns:
            (B, planes, H, W), a view where that is possible.
        """
        if not self.first:
            observation = observation.movedim(-1, -3)
        return observation.reshape(observation.shape[0], self.planes, *self.sides)

    def __str__(self) -> str:
        """Return what was found out, in words."""
        sizes = "×".join(map(str, self.shape))
        place = "first" if self.first else "last"
        channels = "without channels" if len(self.shape) == 2 else f"channels {place}"
        codes = f", {self.codes} codes" if self.codes else ""
        return f"{sizes}, {channels}{codes}, read by {self.encoder}"


def picture_of(leaf: gym.Space, config: PictureConfig) -> Picture | None:
    """Return how a leaf is read as a picture; `None` where it is read as a vector.

    By itself, what has three or four dimensions and bounds is a picture, and a matrix of bytes; of
    those without bounds, what an encoder is named for.

    Args:
        leaf: of an observation space.
        config: what was asked for.

    Raises:
        ConfigError: if the picture is too small for the encoder that was named.
    """
    if config.encoder == "flat" or not isinstance(leaf, gym.spaces.Box | gym.spaces.MultiBinary):
        return None
    shape = leaf.shape
    named = config.encoder != "auto"
    if len(shape) == 2:
        is_picture = leaf.dtype == np.uint8 and min(shape) >= SMALLEST_GREY
        first = True
    else:
        is_picture = len(shape) in {3, 4} and (named or bounds_of(leaf) is not None)
        first = is_picture and _channels_first(shape[-3:], config.channels)
    if not is_picture:
        return None
    sides = _sides(shape, first)
    if config.encoder != "auto":
        encoder = config.encoder
        if min(sides) < SMALLEST[encoder]:
            expected = f"expected {SMALLEST[encoder]} pixels a side or more, or --encoder auto"
            raise ConfigError(f"encoder = {encoder!r} cannot read pictures {shape}: {expected}")
    elif min(sides) < SMALLEST["grid"]:
        return None
    else:
        encoder = "nature" if min(sides) >= SMALLEST["nature"] else "grid"
    return Picture(shape, first, encoder, _codes(leaf, sides, config) if encoder == "grid" else 0)


def _codes(leaf: gym.Space, sides: tuple[int, int], config: PictureConfig) -> int:
    """Return how many codes a grid's numbers are; 0 where they are numbers."""
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
    """Return the least and the greatest number that a leaf can hold, if it says so.

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
    """Return where the channels of a shape of three dimensions are."""
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
