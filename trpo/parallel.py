"""Chunks of a batch side by side: each on a thread of its own, with torch kept to one thread in each.

On a CPU this beats torch's parallel operations, which meet at a barrier after every one of them:
chunks meet once a product. Where other programs want the cores too, those barriers can cost ten
times the work.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from typing import TypeVar

import torch

Chunk = TypeVar("Chunk")
Result = TypeVar("Result")
Other = TypeVar("Other")

_helpers: ThreadPoolExecutor | None = None
_workers = 1


def set_workers(count: int) -> None:
    """Work on that many chunks at a time from now on, the calling thread's included; keeps torch to one thread in each.

    Args:
        count: workers, ≥ 1; 1 until the first call.
    """
    global _helpers, _workers
    if _helpers:
        _helpers.shutdown()
    _workers = count
    torch.set_num_threads(1)
    _helpers = (
        ThreadPoolExecutor(count - 1, "chunks", partial(torch.set_num_threads, 1))
        if count > 1
        else None
    )


def workers() -> int:
    """Return how many chunks are worked on at a time."""
    return _workers


def map_chunks(function: Callable[[Chunk], Result], chunks: Sequence[Chunk]) -> list[Result]:
    """Return function(chunk) for every chunk, in their order, computed side by side.

    Args:
        function: must not depend on the calling thread's state, such as `torch.no_grad`.
        chunks: of a batch.

    Returns:
        A result for each.
    """
    if _helpers is None or _workers == 1 or len(chunks) == 1:
        return [function(chunk) for chunk in chunks]
    first, *rest = chunks
    others = [_helpers.submit(function, chunk) for chunk in rest]
    return [function(first), *(other.result() for other in others)]


def side_by_side(one: Callable[[], Result], other: Callable[[], Other]) -> tuple[Result, Other]:
    """Run two independent functions at the same time, each cut for half of the workers; if there is but one, in turn.

    Args:
        one: run on the calling thread.
        other: run on a thread of its own.

    Returns:
        What they returned.
    """
    global _workers
    if _helpers is None:
        return one(), other()
    all_workers, _workers = _workers, _workers // 2
    ending = _helpers.submit(other)
    try:
        return one(), ending.result()
    finally:
        wait([ending])
        _workers = all_workers
