"""The natural policy gradient (Kakade 2001) as an update rule: TRPO's direction, with nothing to check where it leads."""

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch

from trpo.agents.batch import Batch
from trpo.agents.policies import Policy
from trpo.agents.update_rule import UpdateRule, importance_weighted_advantage, measured_update
from trpo.conjugate_gradient import conjugate_gradient
from trpo.fisher import fisher_vector_product
from trpo.model import surrogate_gradient
from trpo.parameters import assign, flatten
from trpo.trust_region import Status, StepReport, TrustRegionConfig
from trpo.validation import require


@dataclass(frozen=True)
class NpgConfig:
    """The natural policy gradient."""

    scaling: Literal["kl", "fixed"] = "kl"
    """kl: as long a step as KL's quadratic model allows for target_kl (Rajeswaran et al. 2017);
    fixed: step_size · x."""
    target_kl: float = 0.02
    """With scaling kl: the KL(old ‖ new) to aim at, in nats."""
    step_size: float = 0.1
    """With scaling fixed: α in θ + αx (Kakade 2001)."""
    damping: float = 0.1
    """β in (F + βI)x = g."""
    cg_iterations: int = 10
    """Conjugate-gradient iterations at most."""

    def __post_init__(self) -> None:
        require(self, "target_kl", 0 < self.target_kl < math.inf, "a number of nats > 0")
        require(self, "step_size", 0 < self.step_size < math.inf, "a number > 0")
        require(self, "damping", 0 <= self.damping < math.inf, "a number ≥ 0")
        require(self, "cg_iterations", self.cg_iterations >= 1, "an integer ≥ 1")


class Npg(UpdateRule):
    """One step along x ≈ (F + βI)⁻¹g a batch: α · x, or √(2δ / xᵀ(F + βI)x) · x.

    Args:
        policy: updated in place.
        config: length of the step, and what is spent on its direction.
        chunk_size: samples whose graphs are in memory at a time.
    """

    def __init__(self, policy: Policy, config: NpgConfig, chunk_size: int) -> None:
        super().__init__(policy, chunk_size)
        self.config = config

    def __call__(self, batch: Batch, generator: torch.Generator) -> StepReport:  # noqa: ARG002, D102 nothing here is random
        chunks = batch.chunks(self.chunk_size)
        surrogate_before, g = surrogate_gradient(
            self.model, importance_weighted_advantage, chunks
        )  # (P,)
        gradient_norm = g.norm(dtype=torch.float64).item()
        if not math.isfinite(gradient_norm):
            return StepReport(Status.NON_FINITE, surrogate_before, gradient_norm)
        if gradient_norm == 0:
            return StepReport(Status.ZERO_GRADIENT, surrogate_before, gradient_norm)

        Fv = fisher_vector_product(self.model, chunks)
        damping = self.config.damping
        solution = conjugate_gradient(
            lambda v: Fv(v) + damping * v,
            g,
            self.config.cg_iterations,
            TrustRegionConfig.cg_tolerance,
        )
        x, xAx = solution.x, solution.quadratic_form
        if not 0 < xAx < math.inf:
            return StepReport(Status.NO_CURVATURE, surrogate_before, gradient_norm)

        alpha = (
            math.sqrt(2 * self.config.target_kl / xAx)
            if self.config.scaling == "kl"
            else self.config.step_size
        )
        theta_old = flatten(self.model.parameters).detach()
        report = measured_update(
            self.model, chunks, g, lambda: assign(self.model.parameters, theta_old + alpha * x)
        )
        return replace(
            report,
            curvature=xAx - damping * x.norm(dtype=torch.float64).item() ** 2,
            cg_iterations=solution.iterations,
            cg_residual=solution.relative_residual,
            smallest_ritz=solution.ritz_values[0],
            largest_ritz=solution.ritz_values[-1],
        )
