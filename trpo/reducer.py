"""How microbatches are processed, and how their results are combined for the whole batch.

Every mean, maximum and moment over a batch goes through one `Reducer`, passed in by the caller. On
a CPU, one thread per microbatch beats torch's parallel operations, which synchronise after every
operation: microbatches synchronise once per product. On a busy machine, torch's barriers can cost
ten times the work.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial, reduce
from typing import TypeVar

import torch
from torch import Tensor

Item = TypeVar("Item")
Result = TypeVar("Result")
Other = TypeVar("Other")


@dataclass(frozen=True)
class Totals:
    """Sums and maxima over some samples: a microbatch's, a batch's, or those of all processes.

    Args:
        count: number of samples.
        sums: tensors of any shape, each summed over the samples.
        maxima: tensors of any shape, each a maximum over the samples.
    """

    count: int
    sums: tuple[Tensor, ...] = ()
    maxima: tuple[Tensor, ...] = ()

    def __add__(self, other: "Totals") -> "Totals":
        return Totals(
            self.count + other.count,
            tuple(a + b for a, b in zip(self.sums, other.sums, strict=True)),
            tuple(map(torch.maximum, self.maxima, other.maxima)),
        )

    @property
    def means(self) -> tuple[Tensor, ...]:
        """Mean over the samples, for each of `sums`."""
        return tuple(total / self.count for total in self.sums)


class Reducer:
    """One thread of one process; the interface of all reducers."""

    threads: int = 1  # microbatches processed at a time
    rank: int = 0  # of this process, among
    size: int = 1  # processes

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """Return function(item) for every item, in order.

        Args:
            function: must not depend on the calling thread's state, such as `torch.no_grad`.
            items: microbatches, or what is kept for each of them.

        Returns:
            One result per item.
        """
        return [function(item) for item in items]

    def reduce(self, function: Callable[[Item], Totals], items: Sequence[Item]) -> Totals:
        """Return the totals over all items.

        Args:
            function: item ↦ its totals; the same number of `sums` and `maxima` from each.
            items: microbatches, or what is kept for each of them.

        Returns:
            The totals of the whole batch, added in the items' order.
        """
        # only as many at a time as there are threads: a gradient takes as much memory as θ
        some = (items[start : start + self.threads] for start in range(0, len(items), self.threads))
        totals = (total for few in some for total in self.map(function, few))
        return self.combine(reduce(Totals.__add__, totals))

    def combine(self, totals: Totals) -> Totals:
        """Sum over processes, with one packed all-reduce per call; a no-op for one process.

        Args:
            totals: this process's.

        Returns:
            The totals over all processes, the same in all of them.
        """
        return totals

    def pool_means(self, means: Sequence[Tensor], count: int) -> Sequence[Tensor]:  # noqa: ARG002
        """Return the means over all processes' samples.

        Args:
            means: over this process's samples.
            count: the number of this process's samples.

        Returns:
            The means, unchanged for one process.
        """
        return means

    def moments(self, samples: Tensor) -> tuple[int, Tensor, Tensor]:
        """Return count, mean and (biased) variance of all processes' samples.

        Args:
            samples: (B, …), this process's.

        Returns:
            B, and two tensors of a sample's shape; zeros if there are no samples.
        """
        if len(samples) == 0:
            return 0, samples.sum(0), samples.sum(0)
        return len(samples), samples.mean(0), samples.var(0, correction=0)

    def gather(self, tensor: Tensor) -> Tensor:
        """Return all processes' tensors, in rank order.

        Args:
            tensor: of the same shape and dtype in all of them.

        Returns:
            (R, …) for R processes.
        """
        return tensor[None]

    def assemble(self, rows: Tensor, places: Tensor, count: int) -> Tensor:
        """Gather all processes' rows, each at its place.

        Args:
            rows: (b, …), this process's.
            places: (b,) int, in [0, count); each place belongs to exactly one process.
            count: total number of rows.

        Returns:
            (count, …), bit for bit.
        """
        whole = torch.zeros(count, *rows.shape[1:], dtype=rows.dtype, device=rows.device)
        whole[places] = rows
        return whole

    def halves(self) -> tuple["Reducer", "Reducer"]:
        """Return two reducers for `side_by_side`, each for half of the threads."""
        return self, self

    def side_by_side(
        self, one: Callable[[], Result], other: Callable[[], Other]
    ) -> tuple[Result, Other]:
        """Run two independent functions, in parallel if there are several threads.

        Args:
            one: run on the calling thread; if it reduces, then with the first of `halves`.
            other: if it reduces, then with the second.

        Returns:
            Their results.
        """
        return one(), other()

    def close(self) -> None:
        """Release the reducer's threads and groups."""


SERIAL = Reducer()


def single_threaded(count: int) -> ThreadPoolExecutor:
    """Return an executor, torch limited to one thread in each of its own.

    Args:
        count: of threads; each starts when it is first needed.

    Returns:
        The executor.
    """
    return ThreadPoolExecutor(count, "microbatches", partial(torch.set_num_threads, 1))


class ThreadReducer(Reducer):
    """Several threads, including the calling one; limits torch to one thread in each.

    Args:
        threads: ≥ 1.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        torch.set_num_threads(1)
        self._helpers = single_threaded(threads - 1) if threads > 1 else None
        self._halves: tuple[ThreadReducer, ThreadReducer] | None = None

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:  # noqa: D102
        n = min(self.threads, len(items))
        if self._helpers is None or n <= 1:
            return super().map(function, items)

        def share(k: int) -> list[Result]:  # every n-th item, so that no thread waits
            return [function(item) for item in items[k::n]]

        others = [self._helpers.submit(share, k) for k in range(1, n)]
        try:
            shares = [share(0), *(other.result() for other in others)]
        finally:
            wait(others)  # after an error, too, so that no thread keeps working in the background
        return [shares[i % n][i // n] for i in range(len(items))]

    def halves(self) -> tuple[Reducer, Reducer]:  # noqa: D102
        if self.threads == 1:
            return self, self
        if self._halves is None:
            self._halves = ThreadReducer(self.threads // 2), ThreadReducer(self.threads // 2)
        return self._halves

    def side_by_side(  # noqa: D102
        self, one: Callable[[], Result], other: Callable[[], Other]
    ) -> tuple[Result, Other]:
        if self._helpers is None:
            return super().side_by_side(one, other)
        ending = self._helpers.submit(other)
        try:
            return one(), ending.result()
        finally:
            wait([ending])

    def close(self) -> None:
        """End the threads; if the reducer is used again, new ones start."""
        if self._helpers:
            self._helpers.shutdown()
            self._helpers = single_threaded(max(self.threads - 1, 1))
        for half in self._halves or ():
            half.close()
