"""What torchrun tells the processes that it starts; imports nothing that takes time."""

import os


def rank() -> int:
    """Return this process's number among all hosts' processes."""
    return int(os.environ.get("RANK", "0"))


def size() -> int:
    """Return the number of all hosts' processes."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_rank() -> int:
    """Return this process's number on its host."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def local_size() -> int:
    """Return the number of this host's processes."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def host() -> int:
    """Return this host's number."""
    return int(os.environ.get("GROUP_RANK", "0"))
