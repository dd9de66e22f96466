"""Arguments, wrappers, frames and limits reach environments of either engine, or are refused."""

from ctypes.util import find_library

import gymnasium as gym
import numpy as np
import pytest

import tests.environments
from trpo.envs.envpool_engine import EnvPoolVectorEnv
from trpo.envs.errors import EnvError
from trpo.envs.factory import EnvironmentConfig, make_vector_env


class Countdown(gym.Env):
    """Shows how many steps are left of `length`; a step is worth 1."""

    observation_space = gym.spaces.Box(0, 100, (1,))
    action_space = gym.spaces.Discrete(2)

    def __init__(self, length: int = 20) -> None:
        self.length = length

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = self.length
        return np.float32([self.left]), {}

    def step(self, action):
        self.left -= 1
        return np.float32([self.left]), 1.0, self.left == 0, False, {}


gym.register("TestCountdown-v0", Countdown, max_episode_steps=15)


def negative(env: gym.Env) -> gym.Env:
    """A wrapper of a user's own."""
    return gym.wrappers.TransformReward(env, lambda reward: -reward)


def play(env, steps):
    """Step with zeros; return observations, rewards and ends of the first environment."""
    observations = [env.reset(seed=0)[0][0]]
    rewards, ends = [], []
    for _ in range(steps):
        observation, reward, terminated, truncated, _ = env.step(np.zeros(env.num_envs, np.int64))
        observations.append(observation[0])
        rewards.append(reward[0])
        ends.append((bool(terminated[0]), bool(truncated[0])))
    env.close()
    return observations, rewards, ends


@pytest.mark.parametrize("env", ["TestCountdown-v0", Countdown], ids=["id", "function"])
@pytest.mark.parametrize("engine", ["gymnasium", "gymnasium-async"])
def test_gymnasiums_environments_are_made_as_told(env, engine):
    config = EnvironmentConfig(
        engine,
        num_envs=2,
        env_kwargs={"length": 40},
        wrapper=("tests.envs.test_wrapping:negative",),
        frame_skip=2,
        frame_stack=3,
        time_limit=17,
    )
    vector = make_vector_env(env, config, seed=0)
    assert vector.single_observation_space.shape == (3, 1)
    observations, rewards, ends = play(vector, 17)
    assert observations[0].flatten().tolist() == [40, 40, 40]
    assert observations[2].flatten().tolist() == [40, 38, 36]
    assert rewards == [-2.0] * 17
    # the registered limit, 15 steps of the environment's own, is no longer there
    assert ends == [(False, False)] * 16 + [(False, True)]


def test_without_options_the_environment_is_as_it_is_registered():
    vector = make_vector_env("TestCountdown-v0", EnvironmentConfig(num_envs=1), seed=0)
    assert play(vector, 15)[2] == [(False, False)] * 14 + [(False, True)]


def test_a_repeated_action_ends_with_its_episode():
    config = EnvironmentConfig(num_envs=1, env_kwargs={"length": 3}, frame_skip=2)
    _, rewards, ends = play(make_vector_env("TestCountdown-v0", config, seed=0), 2)
    assert rewards == [2, 1]
    assert ends == [(False, False), (True, False)]


def test_envpools_options_are_its_own_and_ours():
    config = EnvironmentConfig(
        num_envs=2,
        env_kwargs={"repeat_action_probability": 0.25, "img_height": 42, "img_width": 42},
        frame_stack=2,
        frame_skip=3,
        time_limit=5,
    )
    env = make_vector_env("Pong-v5", config, seed=0)
    assert isinstance(env.unwrapped, EnvPoolVectorEnv)
    assert env.single_observation_space.shape == (2, 42, 42)
    told = env.unwrapped._pools[0].config
    assert (told["frame_skip"], told["max_episode_steps"]) == (3, 5)
    assert told["repeat_action_probability"] == 0.25
    assert play(env, 5)[2] == [(False, False)] * 4 + [(False, True)]


def test_the_preprocessing_of_atari_is_the_standard_one():
    """Machado et al. 2018, but for sticky actions, which are an option, as in Mnih et al. 2015."""
    env = make_vector_env("Pong-v5", EnvironmentConfig(num_envs=1), seed=0)
    told = env.unwrapped._pools[0].config
    env.close()
    expected = {
        "frame_skip": 4,
        "stack_num": 4,
        "gray_scale": True,
        "img_height": 84,
        "img_width": 84,
        "noop_max": 30,
        "episodic_life": False,
        "reward_clip": False,
        "repeat_action_probability": 0.0,
        "max_episode_steps": 27_000,
    }
    assert {name: told[name] for name in expected} == expected


def test_auto_is_the_engine_that_can_do_what_was_asked_for():
    config = EnvironmentConfig(num_envs=2, wrapper=("tests.envs.test_wrapping:negative",))
    assert play(make_vector_env("CartPole-v1", config, seed=0), 2)[1] == [-1.0, -1.0]
    config = EnvironmentConfig(num_envs=2, frame_stack=4)
    env = make_vector_env("CartPole-v1", config, seed=0)
    assert env.single_observation_space.shape == (4, 4)


REFUSED = {
    "no option of EnvPool's": (
        "Pong-v5",
        {"env_kwargs": {"sticky": 0.25}},
        r"^EnvPool's Pong-v5 has no option 'sticky': expected max_episode_steps, .*noop_max",
    ),
    "no path for EnvPool": ("Pong-v5", {"env_kwargs": {"base_path": "/"}}, "no option 'base_path'"),
    "another type": (
        "Pong-v5",
        {"env_kwargs": {"episodic_life": 1}},
        r"^episodic_life = 1 of EnvPool's Pong-v5: expected bool, as False$",
    ),
    "a flag for a share": (
        "Pong-v5",
        {"env_kwargs": {"repeat_action_probability": True}},
        r"^repeat_action_probability = True of EnvPool's Pong-v5: expected float, as 0\.0$",
    ),
    "a wrapper for EnvPool": ("Pong-v5", {"wrapper": ("a:b",)}, "EnvPool's Pong-v5 cannot be"),
    "no argument of Gymnasium's": (
        "TestCountdown-v0",
        {"env_kwargs": {"width": 2}},
        r"^environment 'TestCountdown-v0' cannot be made: TypeError: .*'width'",
    ),
    "no such module": (
        "TestCountdown-v0",
        {"wrapper": ("no_such_module:wrap",)},
        r"^wrapper 'no_such_module:wrap': cannot import module 'no_such_module'$",
    ),
    "no such function": (
        "TestCountdown-v0",
        {"wrapper": ("tests.envs.test_wrapping:missing",)},
        "has no 'missing'$",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused_in_a_line(name):
    env_id, options, message = REFUSED[name]
    with pytest.raises(EnvError, match=message):
        make_vector_env(env_id, EnvironmentConfig(num_envs=1, **options), seed=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frame_skip": 0}, r"^frame_skip = 0 is out of range: expected an integer ≥ 1$"),
        ({"frame_stack": 0}, r"^frame_stack = 0 is out of range: expected an integer ≥ 1$"),
        ({"time_limit": -1}, "^time_limit = -1 is out of range"),
        ({"wrapper": ("module",)}, r"^wrapper = 'module' is out of range: expected module:func"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(EnvError, match=message):
        EnvironmentConfig(**options)


@pytest.mark.skipif(find_library("Qt5Core") is not None, reason="needs a machine without Qt 5")
def test_a_library_that_lacks_is_told_in_a_line():
    with pytest.raises(EnvError, match=r"^environment 'BigfishEasy-v0' cannot be made: ImportErr"):
        make_vector_env("BigfishEasy-v0", EnvironmentConfig(num_envs=1), seed=0)


class WithoutOptions(Countdown):
    """Its reset takes no options."""

    def reset(self, *, seed=None):
        return super().reset(seed=seed)


def test_a_reset_without_options_is_told_as_gyms():
    env = make_vector_env(WithoutOptions, EnvironmentConfig(num_envs=1), seed=0)
    with pytest.raises(TypeError, match=r"^reset\(\) takes no options: expected reset\("):
        env.reset(seed=0)


def test_an_environment_that_is_made_already_takes_no_arguments():
    env = tests.environments.RandomEnvironment(tests.environments.BOX, gym.spaces.Discrete(2))
    with pytest.raises(EnvError, match="the environment is made already"):
        make_vector_env(env, EnvironmentConfig(num_envs=1, env_kwargs={"a": 1}), seed=0)
