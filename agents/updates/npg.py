"""The natural policy gradient (Kakade 2001) as an update rule: TRPO's direction, unchecked."""

import math
from dataclasses import dataclass
from typing import Literal

import torch

from trpo.agents.policies import Policy
from trpo.agents.updates.batch import Batch
from trpo.agents.updates.update_rule import UpdateRule, importance_weighted_advantage
from trpo.model import surrogate_gradient
from trpo.parameters import assign, flatten, norm
from trpo.reducer import SERIAL, Reducer
from trpo.report import Status, StepReport, bad_gradient
from trpo.trust_region import TrustRegionConfig, natural_direction
from trpo.validation import require, require_numbers


@dataclass(frozen=True)
class NpgConfig:
    """The natural policy gradient."""

    scaling: Literal["kl", "fixed"] = "kl"
    """kl: scale the step so that the quadratic model of KL equals target_kl (Rajeswaran et al.
    2017); fixed: step_size · x."""
    target_kl: float = 0.02
    """With scaling kl: target KL(old ‖ new), in nats."""
    step_size: float = 0.1
    """With scaling fixed: α in θ + αx (Kakade 2001)."""
    damping: float = 0.1
    """β in (F + βI)x = g."""
    cg_iterations: int = 10
    """Maximum conjugate-gradient iterations."""

    def __post_init__(self) -> None:
        require_numbers(self)
        require(self, "target_kl", 0 < self.target_kl < math.inf, "a number of nats > 0")
        require(self, "step_size", 0 < self.step_size < math.inf, "a number > 0")
        require(self, "damping", 0 <= self.damping < math.inf, "a number ≥ 0")
        require(self, "cg_iterations", self.cg_iterations >= 1, "an integer ≥ 1")


class Npg(UpdateRule):
    """One step along x ≈ (F + βI)⁻¹g per batch: α · x, or √(2δ / xᵀ(F + βI)x) · x.

    Args:
        policy: updated in place.
        config: length of the step, and the effort spent on its direction.
        microbatch_size: maximum samples per forward/backward pass.
        reducer: sums the results over threads and processes.
    """

    def __init__(
        self, policy: Policy, config: NpgConfig, microbatch_size: int, reducer: Reducer = SERIAL
    ) -> None:
        super().__init__(policy, microbatch_size, reducer)
        self.config = config

    def __call__(self, batch: Batch, generator: torch.Generator) -> StepReport:  # noqa: ARG002, D102 nothing here is random
        microbatches = self.microbatches(batch)
        surrogate_before, g = surrogate_gradient(
            self.model, importance_weighted_advantage, microbatches, self.reducer
        )  # g: (P,)
        if status := bad_gradient(surrogate_before, g):
            return StepReport(status, surrogate_before, norm(g))

        config = self.config
        solution = natural_direction(
            self.model,
            g,
            microbatches,
            config.damping,
            config.cg_iterations,
            TrustRegionConfig.cg_tolerance,
            self.reducer,
        )
        if not 0 < solution.quadratic_form < math.inf:
            return StepReport(Status.NO_CURVATURE, surrogate_before, norm(g))

        alpha = (
            math.sqrt(2 * config.target_kl / solution.quadratic_form)
            if config.scaling == "kl"
            else config.step_size
        )
        theta_old = flatten(self.model.parameters).detach()
        return self.measured_update(
            microbatches,
            g,
            lambda: assign(self.model.parameters, theta_old + alpha * solution.x),
            solution,
        )
