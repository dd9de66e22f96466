"""The processes of one run, as started by torchrun: the first leads, and records the run."""

import contextlib
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import TracebackType

import numpy as np
import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from trpo.process_group import lost_process_errors
from trpo.scripts.cli import torchrun
from trpo.scripts.cli.output import say_error

FAILURE = "failure"  # key of the group's store: which process failed first, and how
# key of the first process's message to the others about the run
BEGIN, FINISHED = b"begin", b"finished"


@contextmanager
def errors_from_rank_zero() -> Iterator[None]:
    """Report errors in input common to all processes only once: the others exit silently.

    Raises:
        SystemExit: in the others, with the exit code for invalid input.
    """
    try:
        yield
    except ValueError as error:
        if torchrun.rank() > 0:
            raise SystemExit(2) from error
        raise


class Ranks:
    """A context manager for the group of a run's processes; one process is a group, too.

    A failure ends all of them, with one line from the process that failed, and on the first one's
    host if that differs. A process that is lost silently is reported by the first to notice.

    Args:
        timeout: seconds that a process waits for the others.
    """

    def __init__(self, timeout: float = 1800.0) -> None:
        self.rank, self.size = torchrun.rank(), torchrun.size()
        self.timeout = timedelta(seconds=timeout)

    def __enter__(self) -> "Ranks":
        if self.size > 1:
            backend = "gloo"
            if torch.cuda.is_available():
                torch.cuda.set_device(torchrun.local_rank() % torch.cuda.device_count())
                backend = "cpu:gloo,cuda:nccl"
            with lost_process_errors():
                kept, _, _ = next(rendezvous("env://", timeout=self.timeout))
                store = self._fresh_part(kept)
                self.store = PrefixStore("trpo", store)
                dist.init_process_group(
                    backend,
                    timeout=self.timeout,
                    world_size=self.size,
                    rank=self.rank,
                    store=PrefixStore("torch", store),
                )
        return self

    def _fresh_part(self, kept: Store) -> Store:
        """Agree on an unused part of the store.

        When torchrun restarts processes it keeps its store, which still contains the addresses and
        failures of the earlier ones. To avoid reading stale entries, each process writes a unique
        name and waits for an answer to it; the first process answers all names that it finds, until
        every process has confirmed its answer.

        Args:
            kept: torchrun's store.

        Returns:
            The part, under the first one's name.
        """
        own, deadline = uuid.uuid4().hex, time.monotonic() + self.timeout.total_seconds()
        kept.set(f"name of {self.rank}", own)
        if self.rank > 0:
            first = kept.get(f"answer to {own}").decode()
            kept.set(f"{self.rank} heard {first}", "")
            return PrefixStore(first, kept)
        missing = list(range(1, self.size))
        while missing:
            if time.monotonic() > deadline:
                raise RuntimeError(f"ranks {missing} did not join")
            for rank in missing:
                if kept.check([f"name of {rank}"]):
                    kept.set(f"answer to {kept.get(f'name of {rank}').decode()}", own)
            time.sleep(0.01)
            missing = [rank for rank in missing if not kept.check([f"{rank} heard {own}"])]
        return PrefixStore(own, kept)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.size == 1:
            return
        if error is None:
            dist.destroy_process_group()
        elif not self.is_first_failure(str(error)):
            raise SystemExit(1) from error

    def is_first_failure(self, said: str) -> bool:
        """Tell the other processes why this one ends.

        Args:
            said: one line.

        Returns:
            Whether this process also has to tell the user.
        """
        if self.size == 1:
            return True
        own = f"{torchrun.host()} {self.rank} {said}"
        with contextlib.suppress(RuntimeError):  # the store may be gone, too
            first = self.store.compare_set(FAILURE, "", own).decode()
            host, rank, told = first.split(" ", 2)
            if first != own and self.rank == 0 and int(host) != torchrun.host():
                say_error(f"rank {rank}: {told}")
            return first == own
        return True

    def send(self, content: bytes) -> None:
        """Send something to the other processes; called by the first.

        Args:
            content: anything.
        """
        if self.size > 1:
            self._broadcast(torch.tensor([len(content)]))
            self._broadcast(torch.from_numpy(np.frombuffer(content, np.uint8).copy()))

    def receive(self) -> bytes:
        """Return what the first process sent; called by the others."""
        length = torch.zeros(1, dtype=torch.int64)
        self._broadcast(length)
        content = torch.zeros(int(length), dtype=torch.uint8)
        self._broadcast(content)
        return content.numpy().tobytes()

    def _broadcast(self, tensor: torch.Tensor) -> None:
        if tensor.numel():
            with lost_process_errors():
                dist.broadcast(tensor, 0)
