"""Processes of one group: what each returns, and runs of `trpo train` as torchrun starts them."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from tests.processes import FORKS, command


def in_group(folder: Path, size: int, work: Callable, *arguments: Any) -> list[Any]:
    """Return what `work(*arguments)` returns in each of the processes of a gloo group."""
    folder.mkdir(exist_ok=True)
    processes = [
        FORKS.Process(target=_member, args=(folder, rank, size, work, *arguments))
        for rank in range(size)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
    assert [process.exitcode for process in processes] == [0] * size
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(size)]


def _member(folder: Path, rank: int, size: int, work: Callable, *arguments: Any) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    if size > 1:
        meeting = f"file://{folder / 'store'}"
        dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=size)
    torch.save(work(*arguments), folder / f"{rank}.pt")
    if size > 1:
        dist.destroy_process_group()


class Launch:
    """What torchrun does: starts a run's processes, each told its rank, and keeps their store.

    Args:
        words: of the command.
        size: processes.
        err: folder for what they say on standard error.
        attempt: times that they were started before.
        store: of the start before, which torchrun keeps.
    """

    def __init__(
        self,
        words: str,
        size: int,
        err: Path,
        attempt: int = 0,
        store: dist.TCPStore | None = None,
    ) -> None:
        self.store = store or dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        self.errs = [err / f"err{attempt}.{rank}" for rank in range(size)]
        told = {
            "WORLD_SIZE": str(size),
            "LOCAL_WORLD_SIZE": str(size),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(self.store.port),
            "TORCHELASTIC_USE_AGENT_STORE": "True",
            "TORCHELASTIC_RESTART_COUNT": str(attempt),
            "GLOO_SOCKET_IFNAME": "lo",
        }
        self.processes = [
            FORKS.Process(target=_ranked, args=(told | {"RANK": str(rank)}, words, str(error)))
            for rank, error in enumerate(self.errs)
        ]
        for process in self.processes:
            process.start()

    def join(self, seconds: float = 120) -> list[int | None]:
        """Wait for all of them; return their exit codes."""
        for process in self.processes:
            process.join(seconds)
        return [process.exitcode for process in self.processes]

    @property
    def said(self) -> list[str]:
        """What they said on standard error, line by line."""
        return [line for err in self.errs for line in err.read_text(encoding="utf-8").splitlines()]


def _ranked(told: dict[str, str], words: str, err: str) -> None:
    os.environ |= told | {"LOCAL_RANK": told["RANK"]}
    command(words, err)
