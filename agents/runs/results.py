"""The results of a run, accumulated update by update."""

import math
from collections import Counter
from dataclasses import dataclass, field

from trpo.agents.metrics import UpdateRecord
from trpo.report import Status


@dataclass
class Results:
    """The results of the updates so far.

    Args:
        max_kl: δ in nats at the start of the run, if the update rule limits KL.
        updates: number of updates.
        within_limit: number of updates with KL(old ‖ new) ≤ δ, as annealed at the time.
        largest_kl: over all updates, nats.
        outcomes: number of steps by status.
        last: the last update.
    """

    max_kl: float | None
    updates: int = 0
    within_limit: int = 0
    largest_kl: float = 0.0
    outcomes: Counter[Status] = field(default_factory=Counter)
    last: UpdateRecord | None = None

    def count(self, record: UpdateRecord) -> None:
        """Count an update.

        Args:
            record: the update.
        """
        kl = record.metrics.get("update/mean_kl", math.nan)
        self.updates += 1
        self.within_limit += kl <= record.metrics.get("trust_region/max_kl", -math.inf)
        self.largest_kl = max(self.largest_kl, kl)
        self.outcomes[record.status] += 1
        self.last = record

    def numbers(self) -> dict[str, float]:
        """Return the results that are numbers."""
        numbers = {"largest_kl": self.largest_kl}
        if self.max_kl is not None:
            numbers["updates_within_limit"] = self.within_limit / max(self.updates, 1)
        if self.last and "episode/return_100" in self.last.metrics:
            numbers["return_100"] = self.last.metrics["episode/return_100"]
        return numbers
