"""Trust region policy optimisation (Schulman et al. 2015) as an update rule."""

from dataclasses import dataclass

import torch

from trpo.agents.batch import Batch
from trpo.agents.policies import Policy
from trpo.agents.update_rule import UpdateRule, importance_weighted_advantage
from trpo.trust_region import StepReport, TrustRegionConfig, trust_region_step
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
        chunk_size: samples whose graphs are in memory at a time.
    """

    def __init__(self, policy: Policy, config: TrpoConfig, chunk_size: int) -> None:
        super().__init__(policy, chunk_size)
        self.config = config

    def __call__(self, batch: Batch, generator: torch.Generator) -> StepReport:  # noqa: ARG002, D102 nothing here is random
        chunks = batch.chunks(self.chunk_size)
        stride = self.config.fisher_stride
        fisher_chunks = (
            batch.rows(slice(None, None, stride)).chunks(self.chunk_size) if stride > 1 else None
        )
        return trust_region_step(
            self.model, importance_weighted_advantage, chunks, self.config, fisher_chunks
        )
