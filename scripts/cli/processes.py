"""Parallel work in separate processes, which end when their parent does."""

import multiprocessing
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Any

from trpo.scripts.cli.interrupt import end_with_parent
from trpo.scripts.cli.output import prepare_streams

FORKS = multiprocessing.get_context("forkserver")
"""Processes that have torch imported already, and nothing else done."""
# takes a second, at the first product with a Jacobian
LATE = "torch.fx.experimental.symbolic_shapes"
FORKS.set_forkserver_preload([
    "trpo.scripts.cli.fork_server",
    "trpo.scripts.train",
    "envpool",
    LATE,
])


def start_process(work: Callable[..., None], *arguments: Any) -> BaseProcess:
    """Start a process that ends with this one, even if this one is killed by SIGKILL.

    Args:
        work: function that it runs.
        arguments: of `work`.

    Returns:
        The running process.
    """
    process = FORKS.Process(target=_work, args=(work, *arguments))
    process.start()
    return process


def _work(work: Callable[..., None], *arguments: Any) -> None:
    end_with_parent()
    prepare_streams()
    work(*arguments)
