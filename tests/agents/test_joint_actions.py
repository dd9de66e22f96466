"""Dict and Tuple actions: a joint of independents, which learns all of its parts."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch.distributions import Bernoulli, Categorical, Independent, Normal, kl_divergence

import tests.environments  # noqa: F401  registers TestControls-v0
from tests.helpers import ACTION_SPACES, make_problem, make_trainer, run
from trpo.agents import Agent
from trpo.agents.distributions.factory import BoxConfig, make_family
from trpo.agents.policies import PolicyConfig
from trpo.agents.rollouts.evaluation import evaluate
from trpo.divergence import kl_divergence as kl_of
from trpo.envs.factory import EnvironmentConfig, make_vector_env
from trpo.validation import ConfigError


def test_log_probability_entropy_and_kl_are_the_parts_sums():
    """The parts by hand: three choices, then two normals, then two coins."""

    def parts(problem):
        output = problem.policy.network(problem.batch.observations)  # (B, 3 + 2 + 2)
        logits, mean, coins = output.split([3, 2, 2], dim=-1)
        (log_std,) = problem.policy.family.parameters()
        return (
            Categorical(logits=logits),
            Independent(Normal(mean, log_std.exp()), 1),
            Independent(Bernoulli(logits=coins), 1),
        ), problem.policy.distribution(output)

    one, other = (make_problem(ACTION_SPACES["joint"], (6,), seed=seed) for seed in range(2))
    (expected, joint), (others, other_joint) = parts(one), parts(other)
    choice, point, coins = one.batch.actions.split([1, 2, 2], dim=-1)
    log_probs = [
        part.log_prob(a) for part, a in zip(expected, (choice[:, 0], point, coins), strict=True)
    ]
    assert torch.allclose(joint.log_prob(one.batch.actions), sum(log_probs), rtol=1e-12)
    assert torch.allclose(joint.entropy(), sum(part.entropy() for part in expected), rtol=1e-12)
    kl = sum(kl_divergence(*two) for two in zip(expected, others, strict=True))
    assert torch.allclose(kl_of(joint, other_joint), kl, rtol=1e-12)


def test_parts_are_sampled_independently_of_one_another():
    problem = make_problem(ACTION_SPACES["joint"], (6,))
    output = problem.policy.network(problem.batch.observations[:1]).detach().expand(40_000, -1)
    noise = problem.policy.family.draw_noise(40_000, 1, torch.Generator().manual_seed(0))[:, 0]
    actions = problem.policy.family.act(output, noise.double())
    correlations = torch.corrcoef(actions.T) - torch.eye(5)
    assert correlations.abs().max() < 0.02


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (gym.spaces.Dict({"a": gym.spaces.Text(3)}), "is not supported: expected Box"),
        (gym.spaces.Tuple(()), "is empty: expected at least one number"),
        (gym.spaces.Dict({"a": gym.spaces.Box(-1, 1, (0,))}), "is empty: expected"),
    ],
)
def test_what_cannot_be_acted_in_is_named(space, message):
    with pytest.raises(ConfigError, match=rf"action space .* {message}"):
        make_family(space, BoxConfig())


def test_hybrid_actions_are_learned_to_their_optimum(tmp_path):
    trainer = make_trainer(
        "TestControls-v0",
        "gymnasium",
        trainer={"batch_size": 1024, "gamma": 0.0},
        policy=PolicyConfig(hidden=(32,)),
    )
    records = run(trainer, 25)
    assert all(record.metrics["update/mean_kl"] <= trainer.config.trpo.max_kl for record in records)
    trainer.agent.save(tmp_path / "agent.safetensors")
    agent = Agent.load(tmp_path / "agent.safetensors")
    env = make_vector_env("TestControls-v0", EnvironmentConfig("gymnasium", 20), 5)
    episodes = evaluate(env, agent, 5, None)
    assert np.mean([episode.undiscounted_return for episode in episodes]) > 9.5  # of 10
    observation = env.single_observation_space.sample()
    assert env.single_action_space.contains(agent.act(observation)[0])
    trainer.close()
