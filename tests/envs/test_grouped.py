"""The door: flat observations by Gymnasium's own flattening, actions as the environment wants them."""

import gymnasium as gym
import numpy as np
import pytest

import tests.worlds
from trpo.envs.errors import EnvError
from trpo.envs.factory import EnvironmentConfig, make_vector_env

ENVS = 3


def make(env_id, engine="gymnasium"):
    return make_vector_env(env_id, EnvironmentConfig(engine, ENVS), seed=0, threads=1)


@pytest.mark.parametrize("name", tests.worlds.SPACES)
def test_observations_are_flattened_as_gymnasium_flattens_them(name):
    space, _ = tests.worlds.SPACES[name]
    env = make(f"Test{name.capitalize()}-v0")
    observations, _ = env.reset(seed=3)
    assert observations.shape == (ENVS, gym.spaces.flatdim(space)) == env.observation_space.shape
    assert env.single_observation_space.shape == (gym.spaces.flatdim(space),)
    for n, single in enumerate(env.unwrapped.envs):
        plain, _ = single.unwrapped.reset(seed=3 + n)
        np.testing.assert_allclose(observations[n], gym.spaces.flatten(space, plain))


@pytest.mark.parametrize("name", tests.worlds.SPACES)
def test_actions_arrive_in_the_action_space(name):
    """The environments of these tests refuse an action that is not in their space; here the actions' values are checked."""
    _, space = tests.worlds.SPACES[name]
    env = make(f"Test{name.capitalize()}-v0")
    env.reset(seed=0)
    size = int(np.prod(space.shape)) if space.shape else 1
    sent = {
        gym.spaces.Box: np.linspace(-5, 5, ENVS * size, dtype=np.float32),
        gym.spaces.Discrete: np.array([0, 1, 2]),
        gym.spaces.MultiDiscrete: np.array([0, 0, 1, 4, 0, 3]),
        gym.spaces.MultiBinary: np.arange(ENVS * size, dtype=np.float32) % 2,
    }[type(space)].reshape(ENVS, size)
    env.step(sent)
    received = np.stack([
        np.asarray(single.unwrapped.actions[-1]) for single in env.unwrapped.envs
    ]).reshape(ENVS, size)
    if isinstance(space, gym.spaces.Box):
        np.testing.assert_allclose(
            received, np.clip(sent, space.low.flatten(), space.high.flatten())
        )
        assert (received != sent).any()
    else:
        np.testing.assert_array_equal(received, sent + getattr(space, "start", 0))


def test_envpool_actions_are_clipped_too():
    env, twin = make("Pendulum-v1", "envpool"), make("Pendulum-v1", "envpool")
    env.reset(seed=0), twin.reset(seed=0)
    beyond = [env.step(np.full((ENVS, 1), 50.0, np.float32)) for _ in range(5)]
    at_bound = [twin.step(np.full((ENVS, 1), 2.0, np.float32)) for _ in range(5)]
    for one, other in zip(beyond, at_bound, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])


@pytest.mark.parametrize(
    ("env_id", "message"),
    [("TestImage-v0", "is an image"), ("TestText-v0", "Text.* is not supported")],
)
def test_unsupported_observations_are_named(env_id, message):
    with pytest.raises(EnvError, match=rf"observation space .*{message}.*: expected"):
        make(env_id)
