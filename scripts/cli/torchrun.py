"""What torchrun tells the processes that it starts; imports nothing that takes time."""

import os


def rank() -> int:
    """Return this process's number among all hosts' processes."""
    return _number("RANK", 0)


def size() -> int:
    """Return the number of all hosts' processes."""
    return _number("WORLD_SIZE", 1)


def local_rank() -> int:
    """Return this process's number on its host."""
    return _number("LOCAL_RANK", 0)


def local_size() -> int:
    """Return the number of this host's processes."""
    return _number("LOCAL_WORLD_SIZE", 1)


def host() -> int:
    """Return this host's number."""
    return _number("GROUP_RANK", 0)


def _number(name: str, otherwise: int) -> int:
    return int(os.environ.get(name) or otherwise)  # empty is how some shells unset it
