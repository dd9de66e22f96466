"""Statistics of a run's episodes."""

from collections import deque
from collections.abc import Sequence

import torch
from torch import Tensor

from trpo.agents.order import Order
from trpo.agents.rollouts.rollout import Episode
from trpo.reducer import Reducer

RECENT = 100


class EpisodeStatistics:
    """Counts episodes, and keeps the last 100."""

    def __init__(self) -> None:
        self.count = 0
        self.recent = deque[Episode](maxlen=RECENT)

    def add(self, episodes: Sequence[Episode]) -> dict[str, float]:
        """Count the episodes that ended in an update.

        Args:
            episodes: in the order in which they ended; there may be none.

        Returns:
            By name, of `trpo.agents.metrics.METRICS`; no means without episodes.
        """
        self.count += len(episodes)
        self.recent.extend(episodes)
        metrics = {"episode/count": float(self.count)}
        if episodes:
            metrics |= means("episode", episodes)
        if self.mean_return is not None:
            metrics["episode/return_100"] = self.mean_return
        return metrics

    @property
    def mean_return(self) -> float | None:
        """Mean raw return of the last 100 episodes; `None` before the first has ended."""
        return mean([e.undiscounted_return for e in self.recent]) if self.recent else None

    def state(self) -> dict[str, int | list[list[float]]]:
        """Return the statistics as JSON content."""
        recent = [[episode.undiscounted_return, episode.length] for episode in self.recent]
        return {"episodes": self.count, "recent": recent}

    def restore(self, count: int, recent: Sequence[tuple[float, int]]) -> None:
        """Load what `state` returned.

        Args:
            count: episodes ended since the run began.
            recent: return and length of the last ones.
        """
        self.count = count
        self.recent.clear()
        self.recent.extend(Episode(*episode) for episode in recent)


def means(group: str, episodes: Sequence[Episode]) -> dict[str, float]:
    """Return the mean return and length of episodes.

    Args:
        group: of `trpo.agents.metrics.METRICS`.
        episodes: at least one.

    Returns:
        By name, GROUP/return and GROUP/length.
    """
    returns = mean([episode.undiscounted_return for episode in episodes])
    return {f"{group}/return": returns, f"{group}/length": mean([e.length for e in episodes])}


def of_all_processes(episodes: Sequence[Episode], done: Tensor, reducer: Reducer) -> list[Episode]:
    """Return the episodes that ended in the environments of all processes.

    Args:
        episodes: of this process's, in the order in which they ended.
        done: (T, N), where they did.
        reducer: gathers from all processes.

    Returns:
        All processes' episodes, in the order in which they ended.
    """
    order = Order.of(done, reducer)
    figures = [[episode.undiscounted_return, episode.length] for episode in episodes]
    rows = torch.tensor(figures, dtype=torch.float64).reshape(-1, 2)
    together = reducer.assemble(rows, order.places, order.total)
    return [Episode(undiscounted, int(length)) for undiscounted, length in together.tolist()]


def mean(numbers: Sequence[float]) -> float:
    """Return the mean.

    Args:
        numbers: at least one.
    """
    return sum(numbers) / len(numbers)
