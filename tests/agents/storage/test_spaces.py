"""Spaces come back from JSON as they went; what is no space is refused, and runs no code."""

import json

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, Graph, MultiBinary, MultiDiscrete, Text, Tuple

from trpo.agents.storage.spaces import space_from_json, space_to_json

SPACES = {
    "box": Box(-1.0, 1.0, (3,)),
    "endless box": Box(-np.inf, np.inf, (2, 2), np.float64),
    "box of several bounds": Box(np.float32([-0.1, -np.inf]), np.float32([1, 2])),
    "image": Box(0, 255, (4, 4, 3), np.uint8),
    "bits": Box(0.0, 1.0, (2,), np.bool_),
    "one number": Box(0.0, 1.0, ()),
    "no number": Box(0.0, 1.0, (0,)),
    "discrete": Discrete(5, start=-2),
    "small discrete": Discrete(3, dtype=np.int32),
    "multidiscrete": MultiDiscrete([2, 3], start=[1, -1], dtype=np.int32),
    "multidiscrete matrix": MultiDiscrete([[2, 3], [4, 5]]),
    "multibinary": MultiBinary(4),
    "multibinary matrix": MultiBinary((2, 3)),
    "nested": Dict({"z": Discrete(2), "a": Tuple((MultiBinary(1), Dict({"x": Box(0, 1, (1,))})))}),
}
BOX = {"type": "Box", "low": 0, "high": 1, "shape": [1], "dtype": "float32"}
NO_SPACES = {
    "no object": 3,
    "no type": {},
    "unknown type": {"type": "Sphere"},
    "missing": {"type": "Box"},
    "unknown field": BOX | {"seed": 1},
    "bounds the wrong way round": BOX | {"low": 2},
    "bounds of another shape": BOX | {"low": [0, 0, 0]},
    "a bound of words": BOX | {"low": "print"},
    "objects": BOX | {"dtype": "O"},
    "a record": BOX | {"dtype": "float32,int8"},
    "petabytes": BOX | {"shape": [10**9, 10**9]},
    "petabytes of bits": {"type": "MultiBinary", "n": [10**9, 10**9]},
    "a negative size": BOX | {"shape": [-1]},
    "no choice": {"type": "Discrete", "n": 0, "start": 0, "dtype": "int64"},
    "too many choices": {"type": "Discrete", "n": 10**30, "start": 0, "dtype": "int64"},
    "uneven": {"type": "MultiDiscrete", "nvec": [[1], [2, 3]], "start": [0], "dtype": "int64"},
    "nested": {"type": "Dict", "spaces": {"a": {"type": "Tuple", "spaces": [3]}}},
}


@pytest.mark.parametrize("name", SPACES)
def test_round_trip(name):
    space = SPACES[name]
    text = json.dumps(space_to_json(space), allow_nan=False)
    again = space_from_json(json.loads(text))
    assert again == space
    assert again.dtype == space.dtype
    if isinstance(space, Box):  # whose equality is near enough
        assert (again.low == space.low).all()
        assert (again.high == space.high).all()
    if isinstance(space, Dict):
        assert list(again.spaces) == list(space.spaces)


def test_bounds_of_an_image_are_one_number():
    assert space_to_json(SPACES["image"])["low"] == 0


@pytest.mark.parametrize("space", [Text(3), Graph(Box(0, 1, (1,)), None)])
def test_other_spaces_are_refused(space):
    with pytest.raises(ValueError, match="cannot be written as JSON"):
        space_to_json(space)


@pytest.mark.parametrize("name", NO_SPACES)
def test_what_is_no_space_is_refused(name):
    with pytest.raises(ValueError, match=r".+"):
        space_from_json(NO_SPACES[name])
