"""One process per run folder: a lock that the system releases however its owner ends."""

import errno
import fcntl
import os
import stat
from pathlib import Path
from types import TracebackType

from trpo.agents.storage.errors import BusyRunError

# This process's, by folder: opening and closing a held lock's file again would release it.
_held: dict[str, "Lock"] = {}
os.register_at_fork(after_in_child=_held.clear)  # a child process holds none


class Lock:
    """A re-entrant lock, held within its `with` block.

    Args:
        folder: the run's, existing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._depth = 0

    def __enter__(self) -> "Lock":
        if self._depth == 0:
            self._take()
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
            _held.pop(self._place, None)  # a forked child does not have it

    def is_held(self) -> bool:
        """Return whether any process, including this one, is training the run."""
        if os.path.realpath(self._folder) in _held:
            return True
        try:
            with open(self._folder / "lock", "rb", opener=_open) as file:
                fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return True
        except OSError:  # not a lock file: missing, or a link or a pipe
            return False
        return False

    def _take(self) -> None:
        self._place = os.path.realpath(self._folder)
        if _held.setdefault(self._place, self) is not self:
            raise BusyRunError(f"run {self._folder} is being trained by this process already")
        try:
            self._descriptor = self._lock()
        except BaseException:
            del _held[self._place]
            raise

    def _lock(self) -> int:
        path = self._folder / "lock"
        descriptor = _open(str(path), os.O_RDWR | os.O_CREAT)
        try:  # not flock, which the environments' processes would inherit
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError | PermissionError):
                busy = f"run {self._folder} is being trained by another process"
                raise BusyRunError(busy) from error
            raise OSError(error.errno, error.strerror, str(path)) from error
        return descriptor


def _open(path: str, flags: int) -> int:
    # O_NONBLOCK: opening a pipe without a writer would block
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "Not a regular file", path)
    return descriptor
