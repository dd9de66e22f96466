"""The Gauss–Newton step that fits a value function, with the mathematics of the policy's step.

Interpret V(s) as the mean of a unit-variance Gaussian over the targets y. Then log N(y; V(s), 1) is
−½(y − V)² up to a constant, its Fisher matrix is E[JᵀJ], and (F + βI)x = g is the damped
Gauss–Newton equation (Nocedal & Wright 2006, §10.3; Schulman et al. 2016, §5, fit V this way).
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

    It is the trust-region step with η = 1, and with a δ only if `max_change` is given.

    Args:
        model: a Gaussian of unit variance; its θ is changed in place.
        log_likelihood: (π, microbatch) ↦ log N(y; V(s), 1) of each sample, shape (b,).
        microbatches: the batch.
        damping: β of this step.
        cg_iterations: maximum conjugate-gradient iterations.
        max_change: limit on the mean squared change E[(V − V_old)²] = 2 E[KL], in squared units of
            V: it bounds the length of the step by its quadratic model, and the line search enforces
            it. `None` for no limit.
        fisher_microbatches: the states that F is averaged over; `None` for all of `microbatches`.
        reducer: sums the results over threads and processes.
        cg_tolerance: relative residual at which conjugate gradient stops.

    Returns:
        What was measured, with a status; `mean_kl` is half the mean squared change.
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
