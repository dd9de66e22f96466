"""One process a run folder: a lock that the system gives back however its owner dies."""

import errno
import fcntl
import os
import stat
from pathlib import Path
from types import TracebackType

from trpo.agents.storage.errors import BusyRunError

# This process's, by folder: to open the file of one that it holds, and close it, gives it back.
_held: dict[str, "Lock"] = {}
os.register_at_fork(after_in_child=_held.clear)  # a child has none


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
            _held.pop(self._place, None)  # it is not there in a child that was forked

    def is_held(self) -> bool:
        """Return whether a process trains the run now, this one or another."""
        if os.path.realpath(self._folder) in _held:
            return True
        try:
            with open(self._folder / "lock", "rb", opener=_open) as file:
                fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return True
        except OSError:  # nothing that a process would hold: no file, or a link or a pipe
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
        try:  # not flock: processes of the environments' would inherit that
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError | PermissionError):
                busy = f"run {self._folder} is being trained by another process"
                raise BusyRunError(busy) from error
            raise OSError(error.errno, error.strerror, str(path)) from error
        return descriptor


def _open(path: str, flags: int) -> int:
    # O_NONBLOCK: a pipe that nobody writes to would be waited for
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "Not a regular file", path)
    return descriptor
