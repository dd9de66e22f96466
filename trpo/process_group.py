"""Reduction over the microbatches of several processes, with torch.distributed (gloo or NCCL).

Every process has a part of the batch, and all take the same step: whatever depends on the whole
batch is reduced to the same bits in all of them, and everything else is computed from that. Sums
take one packed all-reduce, together with the count of samples; small tensors and maxima are
gathered and combined in rank order.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import reduce

import torch
import torch.distributed as dist
from torch import Tensor

from trpo.parameters import flatten, unflatten
from trpo.reducer import Reducer, ThreadReducer, Totals, single_threaded

DIGIT = 4096  # counts travel as two digits: exact in float32 up to 2²⁴ · 4096 samples


class LostProcessError(RuntimeError):
    """Another process of the group has died or timed out."""


@contextmanager
def lost_process_errors() -> Iterator[None]:
    """Raise `LostProcessError` where other processes do not take part in a collective call.

    Raises:
        LostProcessError: with torch.distributed's message, in one line.
    """
    try:
        yield
    except RuntimeError as error:
        said = re.sub(r"^\[.*?\] ", "", str(error).partition("\n")[0])  # without gloo's own file
        raise LostProcessError(f"another process of the group is lost: {said}") from error


class ProcessReducer(ThreadReducer):
    """One of the processes of torch.distributed, each with its own threads.

    All processes have to create it, its `halves`, and call its reductions in the same order.

    Args:
        threads: ≥ 1, of this process.
        group: of all processes; `None` for the default one. Two reducers that are used at the same
            time need separate groups, or their messages would be mixed up.
    """

    def __init__(self, threads: int, group: dist.ProcessGroup | None = None) -> None:
        super().__init__(threads)
        self.group = group
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        # even then in parallel: one computes while the other's messages travel
        if threads == 1:
            self._helpers = single_threaded(1)

    def combine(self, totals: Totals) -> Totals:  # noqa: D102
        if totals.maxima:
            return self._combine_by_rank(totals)
        device = totals.sums[0].device if totals.sums else None
        digits = torch.tensor(divmod(totals.count, DIGIT), device=device)
        like = [*totals.sums, digits]
        dtypes = (total.dtype for total in totals.sums)
        dtype = reduce(torch.promote_types, dtypes, torch.float32)
        packed = flatten([total.to(dtype) for total in like])
        self._all_reduce(packed)
        *sums, (high, low) = _cast(unflatten(packed, like), like)
        return Totals(int(high) * DIGIT + int(low), tuple(sums))

    def _combine_by_rank(self, totals: Totals) -> Totals:
        like = [torch.tensor(totals.count), *totals.sums, *totals.maxima]
        device = totals.maxima[0].device
        packed = flatten([total.to(device, torch.float64) for total in like])

        def unpacked(row: Tensor) -> Totals:
            count, *rest = _cast(unflatten(row, like), like)
            sums, maxima = rest[: len(totals.sums)], rest[len(totals.sums) :]
            return Totals(int(count), tuple(sums), tuple(maxima))

        return reduce(Totals.__add__, map(unpacked, self.gather(packed)))

    def pool_means(self, means: Sequence[Tensor], count: int) -> Sequence[Tensor]:  # noqa: D102
        return self.combine(Totals(count, tuple(count * mean for mean in means))).means

    def moments(self, samples: Tensor) -> tuple[int, Tensor, Tensor]:
        """Return count, mean and (biased) variance of all processes' samples.

        Chan, Golub & LeVeque 1983: merges each process's mean and variance, weighted by its count.

        Args:
            samples: (B, …), this process's; B may be 0, but not in all of them.

        Returns:
            B over all processes, and two tensors of a sample's shape.
        """
        count, mean, variance = super().moments(samples)
        own = torch.stack([torch.full_like(mean, count), mean, variance]).double()
        counts, means, variances = self.gather(own).unbind(1)  # (R, …) each, R processes
        weights = counts / counts.sum(0)
        shifts = means - means[0]  # 0 where nothing varies, whatever the weights' rounding
        shift = (weights * shifts).sum(0)
        variance = (weights * (variances + (shifts - shift).square())).sum(0)
        total = int(counts.sum(0).flatten()[0])
        return total, (means[0] + shift).to(mean.dtype), variance.to(mean.dtype)

    def gather(self, tensor: Tensor) -> Tensor:  # noqa: D102
        parts = [torch.empty_like(tensor) for _ in range(self.size)]
        with lost_process_errors():
            dist.all_gather(parts, tensor, group=self.group)
        return torch.stack(parts)

    def assemble(self, rows: Tensor, places: Tensor, count: int) -> Tensor:  # noqa: D102
        whole = torch.zeros(count, *rows.shape[1:], dtype=rows.dtype, device=rows.device)
        whole[places] = rows
        if whole.numel():
            self._all_reduce(whole.view(torch.uint8))  # all but one process's bytes are 0
        return whole

    def halves(self) -> tuple[Reducer, Reducer]:  # noqa: D102
        if self._halves is None:
            one, other = (
                ProcessReducer(max(self.threads // 2, 1), dist.new_group()) for _ in range(2)
            )
            self._halves = one, other
        return self._halves

    def _all_reduce(self, tensor: Tensor) -> None:
        with lost_process_errors():
            dist.all_reduce(tensor, group=self.group)


def _cast(tensors: Sequence[Tensor], like: Sequence[Tensor]) -> list[Tensor]:
    return [tensor.to(other.dtype) for tensor, other in zip(tensors, like, strict=True)]


def make_reducer(threads: int) -> ThreadReducer:
    """Return a reducer over all threads, and all processes if torch.distributed is initialised.

    Args:
        threads: ≥ 1, of this process.

    Returns:
        A reducer for this process only, or for it as a member of its group.
    """
    together = dist.is_available() and dist.is_initialized()
    return ProcessReducer(threads) if together else ThreadReducer(threads)
