"""Rollouts of real environments against the same actions played in plain, unvectorised ones."""

import gymnasium as gym
import numpy as np
import pytest
import torch

from trpo.agents.networks.encoders import Features, FlatEncoder, Preprocessor
from trpo.agents.normalization import NormalizationConfig
from trpo.agents.policies import PolicyConfig, make_policy
from trpo.agents.rollouts.rollout import Collector, Rollout
from trpo.envs.factory import EnvironmentConfig, make_vector_env

ENVS, STEPS, SEED = 3, 120, 11


def collect(
    env_id: str, engine: str, rollouts=2, steps=STEPS, initial_log_std=0.5, envs=ENVS, threads=1
):
    env = make_vector_env(env_id, EnvironmentConfig(engine, envs), SEED, threads)
    space = env.single_observation_space
    preprocessor = Preprocessor(space, NormalizationConfig())
    statistics = torch.randn(50, *space.shape, generator=torch.Generator().manual_seed(0)) * 2
    preprocessor.update(statistics)
    features = Features(preprocessor, FlatEncoder(space, torch.Generator()))
    config = PolicyConfig(hidden=(8,), initial_log_std=initial_log_std)
    generator = torch.Generator().manual_seed(0)
    policy = make_policy(features, env.single_action_space, config, generator)
    collector = Collector(env, SEED)
    for k in range(rollouts):
        rollout = Rollout(steps, env, policy)
        episodes = collector.collect(policy, rollout, torch.Generator().manual_seed(k))
        yield rollout, episodes, policy
    env.close()


@pytest.mark.parametrize(
    ("env_id", "engine"),
    [
        ("CartPole-v1", "gymnasium-async"),
        ("Pendulum-v1", "gymnasium"),
        ("Acrobot-v1", "gymnasium"),
        ("Hopper-v5", "gymnasium"),
    ],
)
def test_gymnasium_rollout_equals_plain_environments(env_id, engine):
    """All that two rollouts hold, against a plain loop that knows episodes."""
    rollouts = list(collect(env_id, engine))
    finished = []
    for n in range(ENVS):
        env = gym.make(env_id)
        observation, _ = env.reset(seed=SEED + n)
        done, total, length = False, 0.0, 0
        for k, (rollout, *_) in enumerate(rollouts):
            for t in range(STEPS):
                np.testing.assert_allclose(
                    rollout.observations[t, n], observation, rtol=1e-5, atol=1e-6
                )
                assert rollout.valid[t, n] == (not done)
                if done:
                    observation, _ = env.reset()
                    done = False
                    assert rollout.rewards[t, n] == 0
                    continue
                action = rollout.actions[t, n].numpy()
                if isinstance(env.action_space, gym.spaces.Box):
                    low, high = env.action_space.low, env.action_space.high
                    action = low + (high - low) * (np.clip(action, -1, 1) + 1) / 2
                else:
                    action = int(action[0])
                observation, reward, terminated, truncated, _ = env.step(action)
                done, total, length = terminated or truncated, total + float(reward), length + 1
                np.testing.assert_allclose(rollout.rewards[t, n], reward, rtol=1e-4, atol=1e-5)
                assert (rollout.terminated[t, n], rollout.truncated[t, n]) == (
                    terminated,
                    truncated,
                )
                np.testing.assert_allclose(
                    rollout.observations[t + 1, n], observation, rtol=1e-5, atol=1e-6
                )
                if done:
                    finished.append((k, t, n, total, length))
                    total, length = 0.0, 0
        env.close()
    episodes = [episode for _, episodes, *_ in rollouts for episode in episodes]
    assert len(episodes) == len(finished)
    for episode, (*_, total, length) in zip(episodes, sorted(finished), strict=True):
        assert episode.length == length
        assert episode.undiscounted_return == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize(
    ("env_id", "engine"),
    [
        ("CartPole-v1", "envpool"),
        ("Pendulum-v1", "envpool"),
        ("CartPole-v1", "gymnasium"),
    ],  # the last has its own vector class
)
def test_rollout_has_whole_episodes_and_masked_resets(env_id, engine):
    steps = 450  # Pendulum is truncated after 200
    ((rollout, episodes, *_),) = collect(env_id, engine, rollouts=1, steps=steps)
    done, valid = rollout.done, rollout.valid
    assert valid[0].all()
    assert torch.equal(valid[1:], ~done[:-1])
    assert (rollout.rewards[~valid] == 0).all()
    assert not done[~valid].any()
    assert (~valid).sum() > 0
    columns = [column for n in range(ENVS) for column in [n] * int(done[:, n].sum())]
    assert len(episodes) == len(columns)
    if env_id == "Pendulum-v1":
        assert rollout.truncated.sum() == done.sum() == 2 * ENVS
        assert {episode.length for episode in episodes} == {200}
    else:
        assert all(episode.undiscounted_return == episode.length for episode in episodes)


@pytest.mark.parametrize(
    ("env_id", "engine"), [("Pendulum-v1", "gymnasium"), ("CartPole-v1", "envpool")]
)
def test_stored_outputs_are_the_policys_at_the_stored_observations(env_id, engine):
    for rollout, _, policy in collect(env_id, engine):
        with torch.no_grad():
            outputs = policy.network(rollout.observations[:-1])
            assert torch.allclose(rollout.outputs, outputs, atol=1e-6)


def test_a_rollout_in_two_groups_equals_one_in_one():
    """But for rounding: the policy acts for half of the environments at a time."""
    whole, halves = (
        list(collect("Hopper-v5", "envpool", steps=30, envs=4, threads=threads))
        for threads in (1, 2)
    )
    for (one, episodes, *_), (other, same_episodes, *_) in zip(whole, halves, strict=True):
        for name in ("observations", "outputs", "actions", "rewards"):
            torch.testing.assert_close(
                getattr(one, name), getattr(other, name), rtol=1e-3, atol=1e-3
            )
        for name in ("terminated", "truncated", "valid"):
            assert torch.equal(getattr(one, name), getattr(other, name))
        assert [episode.length for episode in episodes] == [
            episode.length for episode in same_episodes
        ]
    assert sum(len(episodes) for _, episodes, *_ in whole) > 0


def test_actions_are_stored_as_sampled_not_as_clipped():
    """With a deviation of √e many leave [-1, 1]; the plain loop above shows they arrive clipped."""
    ((rollout, *_),) = collect("Pendulum-v1", "gymnasium", rollouts=1, initial_log_std=0.5)
    assert (rollout.actions.abs() > 1).float().mean() > 0.1
