"""Inputs for solutions: small policies and batches, a matrix of known spectrum."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Normal

STATES, OBSERVATION, ACTIONS, CHOICES = 7, 3, 2, 3  # B, O, A, and choices of a categorical action


class Batch(NamedTuple):
    """B samples: observations (B, O), actions (B, A), advantages (B,)."""

    observations: Tensor
    actions: Tensor
    advantages: Tensor


class FixturePolicy(nn.Module):
    """A tanh network in float64, with distributions of batch shape (B, A)."""

    def __init__(self, outputs: int, generator: torch.Generator) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Linear(OBSERVATION, 4), nn.Tanh(), nn.Linear(4, outputs)
        ).double()
        for parameter in self.network.parameters():
            nn.init.normal_(parameter, std=0.6, generator=generator)


class GaussianPolicy(FixturePolicy):
    """N(mean(s), exp(log_std)²) in each of A dimensions."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__(ACTIONS, generator)
        self.log_std = nn.Parameter(torch.tensor([-0.4, 0.3], dtype=torch.float64))

    def forward(self, observations: Tensor) -> Distribution:
        """Return π(·|s), of batch shape (B, A).

        Args:
            observations: (B, O).

        Returns:
            A Normal.
        """
        mean = self.network(observations)
        return Normal(mean, self.log_std.exp().expand_as(mean), validate_args=False)


class CategoricalPolicy(FixturePolicy):
    """A choice among three in each of A dimensions."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__(ACTIONS * CHOICES, generator)

    def forward(self, observations: Tensor) -> Distribution:
        """Return π(·|s), of batch shape (B, A).

        Args:
            observations: (B, O).

        Returns:
            A Categorical.
        """
        return Categorical(logits=self.network(observations).unflatten(-1, (ACTIONS, CHOICES)))


def gaussian(seed: int = 0) -> GaussianPolicy:
    """Return the Gaussian policy of a seed, always the same.

    Args:
        seed: of its parameters.

    Returns:
        A new policy.
    """
    return GaussianPolicy(torch.Generator().manual_seed(seed))


def categorical(seed: int = 0) -> CategoricalPolicy:
    """Return the categorical policy of a seed, always the same.

    Args:
        seed: of its parameters.

    Returns:
        A new policy.
    """
    return CategoricalPolicy(torch.Generator().manual_seed(seed))


@torch.no_grad()
def moved(policy: FixturePolicy, distance: float = 0.2) -> FixturePolicy:
    """Move a policy's parameters at random, in place.

    Args:
        policy: to move.
        distance: standard deviation of each parameter's move.

    Returns:
        The same policy.
    """
    generator = torch.Generator().manual_seed(9)
    for parameter in policy.parameters():
        move = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.add_(move, alpha=distance)
    return policy


def batch_of(policy: FixturePolicy) -> Batch:
    """Return B samples with advantages that are noise, and whose mean is not 0.

    Args:
        policy: determines the kind of actions.

    Returns:
        The same batch at each call.
    """
    generator = torch.Generator().manual_seed(1)
    observations = torch.randn(STATES, OBSERVATION, generator=generator, dtype=torch.float64)
    advantages = torch.randn(STATES, generator=generator, dtype=torch.float64) + 0.3
    shape = (STATES, ACTIONS)
    actions = (
        torch.randn(shape, generator=generator, dtype=torch.float64)
        if isinstance(policy, GaussianPolicy)
        else torch.randint(CHOICES, shape, generator=generator)
    )
    return Batch(observations, actions, advantages)


def parameter_vector(policy: nn.Module, seed: int = 2) -> Tensor:
    """Return a random vector as long as θ.

    Args:
        policy: whose θ.
        seed: of the vector.

    Returns:
        (P,).
    """
    size = sum(parameter.numel() for parameter in policy.parameters())
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, generator=generator, dtype=torch.float64)


def symmetric_matrix() -> Tensor:
    """Return a positive definite (6, 6) matrix with eigenvalues from 0.5 to 8."""
    generator = torch.Generator().manual_seed(3)
    Q, _ = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64))
    spectrum = torch.tensor([0.5, 1.0, 2.0, 3.5, 5.0, 8.0], dtype=torch.float64)
    return Q @ torch.diag(spectrum) @ Q.T


def right_side() -> Tensor:
    """Return b, (6,), of length about 2."""
    return torch.randn(6, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
