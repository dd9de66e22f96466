"""Where a process's samples stand among every process's, in the order of time and environments.

It is the order of one process that has all environments: by time, or with a memory by environment.
So what is drawn from a batch, a minibatch or the states that TRPO remembers, is the same however
many processes have parts of it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from trpo.reducer import Reducer


@dataclass(frozen=True)
class Order:
    """The places of B of this process's samples.

    Args:
        places: (B,) int, ascending.
        total: samples of all processes.
    """

    places: Tensor
    total: int

    @classmethod
    def of(cls, mask: Tensor, reducer: Reducer) -> "Order":
        """Find the places of samples that some cells of a rollout hold, by time.

        Args:
            mask: (T, N), whether there is a sample at this step of this process's environment.
            reducer: brings every process's numbers of samples together.

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
        """Find the places of samples that stand environment after environment, as sequences do.

        Args:
            count: B, of this process.
            reducer: brings every process's numbers of samples together.

        Returns:
            The order, of each process's samples after those of the processes before it.
        """
        each = reducer.gather(torch.tensor(count))  # (R,)
        first = int(each[: reducer.rank].sum())
        return cls(torch.arange(first, first + count), int(each.sum()))

    def own(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Find this process's samples among some of every process's.

        Args:
            chosen: (C,) int, places of samples.

        Returns:
            Which of the chosen they are, and which of this process's, (c,) each.
        """
        rows = torch.searchsorted(self.places, chosen).clamp(max=len(self.places) - 1)
        found = (self.places[rows] == chosen).nonzero().squeeze(1)
        return found, rows[found]
