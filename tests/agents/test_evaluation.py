"""Evaluation counts each environment's first episode, whole, in raw rewards."""

import random
from functools import partial

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import VectorEnv

import tests.environments  # noqa: F401 registers environments
from trpo.agents.agent import Agent, AgentConfig
from trpo.agents.networks.images import ImageConfig
from trpo.agents.normalization import NormalizationConfig
from trpo.agents.policies import PolicyConfig
from trpo.agents.randomness import Component, Randomness
from trpo.agents.rollouts.evaluation import evaluate
from trpo.agents.rollouts.policy_evaluation import evaluate_policy
from trpo.agents.rollouts.rollout import BrokenEnvironmentError
from trpo.agents.value_function import ValueConfig
from trpo.envs.factory import EnvironmentConfig, make_vector_env
from trpo.validation import ConfigError

EPISODES, SEED = 4, 5


def make_agent(env: VectorEnv, distribution="auto") -> Agent:
    config = AgentConfig(
        env.single_observation_space,
        env.single_action_space,
        PolicyConfig(distribution=distribution),
        ValueConfig(),
        NormalizationConfig(),
        ImageConfig(),
        gamma=0.99,
    )
    return Agent(config, Randomness(1))


def beta_mean(output):
    return 2 * torch.distributions.Beta(*(1 + torch.nn.functional.softplus(output))).mean - 1


@pytest.mark.parametrize(
    ("distribution", "act"), [("gaussian", lambda output: output.clamp(-1, 1)), ("beta", beta_mean)]
)
def test_equals_plain_episodes_of_the_deterministic_policy(distribution, act):
    env = make_vector_env("Pendulum-v1", EnvironmentConfig("gymnasium", EPISODES), SEED)
    agent = make_agent(env, distribution)
    agent.preprocessor.update(torch.randn(100, 3) * 2 + 1)
    before = {name: tensor.clone() for name, tensor in agent.state_dict().items()}
    episodes = evaluate(env, agent, SEED, generator=None)
    for n, episode in enumerate(episodes):
        plain = gym.make("Pendulum-v1")
        observation, _ = plain.reset(seed=SEED + n)
        total, done, length = 0.0, False, 0
        while not done:
            with torch.no_grad():
                output = agent.policy.network(torch.as_tensor(observation)[None])[0]
            action = 2 * act(output).reshape(1).numpy()
            observation, reward, terminated, truncated, _ = plain.step(action)
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


def test_an_episode_that_is_cut_off_did_not_end():
    env = make_vector_env("CartPole-v1", EnvironmentConfig("envpool", 32), SEED, threads=1)
    episodes = evaluate(env, make_agent(env), SEED, torch.Generator().manual_seed(0), max_steps=20)
    assert {episode.ended for episode in episodes} == {True, False}
    assert all(episode.length == 20 for episode in episodes if not episode.ended)
    assert all(episode.length <= 20 for episode in episodes)


@pytest.mark.parametrize(
    ("env_id", "what"),
    [
        ("TestNan-v0", "an observation"),
        ("TestInfinite-v0", "an observation"),
        ("TestNanReward-v0", "a reward"),
        ("TestInfiniteReward-v0", "a reward"),
    ],
)
def test_what_is_not_finite_is_named(env_id, what):
    env = make_vector_env(env_id, EnvironmentConfig("gymnasium", 2), SEED)
    for _ in range(2):
        env.reset(seed=SEED)  # they go wrong in their third episode
    with pytest.raises(BrokenEnvironmentError, match=f"returned {what} that is not finite"):
        evaluate(env, make_agent(env), SEED, generator=None)


@pytest.mark.parametrize("deterministic", [True, False])
def test_a_policy_is_evaluated_by_as_many_episodes_as_asked_for(deterministic):
    make_env = partial(make_vector_env, "CartPole-v1", EnvironmentConfig("gymnasium", EPISODES))
    agent, state = make_agent(make_env(0)), random.getstate()
    both = [evaluate_policy(agent, make_env, 10, deterministic) for _ in range(2)]
    assert both[0] == both[1]
    assert random.getstate() == state
    randomness, returns = Randomness(0), []
    for first in (0, 4, 8):
        seed = randomness.integer(Component.EVALUATION) + first
        noise = None if deterministic else randomness.generator(Component.ACTIONS, first)
        episodes = evaluate(make_env(seed), agent, seed, noise)
        returns += [episode.undiscounted_return for episode in episodes]
    assert both[0] == pytest.approx((np.mean(returns[:10]), np.std(returns[:10])))


def test_a_policy_is_evaluated_in_a_vector_environment_which_stays_open():
    make_env = partial(make_vector_env, "CartPole-v1", EnvironmentConfig("gymnasium", EPISODES))
    for env in (make_env(0), gym.make_vec("CartPole-v1", EPISODES)):
        agent = make_agent(env)
        assert evaluate_policy(agent, env, 10) == evaluate_policy(agent, make_env, 10)
        env.reset()


def test_what_a_policy_cannot_be_evaluated_in_is_refused():
    env = gym.make("CartPole-v1")
    agent = make_agent(gym.make_vec("CartPole-v1", 2))
    with pytest.raises(ConfigError, match=r"CartPole.* is not a function: expected a function"):
        evaluate_policy(agent, env)
    with pytest.raises(ConfigError, match="episodes = 0 is out of range"):
        evaluate_policy(agent, env, 0)
