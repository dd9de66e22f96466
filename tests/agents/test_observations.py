"""Observations from environment to features: every leaf kept, flattened as Gymnasium flattens."""

import gymnasium as gym
import numpy as np
import pytest
import torch

import tests.environments
from trpo.agents.networks.encoders import Features, FlatEncoder, Preprocessor
from trpo.agents.normalization import NormalizationConfig
from trpo.agents.observations import allocate, leaves, map_leaves, named_leaves, select
from trpo.validation import ConfigError

RAW = NormalizationConfig(observations=False)
SPACES = {name: observations for name, (observations, _) in tests.environments.SPACES.items()} | {
    "shifted": gym.spaces.Discrete(5, start=-2),
    "bytes": gym.spaces.Box(0, 255, (4,), np.uint8),
    "nested": gym.spaces.Dict({
        "z": gym.spaces.Tuple((gym.spaces.Discrete(3), gym.spaces.Box(-1, 1, (2, 2), np.float64))),
        "a": gym.spaces.MultiDiscrete([[2, 3], [4, 2]]),
    }),
}


def batch_of(space: gym.Space, size: int):
    space.seed(0)
    samples = [space.sample() for _ in range(size)]
    stored = allocate(space, size)
    for index, sample in enumerate(samples):
        map_leaves(
            lambda tensor, value, index=index: tensor.numpy().__setitem__(index, value),
            stored,
            sample,
        )
    return samples, stored


@pytest.mark.parametrize("name", SPACES)
def test_features_are_gymnasiums_flattening(name):
    space = SPACES[name]
    samples, stored = batch_of(space, 20)
    features = Features(Preprocessor(space, RAW), FlatEncoder(space, torch.Generator()))
    expected = np.stack([gym.spaces.flatten(space, sample) for sample in samples])
    assert features.size == expected.shape[1]
    np.testing.assert_allclose(features(stored).numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("name", SPACES)
def test_storage_has_the_spaces_shapes_and_numbers(name):
    space = SPACES[name]
    for tensor, leaf in zip(leaves(allocate(space, 3, 2)), leaves(space), strict=True):
        assert tensor.shape == (3, 2, *leaf.shape)
        kind = np.dtype(leaf.dtype).kind
        assert tensor.dtype == torch.float32 if kind == "f" else tensor.numpy().dtype == leaf.dtype


@pytest.mark.parametrize("name", SPACES)
def test_normalised_features_have_zero_mean_and_unit_deviation(name):
    space = SPACES[name]
    _, stored = batch_of(space, 500)
    preprocessor = Preprocessor(space, NormalizationConfig())
    features = Features(preprocessor, FlatEncoder(space, torch.Generator()))
    preprocessor.update(stored)
    numbers = features(stored)
    assert numbers.mean(0).abs().max() < 1e-4
    assert (numbers.std(0, correction=0) - 1).abs().max() < 1e-3
    assert features.is_fixed


def test_images_are_scaled_and_kept_in_shape():
    space = gym.spaces.Box(0, 255, (18, 16, 3), np.uint8)
    _, stored = batch_of(space, 4)
    assert stored.dtype == torch.uint8
    image = Preprocessor(space, NormalizationConfig())(stored)
    torch.testing.assert_close(image, stored.float() / 255)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (gym.spaces.Text(5), r"observation space Text.* is not supported: expected Box"),
        (gym.spaces.Dict({"a": gym.spaces.Graph(SPACES["bytes"], None)}), "is not supported"),
        (gym.spaces.Box(-1, 1, (0,)), "is empty: expected at least one number"),
        (gym.spaces.Discrete(10**9), "is too large: expected at most 10,000,000 numbers"),
    ],
)
def test_spaces_that_cannot_be_read_are_named(space, message):
    with pytest.raises(ConfigError, match=message):
        Preprocessor(space, RAW)


def test_leaves_have_names():
    names = named_leaves(SPACES["nested"])
    assert list(names) == ["observation.a", "observation.z[0]", "observation.z[1]"]
    assert list(names.values()) == leaves(SPACES["nested"])
    assert list(named_leaves(SPACES["bytes"])) == ["observation"]


def test_selecting_selects_from_every_leaf():
    _, stored = batch_of(SPACES["nested"], 10)
    picked = select(stored, torch.tensor([3, 1]))
    for part, whole in zip(leaves(picked), leaves(stored), strict=True):
        assert torch.equal(part, whole[[3, 1]])
