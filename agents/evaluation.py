"""How good a policy is: whole episodes, one an environment, so that short ones count once."""

import numpy as np
import torch
from gymnasium.vector import VectorEnv

from trpo.agents.agent import Agent
from trpo.agents.rollout import Episode


def evaluate(
    env: VectorEnv, agent: Agent, seed: int, generator: torch.Generator | None
) -> list[Episode]:
    """Play the first episode of each of N environments to its end.

    Args:
        env: of the agent's spaces.
        agent: left as it is, statistics included.
        seed: of the environments.
        generator: source of the actions' noise; `None` for the deterministic policy.

    Returns:
        N episodes, in raw rewards.
    """
    observations, _ = env.reset(seed=seed)
    playing = np.ones(env.num_envs, dtype=bool)
    returns, lengths = np.zeros(env.num_envs), np.zeros(env.num_envs, dtype=np.int64)
    while playing.any():
        actions, _ = agent.act(observations, deterministic=generator is None, generator=generator)
        observations, rewards, terminated, truncated, _ = env.step(actions)
        returns += rewards * playing
        lengths += playing
        playing &= ~(terminated | truncated)
    return [Episode(*episode) for episode in zip(returns.tolist(), lengths.tolist(), strict=True)]
