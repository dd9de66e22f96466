"""The Gauss–Newton step, by which a value function is fitted: the policy's own mathematics.

Read V(s) as the mean of a Gaussian of unit variance over the targets y. Then log N(y; V(s), 1) is
−½(y − V)² but for a constant, its Fisher matrix is E[JᵀJ], and (F + βI)x = g is the damped
Gauss–Newton equation (Nocedal & Wright 2006, §10.3; Schulman et al. 2016, §5, fit V so).
"""

import math
from collections.abc import Sequence

from trpo.line_search import backtracking_line_search
from trpo.measurement import measure_against_present
from trpo.model import Microbatch, Model, Surrogate, keep_linearizations, surrogate_gradient
from trpo.reducer import SERIAL, Reducer
from trpo.report import Status, StepReport, bad_gradient, measured_report, norm
from trpo.trust_region import natural_direction


def gauss_newton_step(
    model: Model[Microbatch],
    log_likelihood: Surrogate[Microbatch],
    microbatches: Sequence[Microbatch],
    damping: float,
    cg_iterations: int,
    max_change: float | None = None,
    fisher_microbatches: Sequence[Microbatch] | None = None,
    reducer: Reducer = SERIAL,
    cg_tolerance: float = 1e-5,
    backtrack_ratio: float = 0.5,
    max_backtracks: int = 10,
) -> StepReport:
    """Step by x ≈ (F + βI)⁻¹g itself, halved until the measured likelihood improves.

    Args:
        model: a Gaussian of unit variance; its θ is changed in place.
        log_likelihood: (π, microbatch) ↦ log N(y; V(s), 1) of each sample, shape (b,).
        microbatches: the batch.
        damping: β of this step.
        cg_iterations: conjugate-gradient iterations at most.
        max_change: limit on the mean squared change E[(V − V_old)²] = 2 E[KL], in squared units of
            V: the step is no longer than its quadratic model allows, and the line search measures
            it. `None` for no limit.
        fisher_microbatches: the states that F is averaged over; `None` for all of `microbatches`.
        reducer: brings the microbatches together.
        cg_tolerance: relative residual at which conjugate gradient stops.
        backtrack_ratio: step factor from one line-search try to the next.
        max_backtracks: line-search tries after the full step.

    Returns:
        What was measured, with a status; `mean_kl` is half of the mean squared change.
    """
    at_old = keep_linearizations(model, microbatches, reducer)
    before, g = surrogate_gradient(at_old, log_likelihood, microbatches, reducer)  # g: (P,)
    if status := bad_gradient(before, g):
        return StepReport(status, before, norm(g))

    solution = natural_direction(
        model if fisher_microbatches else at_old,
        g,
        fisher_microbatches or microbatches,
        damping,
        cg_iterations,
        cg_tolerance,
        reducer,
    )
    if not 0 < solution.quadratic_form < math.inf:
        return StepReport(Status.NO_CURVATURE, before, norm(g))

    max_kl = math.inf if max_change is None else max_change / 2
    full_step = min(1.0, math.sqrt(2 * max_kl / solution.quadratic_form)) * solution.x
    measure = measure_against_present(at_old, log_likelihood, microbatches, reducer)
    search = backtracking_line_search(
        model.parameters, full_step, measure, before, max_kl, backtrack_ratio, max_backtracks
    )
    return measured_report(
        before,
        g,
        search.fraction * full_step,
        search.accepted,
        solution,
        search.fraction,
        search.backtracks,
    )
