"""Evaluation counts each environment's first episode, whole, in raw rewards."""

import gymnasium as gym
import pytest
import torch
from gymnasium.vector import VectorEnv

from trpo.agents.agent import Agent, AgentConfig
from trpo.agents.evaluation import evaluate
from trpo.agents.normalization import NormalizationConfig
from trpo.agents.pictures import PictureConfig
from trpo.agents.policies import PolicyConfig
from trpo.agents.randomness import Randomness
from trpo.agents.value_function import ValueConfig
from trpo.envs.factory import EnvironmentConfig, make_vector_env

EPISODES, SEED = 4, 5


def make_agent(env: VectorEnv) -> Agent:
    config = AgentConfig(
        env.single_observation_space,
        env.single_action_space,
        PolicyConfig(),
        ValueConfig(),
        NormalizationConfig(),
        PictureConfig(),
        gamma=0.99,
    )
    return Agent(config, Randomness(1))


def test_equals_plain_episodes_of_the_mode():
    env = make_vector_env("Pendulum-v1", EnvironmentConfig("gymnasium", EPISODES), SEED)
    agent = make_agent(env)
    agent.preprocessor.update(torch.randn(100, 3) * 2 + 1)
    before = {name: tensor.clone() for name, tensor in agent.state_dict().items()}
    episodes = evaluate(env, agent, SEED, generator=None)
    for n, episode in enumerate(episodes):
        plain = gym.make("Pendulum-v1")
        observation, _ = plain.reset(seed=SEED + n)
        total, done, length = 0.0, False, 0
        while not done:
            with torch.no_grad():
                mode = agent.policy.network(torch.as_tensor(observation)[None])[0]
            observation, reward, terminated, truncated, _ = plain.step(
                2 * mode.clamp(-1, 1).numpy()
            )
            total, done, length = total + float(reward), terminated or truncated, length + 1
        assert episode.undiscounted_return == pytest.approx(total, rel=1e-4)
        assert episode.length == length == 200
    assert all(torch.equal(tensor, before[name]) for name, tensor in agent.state_dict().items())


def test_short_episodes_are_not_counted_more_often():
    env = make_vector_env("CartPole-v1", EnvironmentConfig("envpool", 32), SEED, threads=1)
    agent = make_agent(env)
    episodes = evaluate(env, agent, SEED, torch.Generator().manual_seed(0))
    assert len(episodes) == 32
    assert all(episode.undiscounted_return == episode.length > 0 for episode in episodes)
    assert len({episode.length for episode in episodes}) > 5
