"""The plain policy gradient (Williams 1992) as an update rule: one first-order step per batch."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.optim import SGD, Adagrad, Adam, Optimizer, RMSprop

from trpo.agents.policies import Policy
from trpo.agents.updates.batch import Batch
from trpo.agents.updates.update_rule import UpdateRule
from trpo.model import surrogate_gradient
from trpo.parameters import unflatten
from trpo.reducer import SERIAL, Reducer
from trpo.report import StepReport
from trpo.validation import require, require_numbers

OptimizerName = Literal["sgd", "momentum", "adagrad", "rmsprop", "adam"]
OPTIMIZERS: dict[OptimizerName, Callable[[Sequence[Tensor], float], Optimizer]] = {
    "sgd": SGD,
    "momentum": lambda parameters, learning_rate: SGD(parameters, learning_rate, momentum=0.9),
    "adagrad": Adagrad,
    "rmsprop": RMSprop,
    "adam": Adam,
}


@dataclass(frozen=True)
class VpgConfig:
    """The plain policy gradient."""

    optimizer: OptimizerName = "adam"
    """torch.optim optimizer, with its defaults (momentum: SGD with 0.9)."""
    learning_rate: float = 0.01
    """The optimizer's learning rate; larger than PPO's, as there is one step per batch."""

    def __post_init__(self) -> None:
        require_numbers(self)
        require(self, "learning_rate", 0 < self.learning_rate < math.inf, "a number > 0")


def log_prob_weighted_advantage(distribution: Distribution, batch: Batch) -> Tensor:
    """Return log π_θ(a|s) · Â: its mean's gradient is the policy's (Sutton et al. 2000, thm. 1).

    Args:
        distribution: π_θ at the batch's states.
        batch: b samples of π_θ.

    Returns:
        (b,).
    """
    return distribution.log_prob(batch.actions) * batch.advantages


class Vpg(UpdateRule):
    """One optimizer step along E[∇ log π_θ(a|s) Â] per batch.

    Args:
        policy: updated in place.
        config: optimizer and step size.
        microbatch_size: maximum samples per forward/backward pass.
        reducer: sums the results over threads and processes.
    """

    def __init__(
        self, policy: Policy, config: VpgConfig, microbatch_size: int, reducer: Reducer = SERIAL
    ) -> None:
        super().__init__(policy, microbatch_size, reducer)
        self.optimizer: Optimizer = OPTIMIZERS[config.optimizer](
            list(policy.parameters()), config.learning_rate
        )

    def __call__(self, batch: Batch, generator: torch.Generator) -> StepReport:  # noqa: ARG002, D102 nothing here is random
        microbatches = self.microbatches(batch)
        _, g = surrogate_gradient(
            self.model, log_prob_weighted_advantage, microbatches, self.reducer
        )  # g: (P,)

        def update() -> None:
            for parameter, piece in zip(
                self.model.parameters, unflatten(-g, self.model.parameters), strict=True
            ):
                parameter.grad = piece  # the loss's gradient, which the optimizer descends
            self.optimizer.step()

        return self.measured_update(microbatches, g, update)
