"""Gymnasium spaces as JSON, so that a saved agent needs no environment. No code runs."""

import math
from typing import TypeAlias

import gymnasium as gym
import msgspec
import numpy as np

# one number for all elements, or one for each; "inf", as JSON has no infinity
Bounds: TypeAlias = bool | int | float | str | list
Shape: TypeAlias = tuple[int, ...]

# limit for a space that is read, 4,096 × 4,096: each takes ten bytes to create
MOST_NUMBERS = 2**24


class _Box(msgspec.Struct, tag="Box", forbid_unknown_fields=True):
    low: Bounds
    high: Bounds
    shape: Shape
    dtype: str


class _Discrete(msgspec.Struct, tag="Discrete", forbid_unknown_fields=True):
    n: int
    start: int
    dtype: str


class _MultiDiscrete(msgspec.Struct, tag="MultiDiscrete", forbid_unknown_fields=True):
    nvec: list
    start: list
    dtype: str


class _MultiBinary(msgspec.Struct, tag="MultiBinary", forbid_unknown_fields=True):
    n: int | Shape


class _Dict(msgspec.Struct, tag="Dict", forbid_unknown_fields=True):
    spaces: dict[str, "_Space"]


class _Tuple(msgspec.Struct, tag="Tuple", forbid_unknown_fields=True):
    spaces: list["_Space"]


_Space: TypeAlias = _Box | _Discrete | _MultiDiscrete | _MultiBinary | _Dict | _Tuple


def space_to_json(space: object) -> dict[str, object]:
    """Return a space as JSON content.

    Args:
        space: Box, Discrete, MultiDiscrete, MultiBinary, or Dict and Tuple of them.

    Returns:
        Its kind as `type`, and the arguments of its constructor.

    Raises:
        ValueError: if the space is of another kind.
    """
    content: dict[str, object] = msgspec.to_builtins(_describe(space))
    return content


def space_from_json(content: object) -> gym.Space:
    """Create the space that `space_to_json` described.

    Args:
        content: what it returned.

    Returns:
        An equal space.

    Raises:
        ValueError: if the content does not describe a space.
    """
    description = msgspec.convert(content, _Space)
    if (numbers := _numbers(description)) > MOST_NUMBERS:
        raise ValueError(f"no space: {numbers:,} numbers are too many")
    try:
        return _make(description)
    except (AssertionError, TypeError, OverflowError, ValueError) as error:
        raise ValueError(f"no space: {error}") from error


def _describe(space: object) -> _Space:
    match space:
        case gym.spaces.Box():
            return _Box(_bounds(space.low), _bounds(space.high), space.shape, str(space.dtype))
        case gym.spaces.Discrete():
            return _Discrete(int(space.n), int(space.start), str(space.dtype))
        case gym.spaces.MultiDiscrete():
            return _MultiDiscrete(space.nvec.tolist(), space.start.tolist(), str(space.dtype))
        case gym.spaces.MultiBinary():
            return _MultiBinary(space.n)
        case gym.spaces.Dict():
            return _Dict({name: _describe(part) for name, part in space.spaces.items()})
        case gym.spaces.Tuple():
            return _Tuple([_describe(part) for part in space.spaces])
    raise ValueError(f"space {space} cannot be written as JSON")


def _make(content: _Space) -> gym.Space:
    match content:
        case _Box(low, high, shape, name):
            dtype = _number_type(name)
            return gym.spaces.Box(
                _array(low, shape, dtype), _array(high, shape, dtype), shape, dtype
            )
        case _Discrete(n, start, name):
            return gym.spaces.Discrete(n, start=start, dtype=_number_type(name))
        case _MultiDiscrete(nvec, start, name):
            return gym.spaces.MultiDiscrete(nvec, dtype=_number_type(name), start=start)
        case _MultiBinary(n):
            return gym.spaces.MultiBinary(n)
        case _Dict(spaces):
            return gym.spaces.Dict([(name, _make(part)) for name, part in spaces.items()])
        case _Tuple(spaces):
            return gym.spaces.Tuple([_make(part) for part in spaces])


def _numbers(content: _Space) -> int:
    match content:
        case _Dict(spaces):
            return sum(map(_numbers, spaces.values()))
        case _Tuple(spaces):
            return sum(map(_numbers, spaces))
        case _Box(shape=shape):
            return math.prod(map(abs, shape))
        case _MultiBinary(n):
            return math.prod(map(abs, n if isinstance(n, tuple) else (n,)))
    return 0  # of choices, which take no memory but a text's own


def _bounds(array: np.ndarray) -> Bounds:
    uniform = array.size > 0 and bool((array == array.flat[0]).all())
    return _finite_or_spelt((array.flat[0] if uniform else array).tolist())


def _finite_or_spelt(numbers: Bounds) -> Bounds:
    if isinstance(numbers, list):
        return [_finite_or_spelt(number) for number in numbers]
    return str(numbers) if numbers in {math.inf, -math.inf} else numbers


def _array(bounds: Bounds, shape: Shape, dtype: np.dtype) -> np.ndarray:
    return np.broadcast_to(np.asarray(bounds).astype(dtype), shape)


def _number_type(name: str) -> np.dtype:
    dtype = np.dtype(name)
    if dtype.kind not in "biuf":
        raise ValueError(f"{name!r} is no type of numbers")
    return dtype
