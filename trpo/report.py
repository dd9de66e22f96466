"""A step's report: how it ended, and everything that was measured on the way."""

import math
from dataclasses import dataclass
from enum import Enum

from torch import Tensor

from trpo.conjugate_gradient import Solution
from trpo.measurement import Measurement
from trpo.parameters import norm


class Status(Enum):
    """How a step ended, with its message. All but ACCEPTED leave θ as it was, bit for bit."""

    ACCEPTED = "accepted"
    ZERO_GRADIENT = "the surrogate's gradient is zero: nothing to improve"
    NON_FINITE = "the surrogate or its gradient is not finite"
    NO_CURVATURE = "the Fisher matrix shows no positive, finite curvature along the gradient"
    LINE_SEARCH_FAILED = "no step tried kept KL within the limit and improved the surrogate"


@dataclass(frozen=True)
class StepReport:
    """Everything a step measured. KL in nats; `None` where the step ended before measuring it.

    Args:
        status: how the step ended.
        surrogate_before: L(θ_old).
        gradient_norm: ‖g‖.
        mean_kl: E_s[KL(old ‖ new)] at the final θ; 0 unless accepted.
        max_state_kl: max_s KL(old ‖ new), likewise.
        mean_reverse_kl: E_s[KL(new ‖ old)], likewise.
        surrogate_after: L(θ) at the final θ.
        predicted_gain: gᵀ(step), the linear model's gain at the accepted fraction.
        gain_ratio: measured gain ÷ predicted gain.
        step_norm: ‖θ − θ_old‖.
        step_fraction: accepted fraction of the full step; 0 if none.
        backtracks: number of times the line search shrank the step.
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


def bad_gradient(surrogate: float, g: Tensor) -> Status | None:
    """Return why no step can be made from this gradient, or `None`.

    Args:
        surrogate: L(θ).
        g: (P,), ∇L(θ).

    Returns:
        The status to report.
    """
    if not math.isfinite(surrogate) or not math.isfinite(norm(g)):
        return Status.NON_FINITE
    return Status.ZERO_GRADIENT if norm(g) == 0 else None


def measured_report(
    surrogate_before: float,
    g: Tensor,
    step: Tensor,
    after: Measurement | None,
    solution: Solution | None = None,
    step_fraction: float = 1.0,
    backtracks: int | None = None,
) -> StepReport:
    """Report a step that was tried.

    Args:
        surrogate_before: L(θ_old).
        g: (P,), ∇L(θ_old).
        step: (P,), final θ − θ_old; 0 where no try was accepted.
        after: what was measured at θ; `None` where no try was accepted.
        solution: the natural direction, if the step has one.
        step_fraction: accepted fraction of the full step; 0 if none.
        backtracks: number of times the line search shrank the step, if there was one.

    Returns:
        The report.
    """
    status = Status.ACCEPTED if after else Status.LINE_SEARCH_FAILED
    after = after or Measurement(surrogate_before, 0.0, 0.0, 0.0)
    predicted_gain = (g @ step).item()
    gain = after.surrogate - surrogate_before
    return StepReport(
        status=status,
        surrogate_before=surrogate_before,
        gradient_norm=norm(g),
        mean_kl=after.mean_kl,
        max_state_kl=after.max_state_kl,
        mean_reverse_kl=after.mean_reverse_kl,
        surrogate_after=after.surrogate,
        predicted_gain=predicted_gain,
        gain_ratio=gain / predicted_gain if predicted_gain > 0 else None,
        step_norm=norm(step),
        step_fraction=step_fraction,
        backtracks=backtracks,
        curvature=solution.curvature if solution else None,
        cg_iterations=solution.iterations if solution else None,
        cg_residual=solution.relative_residual if solution else None,
        smallest_ritz=solution.ritz_values[0] if solution else None,
        largest_ritz=solution.ritz_values[-1] if solution else None,
    )
