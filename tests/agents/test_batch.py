"""A batch keeps which environment and time its samples have."""

import torch

from tests.helpers import make_trainer, run
from trpo.agents.batching import make_batch


def a_batch():
    trainer = make_trainer("CartPole-v1")  # whose episodes end within 32 steps
    run(trainer, 1)
    rollout, config = trainer.rollout, trainer.config.trainer
    batch, values = make_batch(
        rollout, rollout.rewards, trainer.agent, trainer.agent.policy, config
    )
    return rollout, batch, values


def test_samples_are_the_valid_steps_in_order():
    rollout, batch, values = a_batch()
    assert (~rollout.valid).sum() > 0
    assert len(batch) == len(values) == int(rollout.valid.sum())
    where = batch.times, batch.environments
    assert torch.equal(batch.observations, rollout.observations[where])
    assert torch.equal(batch.actions, rollout.actions[where])
    order = batch.times * rollout.rewards.shape[1] + batch.environments
    assert (order.diff() > 0).all()
