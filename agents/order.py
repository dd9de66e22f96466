"""The positions of a process's samples among those of all processes.

The order is that of a single process with all environments: by time, or by environment if
recurrent. So draws from a batch (minibatches, or the states that TRPO keeps) are the same for any
number of processes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from trpo.reducer import Reducer


@dataclass(frozen=True)
class Order:
    """The places of this process's B samples.

    Args:
        places: (B,) int, ascending.
        total: number of samples of all processes.
    """

    places: Tensor
    total: int

    @classmethod
    def of(cls, mask: Tensor, reducer: Reducer) -> "Order":
        """Return the places of the samples in some cells of a rollout, ordered by time.

        Args:
            mask: (T, N), whether this process has a sample at this step of this environment.
            reducer: gathers the counts of all processes.

        Returns:
            The order, of samples row by row.
        """
        each = reducer.gather(mask.sum(1))  # (R, T)
        at_time = each.sum(0)
        earlier = at_time.cumsum(0) - at_time + each[: reducer.rank].sum(0)  # (T,)
        places = earlier[:, None] + mask.cumsum(1) - 1  # (T, N)
        return cls(places[mask], int(each.sum()))

    @classmethod
    def by_environment(cls, count: int, reducer: Reducer) -> "Order":
        """Return the places of samples ordered by environment, as sequences are.

        Args:
            count: this process's B.
            reducer: gathers the counts of all processes.

        Returns:
            The order, of each process's samples after those of the processes before it.
        """
        each = reducer.gather(torch.tensor(count))  # (R,)
        first = int(each[: reducer.rank].sum())
        return cls(torch.arange(first, first + count), int(each.sum()))

    def own(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Find this process's samples among some of all processes'.

        Args:
            chosen: (C,) int, places of samples.

        Returns:
            Which of the chosen they are, and which of this process's, (c,) each.
        """
        rows = torch.searchsorted(self.places, chosen).clamp(max=len(self.places) - 1)
        found = (self.places[rows] == chosen).nonzero().squeeze(1)
        return found, rows[found]
