"""Atomic file operations that follow no links: an untrusted run folder may contain anything.

A full disk or a killed process leaves the old content, never part of the new. Nothing is read or
written through a symbolic link, which may point out of the folder.
"""

import errno
import os
import secrets
import stat
from pathlib import Path


def read_file(path: Path) -> bytes:
    """Read a file.

    Args:
        path: the file.

    Returns:
        All of it.

    Raises:
        OSError: if it cannot be read, or is a link, a device or a pipe.
    """
    # O_NONBLOCK: opening a pipe without a writer would block
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Not a regular file", str(path))
        return file.read()


def replace_file(path: Path, content: bytes) -> None:
    """Write a file next to `path`, flush it to disk, and rename it into place.

    Args:
        path: the file; its folder exists. A link there is replaced, not followed.
        content: all of it.

    Raises:
        OSError: if it cannot be written, with `path` as its file; the old content is kept.
    """
    if not path.name:
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")  # an unpredictable name
    try:
        with open(draft, "xb", opener=_open_new) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the name, too
        finally:
            os.close(folder)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error


def remove_drafts(folder: Path, name: str) -> None:
    """Remove temporary files left by killed processes that were writing a file.

    Args:
        folder: the file's.
        name: the file's, or a pattern; no process may be writing such a file now.
    """
    for draft in folder.glob(f".{name}.*.tmp"):
        draft.unlink()


def _open_new(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


class AppendedFile:
    """A file that is appended to record by record; records survive if the process is killed.

    Args:
        path: the file; created if it does not exist.

    Raises:
        OSError: if it cannot be opened, or is a link.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = open(path, "ab", buffering=0, opener=_open_new)  # noqa: SIM115 until close()

    def write(self, content: bytes) -> None:
        """Append a record.

        Args:
            content: the record.

        Raises:
            OSError: if it cannot be written, with the path as its file.
        """
        rest = memoryview(content)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from error

    def sync(self) -> None:
        """Flush everything to disk.

        Raises:
            OSError: if it cannot be written, with the path as its file.
        """
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()
