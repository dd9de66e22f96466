"""The Gauss–Newton step, by which a value function is fitted: the policy's own mathematics.

Read V(s) as the mean of a Gaussian of unit variance over the targets y. Then log N(y; V(s), 1) is
−½(y − V)² but for a constant, its Fisher matrix is E[JᵀJ], and (F + βI)x = g is the damped
Gauss–Newton equation (Nocedal & Wright 2006, §10.3; Schulman et al. 2016, §5, fit V so).
"""

import math
from collections.abc import Sequence

from trpo.model import Microbatch, Model, Surrogate
from trpo.reducer import SERIAL, Reducer
from trpo.report import StepReport
from trpo.trust_region import StepConfig, trust_region_step


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
) -> StepReport:
    """Step by x ≈ (F + βI)⁻¹g itself, halved until the measured likelihood improves.

    It is the trust-region step of η = 1, and of a δ only where the change is limited.

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

    Returns:
        What was measured, with a status; `mean_kl` is half of the mean squared change.
    """
    config = StepConfig(
        max_kl=math.inf if max_change is None else max_change / 2,
        step_size=1.0,
        damping=damping,
        cg_iterations=cg_iterations,
        cg_tolerance=cg_tolerance,
        backtrack_ratio=0.5,
    )
    return trust_region_step(
        model, log_likelihood, microbatches, config, fisher_microbatches, reducer
    )
