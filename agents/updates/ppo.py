"""Proximal policy optimisation (Schulman et al. 2017) as an update rule."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.optim import Adam, Optimizer

from trpo.agents.policies import Policy
from trpo.agents.updates.batch import Batch
from trpo.agents.updates.minibatches import descend
from trpo.agents.updates.update_rule import UpdateRule, importance_weighted_advantage
from trpo.model import surrogate_gradient
from trpo.reducer import SERIAL, Reducer
from trpo.report import StepReport
from trpo.validation import require, require_numbers


@dataclass(frozen=True)
class PpoConfig:
    """The clipped surrogate."""

    learning_rate: float = 3e-4
    """Adam's step size (Schulman et al. 2017, table 3)."""
    clip_ratio: float = 0.2
    """ε: where the ratio has moved beyond 1 ± ε in the advantage's direction, the surrogate's
    gradient is zero (Schulman et al. 2017, table 1)."""
    epochs: int = 10
    """Passes over the batch (Schulman et al. 2017, table 3)."""
    minibatch_size: int = 64
    """Samples per minibatch (Schulman et al. 2017, table 3)."""
    max_gradient_norm: float = 0.5
    """Maximum gradient norm (Huang et al. 2022, detail 11)."""

    def __post_init__(self) -> None:
        require_numbers(self)
        require(self, "learning_rate", 0 < self.learning_rate < math.inf, "a number > 0")
        require(self, "clip_ratio", 0 < self.clip_ratio < 1, "a number in (0, 1)")
        require(self, "epochs", self.epochs >= 1, "an integer ≥ 1")
        require(self, "minibatch_size", self.minibatch_size >= 1, "an integer ≥ 1")
        require(self, "max_gradient_norm", self.max_gradient_norm > 0, "a number > 0")


def clipped_surrogate(distribution: Distribution, batch: Batch, clip_ratio: float) -> Tensor:
    """Return min(r Â, clip(r, 1 − ε, 1 + ε) Â), r = π_θ(a|s) / π_old(a|s).

    Schulman et al. 2017, equation 7.

    Args:
        distribution: π_θ at the batch's states.
        batch: b samples of π_old.
        clip_ratio: ε.

    Returns:
        (b,).
    """
    ratio = torch.exp(distribution.log_prob(batch.actions) - batch.log_probs)  # (b,)
    clipped = ratio.clamp(1 - clip_ratio, 1 + clip_ratio)
    return torch.minimum(ratio * batch.advantages, clipped * batch.advantages)


class Ppo(UpdateRule):
    """Epochs of Adam on shuffled minibatches of a batch.

    Args:
        policy: updated in place.
        config: clipping and effort.
        microbatch_size: maximum samples per forward/backward pass when the batch is measured.
        reducer: sums the results, and the gradients of minibatches, over threads and processes.
    """

    def __init__(
        self, policy: Policy, config: PpoConfig, microbatch_size: int, reducer: Reducer = SERIAL
    ) -> None:
        super().__init__(policy, microbatch_size, reducer)
        self.config = config
        # eps: Huang et al. 2022, detail 3
        self.optimizer: Optimizer = Adam(
            policy.parameters(), config.learning_rate, eps=1e-5, fused=True
        )

    def __call__(self, batch: Batch, generator: torch.Generator) -> StepReport:  # noqa: D102
        microbatches = self.microbatches(batch)
        _, g = surrogate_gradient(
            self.model, importance_weighted_advantage, microbatches, self.reducer
        )  # g: (P,), at θ_old also the clipped surrogate's
        return self.measured_update(microbatches, g, lambda: self._ascend(batch, generator))

    def _ascend(self, batch: Batch, generator: torch.Generator) -> None:
        descend(
            self.optimizer,
            self._loss,
            batch,
            self.config.epochs,
            self.config.minibatch_size,
            generator,
            self.reducer,
            self.config.max_gradient_norm,
        )

    def _loss(self, minibatch: Batch) -> Tensor:
        distribution = self.policy.distribution(self.policy.network(minibatch.observations))
        return -clipped_surrogate(distribution, minibatch, self.config.clip_ratio).mean()
