"""The trust-region step: the natural gradient scaled to the KL limit, measured, backtracked."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from trpo.conjugate_gradient import Solution, conjugate_gradient
from trpo.fisher import fisher_vector_product
from trpo.line_search import backtracking_line_search
from trpo.measurement import measure_against_present
from trpo.model import Microbatch, Model, Surrogate, keep_linearizations, surrogate_gradient
from trpo.parameters import norm
from trpo.reducer import SERIAL, Reducer
from trpo.report import Status, StepReport, bad_gradient, measured_report
from trpo.validation import require, require_numbers


@dataclass(frozen=True)
class StepConfig:
    """How far a step may go, and the effort spent on finding it."""

    max_kl: float = 0.02
    """Trust region δ, in nats: E_s[KL(old ‖ new)] stays at or below it."""
    step_size: float = math.inf
    """η: the step is ηx, or shorter where δ requires it: δ is a limit, not a target (Kakade 2001).
    inf: as far as δ allows."""
    damping: float = 0.1
    """β in (F + βI)x = g (Schulman et al. 2015's released code)."""
    cg_iterations: int = 10
    """Maximum conjugate-gradient iterations (Schulman et al. 2015, appendix C)."""
    cg_tolerance: float = 1e-5
    """Relative residual ‖g − (F + βI)x‖ / ‖g‖ at which conjugate gradient stops."""
    backtrack_ratio: float = 0.8
    """Step factor from one line-search try to the next (Achiam 2018, Spinning Up)."""
    max_backtracks: int = 10
    """Maximum line-search tries after the full step (Achiam 2018, Spinning Up)."""


@dataclass(frozen=True)
class TrustRegionConfig(StepConfig):
    """The same for a trust region: values are validated, and δ is finite."""

    def __post_init__(self) -> None:
        require_numbers(self)
        require(self, "max_kl", 0 < self.max_kl < math.inf, "a number of nats > 0")
        require(self, "step_size", self.step_size > 0, "a number > 0")
        require(self, "damping", 0 <= self.damping < math.inf, "a number ≥ 0")
        require(self, "cg_iterations", self.cg_iterations >= 1, "an integer ≥ 1")
        require(self, "cg_tolerance", 0 <= self.cg_tolerance < 1, "a number in [0, 1)")
        require(self, "backtrack_ratio", 0 < self.backtrack_ratio < 1, "a number in (0, 1)")
        require(self, "max_backtracks", self.max_backtracks >= 0, "an integer ≥ 0")


def natural_direction(
    model: Model[Microbatch],
    g: Tensor,
    microbatches: Sequence[Microbatch],
    damping: float,
    max_iterations: int = 10,
    tolerance: float = 1e-10,
    reducer: Reducer = SERIAL,
) -> Solution:
    """Solve (F + βI) x = g by conjugate gradient: the direction of most gain per KL.

    Amari 1998; Kakade 2001; Schulman et al. 2015, appendix C.

    Args:
        model: the distribution, at the θ of F.
        g: (P,), the surrogate's gradient there, finite.
        microbatches: the states that F is averaged over, the same ones for the whole solve.
        damping: β ≥ 0.
        max_iterations: maximum products with F.
        tolerance: relative residual ‖g − (F + βI)x‖ / ‖g‖ to stop at.
        reducer: sums the results over threads and processes.

    Returns:
        x, (P,), and what the solve reveals about F.
    """
    product = fisher_vector_product(model, microbatches, reducer)
    return conjugate_gradient(product, g, max_iterations, tolerance, damping)


def trust_region_step(
    model: Model[Microbatch],
    surrogate: Surrogate[Microbatch],
    microbatches: Sequence[Microbatch],
    config: StepConfig,
    fisher_microbatches: Sequence[Microbatch] | None = None,
    reducer: Reducer = SERIAL,
) -> StepReport:
    """Maximise L(θ) subject to E_s[KL(π_old(·|s) ‖ π_θ(·|s))] ≤ δ (Schulman et al. 2015).

    First by a quadratic model, then by measurement: x ≈ (F + βI)⁻¹g by conjugate gradient; full
    step min(η, √(2δ / xᵀ(F + βI)x)) · x; then a backtracking line search on the measured KL and the
    measured surrogate. θ is left at the accepted point, else restored bit for bit.

    Args:
        model: the distribution; its θ is changed in place.
        surrogate: (π, microbatch) ↦ the per-sample terms of L, shape (b,).
        microbatches: the batch.
        config: limits and effort.
        fisher_microbatches: the states that F is averaged over, the same ones for the whole solve;
            `None` for all of `microbatches`.
        reducer: sums the results over threads and processes.

    Returns:
        What was measured, with a status.
    """
    # 1. The gradient of the surrogate at θ_old, where the model is linearized once for the whole
    # step.
    at_old = keep_linearizations(model, microbatches, reducer)
    surrogate_before, g = surrogate_gradient(at_old, surrogate, microbatches, reducer)  # g: (P,)
    if status := bad_gradient(surrogate_before, g):
        return StepReport(status, surrogate_before, norm(g))

    # 2. The natural direction x ≈ (F + βI)⁻¹g.
    solution = natural_direction(
        model if fisher_microbatches else at_old,
        g,
        fisher_microbatches or microbatches,
        config.damping,
        config.cg_iterations,
        config.cg_tolerance,
        reducer,
    )
    if not 0 < solution.quadratic_form < math.inf:
        return StepReport(Status.NO_CURVATURE, surrogate_before, norm(g))

    # 3. The full step: ηx, or as far along x as the quadratic model of KL allows.
    length = min(config.step_size, math.sqrt(2 * config.max_kl / solution.quadratic_form))
    full_step = length * solution.x

    # 4. Backtrack until the measurements agree, else restore θ_old.
    search = backtracking_line_search(
        model.parameters,
        full_step,
        measure_against_present(at_old, surrogate, microbatches, reducer),
        surrogate_before,
        config.max_kl,
        config.backtrack_ratio,
        config.max_backtracks,
    )
    return measured_report(
        surrogate_before,
        g,
        search.fraction * full_step,
        search.accepted,
        solution,
        search.fraction,
        search.backtracks,
    )
