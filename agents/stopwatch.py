"""Where an update's time goes."""

import time
from collections import defaultdict


class Stopwatch:
    """Records the time between laps by name."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.start = self.last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Record the time since the last lap.

        Args:
            name: what it was spent on.
        """
        now = time.perf_counter()
        self.seconds[name] += now - self.last
        self.last = now

    @property
    def total(self) -> float:
        """Seconds from the start to the last lap."""
        return self.last - self.start

    def metrics(self, environment: float, steps: int) -> dict[str, float]:
        """Return the shares of the time.

        Args:
            environment: seconds of the lap "rollout" that were spent waiting for environments.
            steps: environment steps that the time was spent on.

        Returns:
            By name, of `trpo.agents.metrics.METRICS`.
        """
        seconds = dict(self.seconds) | {"environment": environment}
        seconds["inference"] = seconds.pop("rollout") - environment
        shares = {f"time/{name}": spent / self.total for name, spent in seconds.items()}
        rate = {"time/seconds": self.total, "time/steps_per_second": steps / self.total}
        return shares | rate
