"""Actions arrive in the action space, whatever the policy chose."""

import gymnasium as gym
import numpy as np
import pytest

from trpo.agents.actions import ActionAdapter, odd_scale

SPACES = {
    "unit": gym.spaces.Box(-1, 1, (3,)),
    "narrow": gym.spaces.Box(-0.01, 0.01, (2,), np.float64),
    "wide": gym.spaces.Box(-100, 100, (1,)),
    "lopsided": gym.spaces.Box(np.array([0.0, -3.0], np.float32), np.array([1.0, 9.0], np.float32)),
    "matrix": gym.spaces.Box(-0.1, 0.1, (2, 2)),
    "unbounded": gym.spaces.Box(-np.inf, np.inf, (2,)),
    "half": gym.spaces.Box(0, np.inf, (2,)),
    "huge": gym.spaces.Box(-3e38, 3e38, (2,)),
    "integers": gym.spaces.Box(-2, 5, (2,), np.int32),
    "bytes": gym.spaces.Box(0, 255, (2,), np.uint8),
    "bools": gym.spaces.Box(0, 1, (2,), np.bool_),
    "discrete": gym.spaces.Discrete(4, start=-2),
    "multidiscrete": gym.spaces.MultiDiscrete([3, 2, 4], start=[1, 0, -5]),
    "multibinary": gym.spaces.MultiBinary((2, 2)),
}

NESTED = gym.spaces.Dict({
    "a": SPACES["discrete"],
    "b": gym.spaces.Tuple((SPACES["matrix"], SPACES["multidiscrete"], SPACES["integers"])),
})


def chosen(space: gym.Space, count: int) -> np.ndarray:
    """What a policy for this space may choose, far outside of its bounds included."""
    random = np.random.default_rng(0)
    if isinstance(space, gym.spaces.Box):
        return random.normal(scale=3, size=(count, gym.spaces.flatdim(space))).astype(np.float32)
    if isinstance(space, gym.spaces.MultiBinary):
        return random.integers(2, size=(count, gym.spaces.flatdim(space))).astype(np.float32)
    choices = np.atleast_1d(space.n if isinstance(space, gym.spaces.Discrete) else space.nvec)
    return random.integers(choices, size=(count, len(choices)))


@pytest.mark.parametrize("name", SPACES)
def test_every_action_is_in_the_space(name):
    space = SPACES[name]
    actions = ActionAdapter(space)(chosen(space, 200))
    assert actions.shape == (200, *space.shape)
    assert actions.dtype == space.dtype
    assert all(space.contains(action) for action in actions)


def test_actions_of_nested_spaces_are_adapted_leaf_by_leaf():
    leaves = [NESTED["a"], *NESTED["b"]]
    parts = [chosen(leaf, 20).astype(np.float32) for leaf in leaves]
    actions = ActionAdapter(NESTED)(np.concatenate(parts, axis=1))
    found = [actions["a"], *actions["b"]]
    for leaf, part, got in zip(leaves, parts, found, strict=True):
        np.testing.assert_array_equal(got, ActionAdapter(leaf)(part))
        assert all(leaf.contains(action) for action in got)
    assert odd_scale(NESTED) is None
    assert "actions.a in [-inf" in odd_scale(gym.spaces.Dict({"a": SPACES["unbounded"]}))


@pytest.mark.parametrize(
    "name", ["narrow", "wide", "lopsided", "matrix", "integers", "bytes", "bools"]
)
def test_the_policys_unit_interval_is_the_box(name):
    space = SPACES[name]
    size = gym.spaces.flatdim(space)
    ends = ActionAdapter(space)(np.array([[-1.0] * size, [1.0] * size, [0.0] * size], np.float32))
    middle = (space.low.astype(float) + space.high) / 2
    if space.dtype.kind in "biu":
        middle = middle.round()
    for got, expected in zip(ends, (space.low, space.high, middle), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-9)


def test_a_box_that_is_the_unit_interval_is_not_touched():
    inside = np.random.default_rng(0).uniform(-1, 1, (50, 3)).astype(np.float32)
    np.testing.assert_array_equal(ActionAdapter(SPACES["unit"])(inside), inside)


@pytest.mark.parametrize("name", ["unbounded", "half", "huge"])
def test_where_a_side_is_open_actions_are_only_clipped(name):
    space = SPACES[name]
    actions = chosen(space, 100)
    np.testing.assert_array_equal(
        ActionAdapter(space)(actions), actions.clip(space.low, space.high)
    )


def test_choices_count_from_the_spaces_start():
    assert ActionAdapter(SPACES["discrete"])(np.array([[0], [3]])).tolist() == [-2, 1]
    shifted = ActionAdapter(SPACES["multidiscrete"])(np.array([[0, 1, 2]]))
    assert shifted.tolist() == [[1, 1, -3]]


def test_a_box_without_a_scale_is_told_and_no_other_space():
    told = {name for name, space in SPACES.items() if odd_scale(space)}
    assert told == {"unbounded", "half", "huge"}
    assert "[0, inf]" in odd_scale(SPACES["half"])
    assert "--initial-log-std" in odd_scale(SPACES["half"])
