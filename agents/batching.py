"""From a rollout to the batch that an update learns from: advantages, returns, old log-probs."""

import torch
from torch import Tensor

from trpo.agents.advantages import AdvantageEstimator, generalized_advantages
from trpo.agents.agent import Agent
from trpo.agents.batch import Batch
from trpo.agents.config import TrainerConfig
from trpo.agents.observations import map_leaves, select
from trpo.agents.rollout import Rollout


@torch.no_grad()
def make_batch(
    rollout: Rollout,
    rewards: Tensor,
    agent: Agent,
    config: TrainerConfig,
    estimate_advantages: AdvantageEstimator = generalized_advantages,
) -> tuple[Batch, Tensor]:
    """Estimate advantages and returns, and take the B valid steps.

    Args:
        rollout: T steps of N environments.
        rewards: (T, N), as they are to be learned from.
        agent: that acted.
        config: discounts, and how many observations to look at together.
        estimate_advantages: takes what `generalized_advantages` takes.

    Returns:
        The batch, and V at its states, (B,).
    """
    steps, envs = rewards.shape
    flat = map_leaves(lambda leaf: leaf.flatten(0, 1), rollout.observations)  # ((T + 1)·N, …)
    values = agent.values(flat, config.microbatch_size).view(steps + 1, envs)
    advantages = estimate_advantages(  # (T, N)
        rewards,
        values,
        rollout.terminated,
        rollout.truncated,
        config.gamma,
        config.gae_lambda,
    )
    returns = advantages + values[:-1]
    steps_taken = rollout.valid.nonzero(as_tuple=True)  # the B samples' times and environments
    actions = rollout.actions[steps_taken]
    old_policy = agent.policy.distribution(rollout.outputs[steps_taken])
    times, environments = steps_taken
    batch = Batch(
        observations=select(rollout.observations, steps_taken),
        actions=actions,
        log_probs=old_policy.log_prob(actions),
        advantages=normalized(advantages[steps_taken]),
        returns=returns[steps_taken],
        times=times,
        environments=environments,
        deviation=agent.advantage_scale.update(advantages[steps_taken]),
    )
    return batch, values[steps_taken]


def normalized(advantages: Tensor) -> Tensor:
    """Return advantages of zero mean and unit deviation (Engstrom et al. 2020, §3).

    Args:
        advantages: (B,), B ≥ 2.

    Returns:
        (B,).
    """
    return (advantages - advantages.mean()) / (advantages.std() + 1e-8)
