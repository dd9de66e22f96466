"""Every number that training reports, with its meaning: in metrics.csv and in TensorBoard."""

from dataclasses import dataclass

from trpo.report import Status


@dataclass(frozen=True)
class UpdateRecord:
    """One update as logged.

    Args:
        update: its number, from 1.
        steps: environment steps since the run began.
        status: how the policy's step ended.
        metrics: names of `METRICS` to values; those without a value yet are absent.
    """

    update: int
    steps: int
    status: Status
    metrics: dict[str, float]


METRICS: dict[str, str] = {
    "update/mean_kl": "E_s[KL(old ‖ new)] of the update on its batch, nats; TRPO holds it ≤ max_kl",
    "update/max_state_kl": "largest KL(old ‖ new) over the batch's states, nats",
    "update/mean_reverse_kl": "E_s[KL(new ‖ old)] of the update, nats",
    "update/statistics_kl": "E_s[KL] by which new observation statistics move π after it, nats",
    "trust_region/max_kl": "the limit δ, nats",
    "update/accepted": "1 if the update was accepted, 0 if rejected and the parameters restored",
    "trust_region/backtracks": "number of times the line search shrank the step",
    "update/step_fraction": "accepted fraction of the full step; 0 if none",
    "update/surrogate_before": "mean surrogate at the old policy; TRPO: × advantage_deviation, and "
    "entropy_bonus × entropy is added",
    "update/surrogate_after": "mean surrogate at the final policy",
    "update/predicted_gain": "gain of the surrogate predicted by its linear model, gᵀ(step)",
    "update/gain_ratio": "measured gain ÷ predicted gain",
    "update/gradient_norm": "‖g‖, g the gradient of the surrogate",
    "update/step_norm": "Euclidean length of the step in parameter space",
    "natural_gradient/curvature": "xᵀFx, x the natural direction",
    "natural_gradient/cg_iterations": "conjugate-gradient iterations",
    "natural_gradient/cg_residual": "‖g − (F + βI)x‖ / ‖g‖",
    "natural_gradient/smallest_ritz": "smallest Ritz value of F + βI",
    "natural_gradient/largest_ritz": "largest Ritz value of F + βI",
    "policy/entropy": "mean entropy of the policy at the batch's states, nats",
    "policy/std": "mean standard deviation of a Box's actions; 1 is half of a bounded one's range",
    "policy/advantage_deviation": "σ of the batch's advantages ÷ σ of all so far",
    "value/explained_variance": "1 − Var(return − V) / Var(return) before the fit, on unseen data",
    "value/explained_variance_after": "the same after the fit",
    "value/accepted": "fraction of the fit's steps that were accepted; V is restored after others",
    "value/mean_squared_change": "E[(V − V_old)²] of the fit on its batch, squared scaled rewards",
    "value/gain_ratio": "measured ÷ predicted gain of the fit's last accepted step",
    "value/step_fraction": "mean accepted fraction of the fit's full steps; 0 for one that failed",
    "value/mean_return": "mean TD(λ) return, in scaled rewards",
    "episode/return": "mean undiscounted raw return of the episodes that ended in this batch",
    "episode/length": "mean length of the episodes that ended in this batch, steps",
    "episode/return_100": "mean raw return of the last 100 episodes",
    "episode/count": "episodes ended since the run began",
    "evaluation/return": "mean raw return of the deterministic policy, one episode per environment",
    "evaluation/length": "mean length of the evaluation's episodes, steps",
    "environment/restarts": "restarts of all environments so far, after the loss of a process",
    "time/steps_per_second": "environment steps per second of this update",
    "time/seconds": "wall time of this update, without evaluation, logging and checkpoints",
    "time/environment": "share of the update's time spent waiting for environments",
    "time/inference": "share of the update's time spent on acting and bookkeeping",
    "time/advantages": "share of the update's time spent on values and advantages",
    "time/statistics": "share of the update's time spent on normalisation statistics and the rest",
    "time/policy": "share of the update's time spent on the policy's update and its metrics",
    "time/value": "share of the update's time by which the value fit outlasts the policy's update",
    "time/evaluation": "seconds that the evaluation took, not included in time/seconds",
}
