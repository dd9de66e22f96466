"""What an update works on: the samples of a rollout, flat, and cut into microbatches."""

import math
from dataclasses import dataclass

from torch import Tensor

from trpo.reducer import Reducer

SAMPLES_WORTH_A_THREAD = 512  # fewer, and handing them over costs more than it saves


@dataclass(frozen=True)
class Batch:
    """The B valid steps of a rollout, as the update rules take them: flat, with advantages and returns.

    Args:
        observations: (B, O), normalised.
        actions: (B, A).
        log_probs: (B,), log π_old(a|s).
        advantages: (B,), zero mean and unit deviation.
        returns: (B,), TD(λ) targets of the value function.
    """

    observations: Tensor
    actions: Tensor
    log_probs: Tensor
    advantages: Tensor
    returns: Tensor

    def __len__(self) -> int:
        """Return B."""
        return len(self.observations)

    def rows(self, index: slice | Tensor) -> "Batch":
        """Return the samples at `index`, as a batch.

        Args:
            index: a slice, or indices of any order.

        Returns:
            A view for a slice, a copy for indices.
        """
        return Batch(*(getattr(self, name)[index] for name in self.__dataclass_fields__))

    def microbatches(self, size: int, reducer: Reducer) -> list["Batch"]:
        """Cut the batch into even pieces, of at most `size` samples, one a thread if each has enough to do.

        Args:
            size: samples, ≥ 1.
            reducer: that they are for.

        Returns:
            Views that make up the batch.
        """
        count = max(
            math.ceil(len(self) / size), min(reducer.threads, len(self) // SAMPLES_WORTH_A_THREAD)
        )
        even = math.ceil(len(self) / max(count, 1))
        return [self.rows(slice(start, start + even)) for start in range(0, len(self), even)]

    def every(self, stride: int, size: int, reducer: Reducer) -> list["Batch"] | None:
        """Return microbatches of every n-th sample, for a Fisher matrix averaged over fewer states.

        Args:
            stride: n ≥ 1.
            size: samples in a microbatch at most.
            reducer: that they are for.

        Returns:
            Views; `None` for a stride of 1, which is the batch itself.
        """
        return (
            self.rows(slice(None, None, stride)).microbatches(size, reducer) if stride > 1 else None
        )
