"""What update rules share: an interface, the surrogate, and the measurement of an update."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.optim import Optimizer

from trpo.agents.policies import Policy
from trpo.agents.updates import optimizer_state
from trpo.agents.updates.batch import Batch
from trpo.agents.updates.optimizer_state import Snapshot
from trpo.conjugate_gradient import Solution
from trpo.measurement import measure_against_present
from trpo.parameters import flatten, norm
from trpo.reducer import SERIAL, Reducer
from trpo.report import Status, StepReport, measured_report

# Measured by some rules only; the rest of a report is logged by all, as update/…
GROUPS = dict.fromkeys(
    ("curvature", "cg_iterations", "cg_residual", "smallest_ritz", "largest_ritz"),
    "natural_gradient",
) | {"backtracks": "trust_region"}


class UpdateRule(ABC):
    """Improves a policy with a batch of its own samples.

    Args:
        policy: updated in place.
        microbatch_size: maximum samples per forward/backward pass.
        reducer: sums the results over threads and processes.
    """

    optimizer: Optimizer | None = None  # of a rule that carries state from batch to batch
    progress: float = 0.0  # share of the run's steps taken before this update

    def __init__(self, policy: Policy, microbatch_size: int, reducer: Reducer = SERIAL) -> None:
        self.policy = policy
        self.model = policy.model()
        self.microbatch_size = microbatch_size
        self.reducer = reducer

    @abstractmethod
    def __call__(self, batch: Batch, generator: torch.Generator) -> StepReport:
        """Update the policy.

        Args:
            batch: samples of the current policy.
            generator: source of the update's random numbers, if it draws any.

        Returns:
            What the update measured.
        """

    def microbatches(self, batch: Batch) -> list[Batch]:
        """Cut a batch for this rule's reducer.

        Args:
            batch: B samples.

        Returns:
            Views that make up the batch.
        """
        return batch.microbatches(self.microbatch_size, self.reducer)

    def measured_update(
        self,
        microbatches: Sequence[Batch],
        g: Tensor,
        update: Callable[[], None],
        solution: Solution | None = None,
    ) -> StepReport:
        """Perform an unconstrained update, and measure it as a trust-region step is measured.

        Args:
            microbatches: the batch.
            g: (P,), the surrogate's gradient at θ_old.
            update: changes θ.
            solution: the natural direction, if the update follows one.

        Returns:
            What was measured; θ and the optimizer are restored, bit for bit, if g, the new θ or a
            measurement there is not finite, or if an exception is raised.
        """
        measure = measure_against_present(
            self.model, importance_weighted_advantage, microbatches, self.reducer
        )
        before = measure().surrogate
        if not math.isfinite(norm(g)) or not math.isfinite(before):
            return StepReport(Status.NON_FINITE, before, norm(g))

        old = Snapshot(self.model.parameters, self.optimizer)
        with old.restored_on_error():
            update()
            step = flatten(self.model.parameters).detach() - old.theta  # (P,)
            after = measure()
        if not step.isfinite().all() or math.isnan(after.surrogate) or math.isnan(after.mean_kl):
            old.restore()
            return StepReport(Status.NON_FINITE, before, norm(g))
        return measured_report(before, g, step, after, solution)

    def metrics(self, report: StepReport) -> dict[str, float]:
        """Return an update's measurements, as logged.

        Args:
            report: of the update.

        Returns:
            By name, of `trpo.agents.metrics.METRICS`; numbers without a value are absent.
        """
        measured = asdict(report)
        del measured["status"]
        return {"update/accepted": float(report.status is Status.ACCEPTED)} | {
            f"{GROUPS.get(name, 'update')}/{name}": float(value)
            for name, value in measured.items()
            if value is not None
        }

    def state_tensors(self) -> dict[str, Tensor]:
        """Return the rule's state between batches."""
        return optimizer_state.state_tensors(self.optimizer) if self.optimizer else {}

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Load what `state_tensors` returned.

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
    log_probs = distribution.log_prob(batch.actions)  # (b,)
    assert log_probs.shape == batch.log_probs.shape == batch.advantages.shape
    return torch.exp(log_probs - batch.log_probs) * batch.advantages
