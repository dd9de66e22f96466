"""Partially observable environments, which need a recurrent policy.

`trpo train CartPole-v1 --wrapper trpo.scripts.benchmarks.partial:without_velocities`.
"""

import gymnasium as gym
import numpy as np
from gymnasium.wrappers import TransformObservation

POSITIONS = [0, 2]  # cart and pole, of CartPole's observation; their velocities come after each


def without_velocities(env: gym.Env) -> gym.Env:
    """Show only CartPole's positions.

    Args:
        env: CartPole.

    Returns:
        The same, of observations (2,): where the cart is, and the pole's angle.
    """
    whole = env.observation_space
    assert isinstance(whole, gym.spaces.Box)
    shown = gym.spaces.Box(whole.low[POSITIONS], whole.high[POSITIONS], dtype=np.float32)
    return TransformObservation(env, lambda observation: observation[POSITIONS], shown)
