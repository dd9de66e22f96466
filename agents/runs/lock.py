"""One process a run folder: a lock that the system gives back however its owner dies."""

import fcntl
import os
from pathlib import Path
from types import TracebackType

from trpo.agents.runs.errors import BusyRunError


class Lock:
    """Held while it is entered; one who holds it may enter it again.

    Args:
        folder: the run's, existing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._depth = 0

    def __enter__(self) -> "Lock":
        if self._depth == 0:
            self._descriptor = self._lock()
        self._depth += 1
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._depth -= 1
        if self._depth == 0:
            os.close(self._descriptor)

    def is_held(self) -> bool:
        """Return whether another process trains the run now."""
        try:
            with (self._folder / "lock").open("rb") as file:
                fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return False

    def _lock(self) -> int:
        descriptor = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:  # not flock: processes of the environments' would inherit that
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError | PermissionError):
                busy = f"run {self._folder} is being trained by another process"
                raise BusyRunError(busy) from error
            raise OSError(error.errno, error.strerror, str(self._folder / "lock")) from error
        return descriptor
