"""Fixtures: small policies in float64 for each of the four action spaces, and batches of their own samples."""

from collections.abc import Callable
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor

from trpo.agents.batch import Batch
from trpo.agents.encoders import flat_features
from trpo.agents.policies import Policy, PolicyConfig, make_policy

torch.set_num_threads(1)  # tests share their cores with one another

OBSERVATION_SIZE = 5
ACTION_SPACES = {
    "box": gym.spaces.Box(-1.0, 1.0, (3,), np.float64),
    "discrete": gym.spaces.Discrete(4),
    "multidiscrete": gym.spaces.MultiDiscrete([3, 2, 4]),
    "multibinary": gym.spaces.MultiBinary(3),
}
HIDDEN = {"linear": (), "one layer": (7,), "two layers": (6, 5)}


@dataclass(frozen=True)
class Problem:
    """A policy, and a batch that it sampled, with advantages that are noise."""

    policy: Policy
    batch: Batch


def flat_parameters(policy: Policy) -> Tensor:
    return torch.cat([parameter.detach().reshape(-1) for parameter in policy.parameters()])


def make_problem(
    space: gym.Space, hidden: tuple[int, ...], size: int = 40, seed: int = 0
) -> Problem:
    generator = torch.Generator().manual_seed(seed)
    policy = make_policy(
        flat_features(OBSERVATION_SIZE),
        space,
        PolicyConfig(hidden=hidden, initial_log_std=-0.5),
        generator,
    ).double()
    with torch.no_grad():
        for parameter in (
            policy.parameters()
        ):  # away from the near-uniform start, so that every block of F matters
            parameter += 0.3 * torch.randn(
                parameter.shape, generator=generator, dtype=torch.float64
            )
        observations = torch.randn(size, OBSERVATION_SIZE, generator=generator, dtype=torch.float64)
        output = policy.network(observations)
        actions = policy.act(output, policy.draw_noise(1, size, generator)[0].double())
        batch = Batch(
            observations=observations,
            actions=actions,
            log_probs=policy.distribution(output).log_prob(actions),
            advantages=torch.randn(size, generator=generator, dtype=torch.float64),
            returns=torch.randn(size, generator=generator, dtype=torch.float64),
            times=torch.arange(size),
            environments=torch.zeros(size, dtype=torch.int64),
        )
    return Problem(policy, batch)


@pytest.fixture(params=ACTION_SPACES)
def action_space(request: pytest.FixtureRequest) -> gym.Space:
    return ACTION_SPACES[request.param]


@pytest.fixture(params=HIDDEN)
def problem(request: pytest.FixtureRequest, action_space: gym.Space) -> Problem:
    """Every action space with every depth."""
    return make_problem(action_space, HIDDEN[request.param])


@pytest.fixture(scope="session")
def problem_of() -> Callable[..., Problem]:
    """The maker of problems, for tests that choose their own."""
    return make_problem
