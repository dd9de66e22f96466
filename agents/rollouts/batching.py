"""From a rollout to the batch that an update learns from: advantages, returns, old log-probs."""

import torch
from torch import Tensor

from trpo.agents.agent import Agent
from trpo.agents.config import TrainerConfig
from trpo.agents.networks.recurrence import RecurrentFeatures, one_step, sequences
from trpo.agents.observations import Observation, map_leaves, select, to_device
from trpo.agents.order import Order
from trpo.agents.policies import Policy
from trpo.agents.rollouts.advantages import AdvantageEstimator, generalized_advantages
from trpo.agents.rollouts.rollout import Rollout
from trpo.agents.updates.batch import Batch
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
        rewards: (T, N), scaled for learning.
        agent: whose rollout it is.
        acting: the policy that acted, on the rollout's device: the agent's, or a copy.
        config: discounts, and the size of microbatches.
        estimate_advantages: has the signature of `generalized_advantages`.
        reducer: pools the samples of all processes.

    Returns:
        The batch, on the agent's device, and V at its states, (B,), there too.
    """
    values = values_of(rollout, agent, config.microbatch_size)  # (T + 1, N)
    advantages = estimate_advantages(  # (T, N)
        rewards,
        values,
        rollout.terminated,
        rollout.truncated,
        config.gamma,
        config.gae_lambda,
    )
    returns = advantages + values[:-1]
    observations, steps_taken = samples_of(rollout)
    actions = rollout.actions[steps_taken]
    outputs = rollout.outputs[steps_taken]
    if rollout.memories:  # unrolled as they will be in the update, so that the ratio is 1 there
        outputs = acting.network(observations)
    old_policy = acting.distribution(outputs)
    times, environments = steps_taken
    order = (
        Order.by_environment(len(times), reducer)
        if rollout.memories
        else Order.of(rollout.valid, reducer)
    )
    batch = Batch(
        observations=observations,
        actions=actions,
        log_probs=old_policy.log_prob(actions),
        advantages=normalized(advantages[steps_taken], reducer),
        returns=returns[steps_taken],
        times=times,
        environments=environments,
        deviation=agent.advantage_scale.update(advantages[steps_taken], reducer),
        order=order,
    )
    return batch.to(agent.device), values[steps_taken].to(agent.device)


def values_of(rollout: Rollout, agent: Agent, microbatch_size: int) -> Tensor:
    """Return V of every observation; a recurrent V is unrolled, and its state carried on.

    Args:
        rollout: T steps of N environments.
        agent: whose V it is.
        microbatch_size: maximum observations per forward pass.

    Returns:
        (T + 1, N), on the CPU.
    """
    steps, envs = rollout.rewards.shape
    if not rollout.memories:
        flat = map_leaves(lambda leaf: leaf.flatten(0, 1), rollout.observations)  # ((T + 1)·N, …)
        return agent.values(flat, microbatch_size).view(steps + 1, envs)
    begins = torch.cat([torch.ones(1, envs, dtype=torch.bool), ~rollout.valid[:-1]])  # (T, N)
    observations = select(rollout.observations, slice(-1))
    in_a_row = sequences(observations, begins, rollout.memories)
    network = agent.value_function.network
    assert isinstance(network.features, RecurrentFeatures)
    name = network.features.name  # V's memory, or the policy's
    values, memories = network.step(to_device(in_a_row, agent.device))  # (N·T, 1), (S, M)
    last = begins.sum(0).cumsum(0) - 1  # (N,), each environment's last sequence
    memory = rollout.remembered[name]
    memory.copy_(memories.cpu()[last] * rollout.valid[-1][:, None])
    final = one_step(select(rollout.observations, steps), memory, name)
    after, _ = network.step(to_device(final, agent.device))  # (N, 1)
    return torch.cat([values.view(envs, steps).T, after.T]).cpu()


def samples_of(rollout: Rollout) -> tuple[Observation, tuple[Tensor, Tensor]]:
    """Return the observations at the valid steps, and their times and environments.

    Args:
        rollout: T steps of N environments.

    Returns:
        B observations, ordered by time, or as concatenated sequences if recurrent; and two tensors
        (B,).
    """
    if not rollout.memories:
        times, environments = rollout.valid.nonzero(as_tuple=True)
        return select(rollout.observations, (times, environments)), (times, environments)
    environments, times = rollout.valid.T.nonzero(as_tuple=True)
    begins = torch.cat([rollout.valid[:1], ~rollout.valid[:-1]])  # (T, N)
    observations = select(rollout.observations, slice(-1))
    in_a_row = sequences(observations, begins, rollout.memories)
    return select(in_a_row, rollout.valid.T.flatten()), (times, environments)


def normalized(advantages: Tensor, reducer: Reducer = SERIAL) -> Tensor:
    """Return advantages of zero mean and unit standard deviation (Huang et al. 2022, detail 7).

    Args:
        advantages: (B,), B ≥ 2.
        reducer: pools the samples of all processes.

    Returns:
        (B,).
    """
    _, mean, variance = reducer.moments(advantages)
    return (advantages - mean) / (variance.sqrt() + 1e-8)
