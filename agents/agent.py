"""What is trained and saved together: policy, value function, and the statistics that stand between them and the world."""

import gymnasium as gym
from torch import nn

from trpo.agents.config import LearnerConfig
from trpo.agents.normalization import ObservationNormalizer, RewardScaler
from trpo.agents.policies import make_policy
from trpo.agents.randomness import Component, Randomness
from trpo.agents.value_function import ValueFunction


class Agent(nn.Module):
    """Policy, value function and normalisers for one pair of spaces; its `state_dict` is all that acting needs.

    Args:
        observation_space: flat Box of one environment, shape (O,).
        action_space: of one environment.
        config: networks, normalisation, and the discount that scaled rewards share.
        randomness: source of the initial weights.
    """

    def __init__(
        self,
        observation_space: gym.Space,
        action_space: gym.Space,
        config: LearnerConfig,
        randomness: Randomness,
    ) -> None:
        super().__init__()
        size = gym.spaces.flatdim(observation_space)
        self.policy = make_policy(
            size, action_space, config.policy, randomness.generator(Component.POLICY)
        )
        self.value_function = ValueFunction(
            size, config.value, randomness.generator(Component.VALUE)
        )
        self.observation_normalizer = ObservationNormalizer(size, config.normalize.observation_clip)
        self.reward_scaler = RewardScaler(config.trainer.gamma)
