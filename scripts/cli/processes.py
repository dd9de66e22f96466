"""Work side by side, each in a process of its own, that ends when the one that began it does."""

import multiprocessing
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Any

from trpo.scripts.cli.interrupt import end_with_parent
from trpo.scripts.cli.output import prepare_streams

FORKS = multiprocessing.get_context("forkserver")
"""Processes that have torch imported already, and nothing else done."""
LATE = "torch.fx.experimental.symbolic_shapes"  # a second, at the first product with a Jacobian
FORKS.set_forkserver_preload([
    "trpo.scripts.cli.fork_server",
    "trpo.scripts.train",
    "envpool",
    LATE,
])


def start_process(work: Callable[..., None], *arguments: Any) -> BaseProcess:
    """Start a process that does not go on alone, even when this one is killed by SIGKILL.

    Args:
        work: what it does.
        arguments: of `work`.

    Returns:
        The process, at work.
    """
    process = FORKS.Process(target=_work, args=(work, *arguments))
    process.start()
    return process


def _work(work: Callable[..., None], *arguments: Any) -> None:
    end_with_parent()
    prepare_streams()
    work(*arguments)
