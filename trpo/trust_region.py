"""The trust-region step: natural gradient, scaled to the KL limit, backtracked until measurements agree, or undone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import torch

from trpo.conjugate_gradient import conjugate_gradient
from trpo.fisher import fisher_vector_product
from trpo.line_search import backtracking_line_search
from trpo.measurement import Measurement, measure_from_here
from trpo.model import Chunk, Model, Surrogate, keep_linearizations, surrogate_gradient
from trpo.parameters import assign, flatten
from trpo.validation import require


@dataclass(frozen=True)
class TrustRegionConfig:
    """How far a step may go, and what is spent on finding it."""

    max_kl: float = 0.02
    """Trust region δ, in nats: E_s[KL(old ‖ new)] stays at or below it. Infinite: no limit, and the
    full step is x itself."""
    damping: float = 0.1
    """β in (F + βI)x = g (Schulman et al. 2015's released code)."""
    cg_iterations: int = 10
    """Conjugate-gradient iterations at most (Schulman et al. 2015, appendix C)."""
    cg_tolerance: float = 1e-5
    """Relative residual ‖g − (F + βI)x‖ / ‖g‖ at which conjugate gradient stops."""
    backtrack_ratio: float = 0.8
    """Step factor from one line-search try to the next (Achiam 2018, Spinning Up)."""
    max_backtracks: int = 10
    """Line-search tries after the full step (Achiam 2018, Spinning Up)."""

    def __post_init__(self) -> None:
        require(self, "max_kl", self.max_kl > 0, "a number of nats > 0")
        require(self, "damping", 0 <= self.damping < math.inf, "a number ≥ 0")
        require(self, "cg_iterations", self.cg_iterations >= 1, "an integer ≥ 1")
        require(self, "cg_tolerance", 0 <= self.cg_tolerance < 1, "a number in [0, 1)")
        require(self, "backtrack_ratio", 0 < self.backtrack_ratio < 1, "a number in (0, 1)")
        require(self, "max_backtracks", self.max_backtracks >= 0, "an integer ≥ 0")


class Status(Enum):
    """How a step ended; its value is the message. Every outcome but ACCEPTED leaves θ as it was, bit for bit."""

    ACCEPTED = "accepted"
    ZERO_GRADIENT = "the surrogate's gradient is zero: nothing to improve"
    NON_FINITE = "the surrogate or its gradient is not finite"
    NO_CURVATURE = "the Fisher matrix shows no positive, finite curvature along the gradient"
    LINE_SEARCH_FAILED = "no step tried kept KL within the limit and improved the surrogate"


@dataclass(frozen=True)
class StepReport:
    """All that a trust-region step measured. KL in nats; `None` where the step ended before there was a value.

    Args:
        status: how the step ended.
        surrogate_before: L(θ_old).
        gradient_norm: ‖g‖.
        mean_kl: E_s[KL(old ‖ new)] at the θ that is left in place; 0 unless accepted.
        max_state_kl: max_s KL(old ‖ new), likewise.
        mean_reverse_kl: E_s[KL(new ‖ old)], likewise.
        surrogate_after: L(θ) at the θ left in place.
        predicted_gain: gᵀ(step), the linear model's gain at the accepted fraction.
        gain_ratio: measured gain ÷ predicted gain.
        step_norm: ‖θ − θ_old‖.
        step_fraction: accepted fraction of the full step; 0 if none.
        backtracks: times the line search shrank the step.
        curvature: xᵀFx, without the damping.
        cg_iterations: iterations spent.
        cg_residual: relative residual reached.
        smallest_ritz: smallest Ritz value of F + βI.
        largest_ritz: largest Ritz value of F + βI.
    """

    status: Status
    surrogate_before: float
    gradient_norm: float
    mean_kl: float = 0.0
    max_state_kl: float = 0.0
    mean_reverse_kl: float = 0.0
    surrogate_after: float | None = None
    predicted_gain: float | None = None
    gain_ratio: float | None = None
    step_norm: float = 0.0
    step_fraction: float = 0.0
    backtracks: int | None = None
    curvature: float | None = None
    cg_iterations: int | None = None
    cg_residual: float | None = None
    smallest_ritz: float | None = None
    largest_ritz: float | None = None


def trust_region_step(
    model: Model,
    surrogate: Surrogate,
    chunks: Sequence[Chunk],
    config: TrustRegionConfig,
    fisher_chunks: Sequence[Chunk] | None = None,
) -> StepReport:
    """Maximise L(θ) subject to E_s[KL(π_old(·|s) ‖ π_θ(·|s))] ≤ δ, to second order, then by measurement (Schulman et al. 2015).

    x ≈ (F + βI)⁻¹g by conjugate gradient; full step √(2δ / xᵀ(F + βI)x) · x; then a backtracking
    line search on the measured KL and the measured surrogate. θ is left at the accepted point, else
    bit for bit where it was.

    Args:
        model: the distribution; its θ is changed in place.
        surrogate: (π, chunk) ↦ the chunk's per-sample terms of L, shape (b,).
        chunks: the batch.
        config: limits and effort.
        fisher_chunks: the states that F is averaged over, the same ones for the whole solve; `None`
            for all of `chunks`.

    Returns:
        What was measured, with a status.
    """
    # 1. The gradient of the surrogate at θ_old, where the model is linearized once for the whole
    # step.
    here = keep_linearizations(model, chunks)
    surrogate_before, g = surrogate_gradient(here, surrogate, chunks)  # (P,)
    gradient_norm = g.norm(dtype=torch.float64).item()
    if not math.isfinite(gradient_norm) or not math.isfinite(surrogate_before):
        return StepReport(Status.NON_FINITE, surrogate_before, gradient_norm)
    if gradient_norm == 0:
        return StepReport(Status.ZERO_GRADIENT, surrogate_before, gradient_norm)

    # 2. The natural direction x ≈ (F + βI)⁻¹g.
    Fv = fisher_vector_product(model if fisher_chunks else here, fisher_chunks or chunks)
    solution = conjugate_gradient(
        lambda v: Fv(v) + config.damping * v, g, config.cg_iterations, config.cg_tolerance
    )
    x = solution.x
    if not 0 < solution.quadratic_form < math.inf:
        return StepReport(Status.NO_CURVATURE, surrogate_before, gradient_norm)

    # 3. The full step: as far along x as the quadratic model of KL allows.
    scale = (
        math.sqrt(2 * config.max_kl / solution.quadratic_form)
        if math.isfinite(config.max_kl)
        else 1.0
    )
    full_step = scale * x

    # 4. Backtrack until the measurements agree, else put θ_old back.
    theta_old = flatten(model.parameters).detach()  # a copy
    measure_here = measure_from_here(here, surrogate, chunks)

    def measure_step(fraction: float) -> Measurement:
        assign(model.parameters, theta_old + fraction * full_step)
        return measure_here()

    backtracks, fraction, accepted = backtracking_line_search(
        measure_step, surrogate_before, config.max_kl, config.backtrack_ratio, config.max_backtracks
    )
    if accepted is None:
        assign(model.parameters, theta_old)
        accepted = Measurement(surrogate_before, 0.0, 0.0, 0.0)
    predicted_gain = fraction * (g @ full_step).item()
    return StepReport(
        status=Status.ACCEPTED if fraction else Status.LINE_SEARCH_FAILED,
        surrogate_before=surrogate_before,
        gradient_norm=gradient_norm,
        mean_kl=accepted.mean_kl,
        max_state_kl=accepted.max_state_kl,
        mean_reverse_kl=accepted.mean_reverse_kl,
        surrogate_after=accepted.surrogate,
        predicted_gain=predicted_gain,
        gain_ratio=(accepted.surrogate - surrogate_before) / predicted_gain
        if predicted_gain > 0
        else None,
        step_norm=fraction * full_step.norm(dtype=torch.float64).item(),
        step_fraction=fraction,
        backtracks=backtracks,
        curvature=solution.quadratic_form
        - config.damping * x.norm(dtype=torch.float64).item() ** 2,
        cg_iterations=solution.iterations,
        cg_residual=solution.relative_residual,
        smallest_ritz=solution.ritz_values[0],
        largest_ritz=solution.ritz_values[-1],
    )
