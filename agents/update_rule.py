"""What update rules share: an interface, the surrogate, and one measurement of what an update did to the policy."""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.optim import Optimizer

from trpo.agents import optimizer_state
from trpo.agents.batch import Batch
from trpo.agents.policies import Policy
from trpo.measurement import measure_from_here
from trpo.model import Model
from trpo.parameters import assign, flatten
from trpo.trust_region import Status, StepReport


class UpdateRule(ABC):
    """Improves a policy by a batch of its own samples.

    Args:
        policy: updated in place.
        chunk_size: samples whose graphs are in memory at a time.
    """

    optimizer: Optimizer | None = None  # of a rule that carries state from batch to batch

    def __init__(self, policy: Policy, chunk_size: int) -> None:
        self.policy = policy
        self.model = policy.model()
        self.chunk_size = chunk_size

    @abstractmethod
    def __call__(self, batch: Batch, generator: torch.Generator) -> StepReport:
        """Update the policy.

        Args:
            batch: samples of the policy as it is now.
            generator: source of the update's random numbers, if it draws any.

        Returns:
            What the update measured.
        """

    def metrics(self, report: StepReport) -> dict[str, float]:
        """Return what an update measured, as it is logged.

        Args:
            report: of the update.

        Returns:
            By name, of `trpo.agents.metrics.METRICS`; numbers without a value are absent.
        """
        measured = {name: value for name, value in asdict(report).items() if value is not None}
        del measured["status"]
        metrics = {f"trust_region/{name}": float(value) for name, value in measured.items()}
        metrics["trust_region/accepted"] = float(report.status is Status.ACCEPTED)
        return metrics

    def state_tensors(self) -> dict[str, Tensor]:
        """Return what the rule carries from batch to batch."""
        return optimizer_state.state_tensors(self.optimizer) if self.optimizer else {}

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take over what `state_tensors` returned.

        Args:
            tensors: by the same names.
        """
        if self.optimizer:
            optimizer_state.load_state_tensors(self.optimizer, tensors)


def importance_weighted_advantage(distribution: Distribution, batch: Batch) -> Tensor:
    """Return π_θ(a|s) / π_old(a|s) · Â, the surrogate's terms (Schulman et al. 2015, equation 14).

    Args:
        distribution: π_θ at the batch's states.
        batch: b samples of π_old.

    Returns:
        (b,).
    """
    return torch.exp(distribution.log_prob(batch.actions) - batch.log_probs) * batch.advantages


def measured_update(
    model: Model,
    chunks: Sequence[Batch],
    g: Tensor,
    update: Callable[[], None],
    optimizer: Optimizer | None = None,
) -> StepReport:
    """Do an update that nothing holds back, and measure it as a trust-region step is measured.

    Args:
        model: the policy, at θ_old.
        chunks: the batch.
        g: (P,), the surrogate's gradient at θ_old.
        update: moves θ.
        optimizer: that it moves θ by, if it carries state.

    Returns:
        What was measured; θ and the optimizer are put back, bit for bit, where g, the new θ or a
        measurement at it is not a number.
    """
    measure_here = measure_from_here(model, importance_weighted_advantage, chunks)
    before = measure_here()
    gradient_norm = g.norm(dtype=torch.float64).item()
    if not math.isfinite(gradient_norm) or not math.isfinite(before.surrogate):
        return StepReport(Status.NON_FINITE, before.surrogate, gradient_norm)

    theta_old = flatten(model.parameters).detach()  # a copy
    state_old = copy.deepcopy(optimizer.state_dict()) if optimizer else {}
    update()
    step = flatten(model.parameters).detach() - theta_old  # (P,)
    after = measure_here()
    if not step.isfinite().all() or math.isnan(after.surrogate) or math.isnan(after.mean_kl):
        assign(model.parameters, theta_old)
        if optimizer:
            optimizer.load_state_dict(state_old)
        return StepReport(Status.NON_FINITE, before.surrogate, gradient_norm)
    predicted_gain = (g @ step).item()
    return StepReport(
        status=Status.ACCEPTED,
        surrogate_before=before.surrogate,
        gradient_norm=gradient_norm,
        mean_kl=after.mean_kl,
        max_state_kl=after.max_state_kl,
        mean_reverse_kl=after.mean_reverse_kl,
        surrogate_after=after.surrogate,
        predicted_gain=predicted_gain,
        gain_ratio=(after.surrogate - before.surrogate) / predicted_gain
        if predicted_gain > 0
        else None,
        step_norm=step.norm(dtype=torch.float64).item(),
        step_fraction=1.0,
    )
