"""The data of an update: the samples of a rollout, flattened and cut into microbatches."""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from trpo.agents.observations import Observation, select, to_device, whole_sequences
from trpo.agents.order import Order
from trpo.reducer import Reducer

SAMPLES_WORTH_A_THREAD = 512  # with fewer, the overhead of a thread exceeds its benefit


@dataclass(frozen=True)
class Batch:
    """The B valid steps of a rollout, from which update rules and the value fit learn.

    Args:
        observations: tensors (B, *shape), as the environment gave them.
        actions: (B, A).
        log_probs: (B,), log π_old(a|s).
        advantages: (B,), zero mean and unit standard deviation.
        returns: (B,), TD(λ) targets of the value function.
        times: (B,) int, each sample's step t of the rollout, ascending.
        environments: (B,) int, each sample's environment n.
        deviation: standard deviation of the advantages before they were normalised, divided by
            their running standard deviation.
        order: places of the samples among those of all processes; `None` if these are all.
    """

    observations: Observation
    actions: Tensor
    log_probs: Tensor
    advantages: Tensor
    returns: Tensor
    times: Tensor
    environments: Tensor
    deviation: float = 1.0
    order: Order | None = None

    def __len__(self) -> int:
        """Return B."""
        return len(self.returns)

    @property
    def total(self) -> int:
        """Number of samples of all processes: of the whole batch."""
        return self.order.total if self.order else len(self)

    def own(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Find this process's samples among some of the whole batch.

        Args:
            chosen: (C,) int, in [0, total).

        Returns:
            Which of the chosen they are, and which rows of this batch, (c,) each.
        """
        return self.order.own(chosen) if self.order else (torch.arange(len(chosen)), chosen)

    def rows(self, index: slice | Tensor) -> "Batch":
        """Return the samples at `index`, as a batch.

        Args:
            index: a slice, or indices of any order.

        Returns:
            A view for a slice, a copy for indices; a batch of its own, without an order.
        """
        return Batch(
            select(self.observations, index),
            self.actions[index],
            self.log_probs[index],
            self.advantages[index],
            self.returns[index],
            self.times[index],
            self.environments[index],
            self.deviation,
        )

    def to(self, device: torch.device) -> "Batch":
        """Move the batch.

        Args:
            device: the target; tensors already there are not copied.

        Returns:
            The same samples, on the device.
        """
        return Batch(
            to_device(self.observations, device),
            self.actions.to(device),
            self.log_probs.to(device),
            self.advantages.to(device),
            self.returns.to(device),
            self.times.to(device),
            self.environments.to(device),
            self.deviation,
            self.order,
        )

    def microbatches(self, size: int, reducer: Reducer) -> list["Batch"]:
        """Cut the batch evenly: at most `size` samples each, and one piece per thread if that pays.

        Sequences stay whole.

        Args:
            size: samples, ≥ 1.
            reducer: that will process them.

        Returns:
            Views that make up the batch.
        """
        even = even_slices(len(self), size, reducer)
        starts = whole_sequences(self.observations, [rows.start for rows in even])
        return [self.rows(slice(*ends)) for ends in pairwise([*starts, len(self)])]

    def every(self, stride: int, size: int, reducer: Reducer) -> list["Batch"] | None:
        """Return microbatches of every n-th sample, for a Fisher matrix averaged over fewer states.

        Every n-th of the whole batch, of which these are this process's.

        Args:
            stride: n ≥ 1.
            size: maximum samples per microbatch.
            reducer: that will process them.

        Returns:
            Copies; `None` for a stride of 1, which means the batch itself.
        """
        if stride == 1:
            return None
        _, rows = self.own(torch.arange(0, self.total, stride))
        return self.rows(rows).microbatches(size, reducer)


def even_slices(samples: int, size: int, reducer: Reducer) -> list[slice]:
    """Cut a range evenly: at most `size` samples each, and one slice per thread if that pays.

    Args:
        samples: length of the range.
        size: samples, ≥ 1.
        reducer: that will process them.

    Returns:
        Slices that make up the range.
    """
    threads = min(reducer.threads, samples // SAMPLES_WORTH_A_THREAD)
    count = max(math.ceil(samples / size), threads, 1)
    even = max(math.ceil(samples / count), 1)
    # without samples, one empty slice: the process still takes part in reductions
    return [slice(start, start + even) for start in range(0, max(samples, 1), even)]
