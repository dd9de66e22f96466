"""`evaluate_policy`: how good a policy is, in one call."""

from contextlib import ExitStack

import numpy as np

from trpo.agents.agent import Agent
from trpo.agents.randomness import Component, Randomness, shared_generators_kept
from trpo.agents.rollouts.environments import MakeEnvironments, close, make_environments
from trpo.agents.rollouts.evaluation import evaluate_from
from trpo.agents.rollouts.rollout import Episode, VectorEnvironment
from trpo.validation import ConfigError


def evaluate_policy(
    agent: Agent,
    make_env: MakeEnvironments | VectorEnvironment,
    episodes: int = 100,
    deterministic: bool = True,
    seed: int = 0,
) -> tuple[float, float]:
    """Play whole episodes, and return the mean and the standard deviation of their returns.

        mean, std = evaluate_policy(trainer.agent, make_env, episodes=100)

    Later training is not affected.

    Args:
        agent: left as it is, statistics included.
        make_env: seed ↦ N environments, as `Trainer` takes it; or a vector environment, which is
            reset, and stays the caller's to close.
        episodes: to play, N at a time.
        deterministic: whether to take the deterministic actions, or to sample.
        seed: of environments and actions; with N = `episodes`, they are those of
            `trpo evaluate --seed`.

    Returns:
        Mean and standard deviation, in raw rewards.

    Raises:
        ConfigError: if `episodes` < 1, or `make_env` or its spaces do not fit.
        BrokenEnvironmentError: if an environment raises, or returns what is not finite.
    """
    if episodes < 1:
        raise ConfigError(f"episodes = {episodes!r} is out of range: expected an integer ≥ 1")
    randomness = Randomness(seed)
    played: list[Episode] = []
    with ExitStack() as unused, shared_generators_kept():
        if callable(make_env) or not hasattr(make_env, "num_envs"):
            env = make_environments(make_env, randomness.integer(Component.EVALUATION))
            unused.callback(close, env)
        else:
            env = make_env
        while len(played) < episodes:
            played += evaluate_from(len(played), env, agent, randomness, deterministic)
    # by number, not by which end first: those are the short ones
    returns = np.array([episode.undiscounted_return for episode in played[:episodes]])
    return float(returns.mean()), float(returns.std())
