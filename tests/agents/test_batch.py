"""A batch: whose samples it has, and what is to be learned from them."""

import torch

from tests.helpers import make_trainer, run
from trpo.agents.rollouts.advantages import generalized_advantages
from trpo.agents.rollouts.batching import make_batch


def a_batch():
    trainer = make_trainer("CartPole-v1")  # whose episodes end within 32 steps
    run(trainer, 1)
    rollout, config = trainer.rollout, trainer.config.trainer
    batch, values = make_batch(
        rollout, rollout.rewards, trainer.agent, trainer.agent.policy, config
    )
    return trainer, batch, values


def test_samples_are_the_valid_steps_in_order():
    trainer, batch, values = a_batch()
    rollout = trainer.rollout
    assert (~rollout.valid).sum() > 0
    assert len(batch) == len(values) == int(rollout.valid.sum())
    where = batch.times, batch.environments
    assert torch.equal(batch.observations, rollout.observations[where])
    assert torch.equal(batch.actions, rollout.actions[where])
    order = batch.times * rollout.rewards.shape[1] + batch.environments
    assert (order.diff() > 0).all()


def test_advantages_and_returns_are_of_the_values_at_the_observations():
    trainer, batch, values = a_batch()
    rollout, agent, config = trainer.rollout, trainer.agent, trainer.config.trainer
    with torch.no_grad():
        V = torch.stack([agent.value_function(row) for row in rollout.observations])  # (T + 1, N)
    ends = rollout.terminated, rollout.truncated
    advantages = generalized_advantages(rollout.rewards, V, *ends, config.gamma, config.gae_lambda)
    at = batch.times, batch.environments
    torch.testing.assert_close(values, V[:-1][at])
    torch.testing.assert_close(batch.returns, (advantages + V[:-1])[at])
    advantages = advantages[at]
    deviation = advantages.std(correction=0)
    torch.testing.assert_close(batch.advantages, (advantages - advantages.mean()) / deviation)
    so_far = agent.advantage_scale.moments.variance.sqrt()
    assert abs(batch.deviation * so_far / deviation - 1) < 1e-5
    assert abs(batch.deviation - 1) > 1e-3
