"""Vector environments in groups: the environment's own spaces, stepped whole or by themselves."""

import gymnasium as gym
import numpy as np
import pytest

import tests.environments
from trpo.agents.observations import leaves
from trpo.envs.errors import EnvError
from trpo.envs.factory import EnvironmentConfig, make_vector_env

ENVS = 3


@pytest.mark.parametrize("name", tests.environments.SPACES)
def test_observations_keep_their_shape(name):
    space, _ = tests.environments.SPACES[name]
    env = make_vector_env(
        f"Test{name.capitalize()}-v0", EnvironmentConfig("gymnasium", ENVS), seed=0
    )
    observations, _ = env.reset(seed=3)
    assert env.single_observation_space == space
    for n, single in enumerate(env.unwrapped.envs):
        plain, _ = single.unwrapped.reset(seed=3 + n)
        for batched, leaf in zip(leaves(observations), leaves(plain), strict=True):
            np.testing.assert_array_equal(batched[n], leaf)
    env.close()


class Corridor(gym.Env):
    """Walk to the end."""

    observation_space = gym.spaces.Box(0, 10, (1,))
    action_space = gym.spaces.Discrete(2)
    closed = False

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at = self.np_random.integers(0, 3)
        return np.array([self.at], np.float32), {}

    def step(self, action):
        self.at += int(action)
        return np.array([self.at], np.float32), 0.0, self.at >= 10, False, {}

    def close(self):
        self.closed = True


@pytest.mark.parametrize("engine", ["auto", "gymnasium", "gymnasium-async"])
def test_environments_are_made_by_a_function(engine):
    env = make_vector_env(Corridor, EnvironmentConfig(engine, ENVS), seed=0)
    observations, _ = env.reset(seed=7)
    plain = [Corridor().reset(seed=7 + n)[0] for n in range(ENVS)]
    np.testing.assert_array_equal(observations, np.stack(plain))
    env.close()


def test_one_environment_is_stepped_and_left_open():
    mine = Corridor()
    env = make_vector_env(mine, EnvironmentConfig(num_envs=1), seed=0)
    env.reset(seed=0)
    before = mine.at
    env.step(np.array([1]))
    assert mine.at == before + 1
    env.close()
    assert not mine.closed


def test_one_environment_cannot_be_many():
    with pytest.raises(EnvError, match=r"^num_envs = 3: expected 1 .* give a function"):
        make_vector_env(Corridor(), EnvironmentConfig(num_envs=3), seed=0)


def test_a_function_that_fails_is_named():
    def broken() -> gym.Env:
        raise RuntimeError("no display\nDISPLAY is not set")

    with pytest.raises(EnvError, match=r"broken' cannot be made: RuntimeError: no display$"):
        make_vector_env(broken, EnvironmentConfig(num_envs=1), seed=0)
