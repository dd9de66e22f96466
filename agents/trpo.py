"""Trust region policy optimisation (Schulman et al. 2015) as an update rule."""

from dataclasses import dataclass

import torch

from trpo.agents.batch import Batch
from trpo.agents.policies import Policy
from trpo.agents.update_rule import UpdateRule, importance_weighted_advantage
from trpo.reducer import SERIAL, Reducer
from trpo.report import StepReport
from trpo.trust_region import TrustRegionConfig, trust_region_step
from trpo.validation import require


@dataclass(frozen=True)
class TrpoConfig(TrustRegionConfig):
    """The trust-region step."""

    fisher_stride: int = 1
    """The Fisher matrix is averaged over every n-th sample of the batch, the same ones for the
    whole solve."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, "fisher_stride", self.fisher_stride >= 1, "an integer ≥ 1")


class Trpo(UpdateRule):
    """One trust-region step a batch.

    Args:
        policy: updated in place.
        config: limits and effort.
        microbatch_size: samples whose graphs are in memory at a time.
        reducer: brings microbatches together.
    """

    def __init__(
        self, policy: Policy, config: TrpoConfig, microbatch_size: int, reducer: Reducer = SERIAL
    ) -> None:
        super().__init__(policy, microbatch_size, reducer)
        self.config = config

    def __call__(self, batch: Batch, generator: torch.Generator) -> StepReport:  # noqa: ARG002, D102 nothing here is random
        return trust_region_step(
            self.model,
            importance_weighted_advantage,
            self.microbatches(batch),
            self.config,
            batch.every(self.config.fisher_stride, self.microbatch_size, self.reducer),
            self.reducer,
        )

    def metrics(self, report: StepReport) -> dict[str, float]:  # noqa: D102
        return super().metrics(report) | {"trust_region/max_kl": self.config.max_kl}
