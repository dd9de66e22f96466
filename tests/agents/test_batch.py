"""A batch keeps which environment and time its samples have, so that whole columns can be cut."""

import pytest
import torch

from tests.helpers import make_trainer, run
from trpo.agents.batching import make_batch


def a_batch():
    trainer = make_trainer("CartPole-v1")  # whose episodes end within 32 steps
    run(trainer, 1)
    rollout, config = trainer.rollout, trainer.config.trainer
    batch, values = make_batch(rollout, rollout.rewards, trainer.agent, config)
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


@pytest.mark.parametrize("count", [1, 3, 8, 100])
def test_columns_are_whole_environments_in_the_order_of_time(count):
    rollout, batch, _ = a_batch()
    columns = batch.columns(count)
    assert len(columns) == min(count, rollout.rewards.shape[1])
    assert sum(map(len, columns)) == len(batch)
    seen = set()
    for part in columns:
        environments = part.environments.unique().tolist()
        assert not seen & set(environments)
        seen |= set(environments)
        for environment in environments:
            mine = part.rows(part.environments == environment)
            valid = rollout.valid[:, environment]
            assert torch.equal(mine.times, valid.nonzero().flatten())  # a gap is a reset
            assert torch.equal(mine.observations, rollout.observations[:-1, environment][valid])
            assert torch.equal(mine.actions, rollout.actions[:, environment][valid])
    assert seen == set(range(rollout.rewards.shape[1]))
