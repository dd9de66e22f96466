"""The environment variables that torchrun sets; imports nothing slow."""

import os

LEAST = {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1, "GROUP_RANK": 0}
"""Its variables, and their minimum values, which are also their defaults."""


def wrong() -> str:
    """Return what is wrong with its variables, in one line; "" if they are valid."""
    for name, least in LEAST.items():
        if _number(name) < least:
            value = f"environment variable {name} = {os.environ[name]!r}"
            return f"{value} is out of range: expected an integer ≥ {least}, or none"
    if rank() >= size():
        value = f"environment variable RANK = {rank()}"
        return f"{value} is out of range: expected less than WORLD_SIZE = {size()}, or none"
    return ""


def rank() -> int:
    """Return this process's number among all hosts' processes."""
    return _number("RANK")


def size() -> int:
    """Return the number of all hosts' processes."""
    return _number("WORLD_SIZE")


def local_rank() -> int:
    """Return this process's number on its host."""
    return _number("LOCAL_RANK")


def local_size() -> int:
    """Return the number of this host's processes."""
    return _number("LOCAL_WORLD_SIZE")


def host() -> int:
    """Return this host's number."""
    return _number("GROUP_RANK")


def _number(name: str) -> int:
    try:
        return int(os.environ.get(name) or LEAST[name])  # some shells unset it by making it empty
    except ValueError:
        return -1  # reported by `wrong`
