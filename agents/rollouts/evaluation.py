"""Evaluation: whole episodes, one per environment, so that short ones do not count more."""

from collections.abc import Sequence

import numpy as np
import torch

from trpo.agents.agent import Agent
from trpo.agents.networks.masks import MASK, MaskedNetwork
from trpo.agents.observations import leaves
from trpo.agents.randomness import Component, Randomness
from trpo.agents.rollouts.rollout import (
    BrokenEnvironmentError,
    Episode,
    VectorEnvironment,
    check_masks,
    environment_errors,
)

MAX_STEPS = 100_000
"""Default limit on an episode's steps: far more than any terminating environment needs."""


def evaluate(
    env: VectorEnvironment,
    agent: Agent,
    seed: int,
    generator: torch.Generator | None,
    max_steps: int = MAX_STEPS,
) -> list[Episode]:
    """Play the first episode of each of N environments to its end.

    Args:
        env: of the agent's spaces.
        agent: left as it is, statistics included.
        seed: of the environments.
        generator: source of the actions' noise; `None` for the deterministic policy.
        max_steps: steps after which an episode is cut off.

    Returns:
        N episodes, in raw rewards.

    Raises:
        BrokenEnvironmentError: if an environment raises, returns non-finite numbers, or a mask that
            allows nothing.
    """
    with environment_errors():
        observations, _ = env.reset(seed=seed)
    playing = np.ones(env.num_envs, dtype=bool)
    returns, lengths = np.zeros(env.num_envs), np.zeros(env.num_envs, dtype=np.int64)
    state = None
    masked = isinstance(agent.policy.network, MaskedNetwork)
    for t in range(max_steps):
        _check_finite("an observation", leaves(observations))
        if masked:
            check_masks(observations[MASK], agent.policy.family.choices(), playing, 0, t)
        actions, state = agent.act(observations, state, generator is None, generator)
        with environment_errors():
            observations, rewards, terminated, truncated, _ = env.step(actions)
            returns += np.where(playing, rewards, 0.0)
            lengths += playing
            playing &= ~(terminated | truncated)
        _check_finite("a reward", [returns])
        if not playing.any():
            break
    episodes = zip(returns.tolist(), lengths.tolist(), (~playing).tolist(), strict=True)
    return [Episode(*episode) for episode in episodes]


def evaluate_from(
    first: int,
    env: VectorEnvironment,
    agent: Agent,
    randomness: Randomness,
    deterministic: bool,
    max_steps: int = MAX_STEPS,
) -> list[Episode]:
    """Play N of an evaluation's episodes, those whose numbers begin with `first`.

    Args:
        first: number of the first.
        env: N environments, of the agent's spaces.
        agent: left as it is, statistics included.
        randomness: of the evaluation.
        deterministic: whether to take the deterministic actions, or to sample.
        max_steps: after which an episode is cut off.

    Returns:
        N episodes, in raw rewards.

    Raises:
        BrokenEnvironmentError: as `evaluate` does.
    """
    seed = randomness.integer(Component.EVALUATION) + first
    noise = None if deterministic else randomness.generator(Component.ACTIONS, first)
    return evaluate(env, agent, seed, noise, max_steps)


def _check_finite(name: str, arrays: Sequence[np.ndarray]) -> None:
    if not all(np.isfinite(array).all() for array in arrays):
        raise BrokenEnvironmentError(f"returned {name} that is not finite")
