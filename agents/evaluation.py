"""How good a policy is: whole episodes, one from each environment, so that short ones are not counted more often."""

import numpy as np
import torch
from gymnasium.vector import VectorEnv

from trpo.agents.agent import Agent
from trpo.agents.rollout import Episode


@torch.inference_mode()
def evaluate(
    env: VectorEnv, agent: Agent, seed: int, generator: torch.Generator | None
) -> list[Episode]:
    """Play the first episode of each of N environments to its end.

    Args:
        env: observations (N, O), actions (N, A).
        agent: left as it is, normalisation included.
        seed: of the environments.
        generator: source of the actions' noise; `None` for the deterministic policy, the
            distribution's mode.

    Returns:
        N episodes, in raw rewards.
    """
    observations, _ = env.reset(seed=seed)
    playing = np.ones(env.num_envs, dtype=bool)
    returns, lengths = np.zeros(env.num_envs), np.zeros(env.num_envs, dtype=np.int64)
    while playing.any():
        normalized = agent.observation_normalizer(
            torch.as_tensor(observations, dtype=torch.float32)
        )
        noise = agent.policy.draw_noise(1, env.num_envs, generator)[0] if generator else None
        actions = agent.policy.act(agent.policy.network(normalized), noise)
        observations, rewards, terminated, truncated, _ = env.step(actions.numpy())
        returns += rewards * playing
        lengths += playing
        playing &= ~(terminated | truncated)
    return [Episode(*episode) for episode in zip(returns.tolist(), lengths.tolist(), strict=True)]
