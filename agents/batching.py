"""From a rollout to the batch that an update learns from: advantages, returns, old log-probs."""

import torch
from torch import Tensor

from trpo.agents.advantages import AdvantageEstimator, generalized_advantages
from trpo.agents.agent import Agent
from trpo.agents.batch import Batch
from trpo.agents.config import TrainerConfig
from trpo.agents.observations import map_leaves, select
from trpo.agents.order import Order
from trpo.agents.policies import Policy
from trpo.agents.rollout import Rollout
from trpo.reducer import SERIAL, Reducer


@torch.no_grad()
def make_batch(
    rollout: Rollout,
    rewards: Tensor,
    agent: Agent,
    acting: Policy,
    config: TrainerConfig,
    estimate_advantages: AdvantageEstimator = generalized_advantages,
    reducer: Reducer = SERIAL,
) -> tuple[Batch, Tensor]:
    """Estimate advantages and returns, and take the B valid steps.

    Args:
        rollout: T steps of N environments.
        rewards: (T, N), as they are to be learned from.
        agent: whose rollout it is.
        acting: the policy that acted, where the rollout is: the agent's, or a copy.
        config: discounts, and how many observations to look at together.
        estimate_advantages: takes what `generalized_advantages` takes.
        reducer: brings every process's samples together.

    Returns:
        The batch, on the agent's device, and V at its states, (B,), there too.
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
    old_policy = acting.distribution(rollout.outputs[steps_taken])
    times, environments = steps_taken
    batch = Batch(
        observations=select(rollout.observations, steps_taken),
        actions=actions,
        log_probs=old_policy.log_prob(actions),
        advantages=normalized(advantages[steps_taken], reducer),
        returns=returns[steps_taken],
        times=times,
        environments=environments,
        deviation=agent.advantage_scale.update(advantages[steps_taken], reducer),
        order=Order.of(rollout.valid, reducer),
    )
    return batch.to(agent.device), values[steps_taken].to(agent.device)


def normalized(advantages: Tensor, reducer: Reducer = SERIAL) -> Tensor:
    """Return advantages of zero mean and unit deviation (Engstrom et al. 2020, §3).

    Args:
        advantages: (B,), B ≥ 2.
        reducer: brings every process's samples together.

    Returns:
        (B,).
    """
    _, mean, variance = reducer.moments(advantages)
    return (advantages - mean) / (variance.sqrt() + 1e-8)
