"""One process a run folder: a lock that the system gives back when its owner dies, however it dies."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trpo.scripts.command import UsageError


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a run's lock.

    Args:
        folder: the run's, existing.

    Yields:
        Nothing; the lock is held meanwhile.

    Raises:
        UsageError: if another process holds it.
    """
    with (folder / "lock").open("a") as file:
        try:
            fcntl.lockf(
                file, fcntl.LOCK_EX | fcntl.LOCK_NB
            )  # not flock: processes of the environments' would inherit that
        except BlockingIOError as error:
            raise UsageError(f"run {folder} is being trained by another process") from error
        yield
