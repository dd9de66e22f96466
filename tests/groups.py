"""Trainers that are several processes of one group, run to see what each of them comes to."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from tests.helpers import make_trainer, run, untimed
from tests.processes import FORKS
from trpo.agents.trainer import Trainer


def train_in_group(
    folder: Path, size: int, updates: int, dtype: torch.dtype = torch.float64, **changes: Any
) -> list[dict[str, Any]]:
    """Train by `size` processes; return what each of them has after its updates."""
    return in_group(folder, size, _train, updates, dtype, changes)


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
        process.join(120)
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


def _train(updates: int, dtype: torch.dtype, changes: dict[str, Any]) -> dict[str, Any]:
    torch.set_default_dtype(dtype)
    trainer = make_trainer(**changes)
    thetas, records = [], []
    for _ in range(updates):
        records += map(untimed, run(trainer, 1))
        thetas.append(theta(trainer))
    return {"theta": torch.stack(thetas), "records": records}


def theta(trainer: Trainer) -> torch.Tensor:
    """Parameters of policy and value function, and the statistics."""
    return torch.cat([t.detach().double().reshape(-1) for t in trainer.agent.tensors().values()])
