"""Errors about environments, with one-line messages that say what to do."""

import difflib
import re
import traceback
from collections.abc import Collection, Iterable
from pathlib import Path

import gymnasium as gym

VERSION = re.compile(r"-v(\d+)$")
INSTALL = "pip install -e '.[{extra}]'"
NEED_NO_MODULE = frozenset(gym.registry)  # as later ids do, which a module of the user's registers


class EnvError(ValueError):
    """An environment that cannot be created; the message is one line, for the user.

    Args:
        message: the line.
        config: the configuration class that rejected a field's value, if one did.
        field: that field's name.
    """

    def __init__(self, message: str, config: type | None = None, field: str = "") -> None:
        super().__init__(message)
        self.config = config
        self.field = field


def one_line(error: BaseException) -> str:
    """Return an exception's kind and the first line of what it says; a syntax error's place, too.

    Args:
        error: any.

    Returns:
        One line.
    """
    if isinstance(error, SyntaxError) and error.filename:  # is told last, below the line of code
        where = f"{Path(error.filename).name}, line {error.lineno}"
        return f"{type(error).__name__}: {error.msg} ({where})"
    return "".join(traceback.format_exception_only(error)).strip().partition("\n")[0]


def unknown_id(env_id: str, known: Collection[str]) -> EnvError:
    """Return the error for an unregistered id, with the closest ids.

    Args:
        env_id: what the user asked for.
        known: every registered id.

    Returns:
        The error, to be raised.
    """
    module, colon, wanted = env_id.rpartition(":")
    own = [name for name in known if colon and name in gym.registry.keys() - NEED_NO_MODULE]
    near = (
        versions_of(wanted, own)[-1:]
        or versions_of(wanted, known)[-1:]
        or _similar(wanted, own)
        or _similar(wanted, known)
    )
    named = [module + colon + name if name in own else name for name in near]
    hint = (
        f"did you mean {' or '.join(named)}?"
        if named
        else "expected an id of Gymnasium or EnvPool, or module:Env-v0"
    )
    return EnvError(f"unknown environment {env_id!r}: {hint}")


def _similar(env_id: str, known: Iterable[str]) -> list[str]:
    by_lower = {name.lower(): name for name in sorted(known)}
    near = difflib.get_close_matches(env_id.lower(), by_lower, n=3, cutoff=0.5)
    return [by_lower[name] for name in near]


def versions_of(env_id: str, known: Iterable[str]) -> list[str]:
    """Return all versions of an environment, newest last.

    Args:
        env_id: Name-v0, of any version, or Name.
        known: every registered id.

    Returns:
        Those of `known`.
    """
    name = VERSION.sub("", env_id)
    numbers = {other: VERSION.search(other) for other in known if VERSION.sub("", other) == name}
    return sorted(numbers, key=lambda other: int(found[1]) if (found := numbers[other]) else -1)


def missing_extra(env_id: str, extra: str) -> EnvError:
    """Return the error for an environment whose package is not installed.

    Args:
        env_id: what the user asked for.
        extra: this project's extra that installs the package.

    Returns:
        The error, to be raised.
    """
    return EnvError(
        f"{env_id} needs a package that is not installed: run {INSTALL.format(extra=extra)}"
    )
