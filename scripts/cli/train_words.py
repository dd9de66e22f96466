"""Options of `trpo train` in one string, for commands that train many runs."""

import shlex
from collections.abc import Sequence

from trpo.scripts.cli.command import UsageError


def with_options_joined(arguments: Sequence[str]) -> list[str]:
    """Return a command's words with --options=X for --options X, whose X begins as an option does.

    Args:
        arguments: the words after the command's name.

    Returns:
        The same otherwise.
    """
    words = iter(arguments)
    return [f"{word}={next(words, '')}" if word == "--options" else word for word in words]


def words_of(options: str) -> list[str]:
    """Split a command's --options into words, as a shell would.

    Args:
        options: such as "--seed 7 --max-kl 0.01".

    Returns:
        The words.

    Raises:
        UsageError: if a quotation is not closed.
    """
    try:
        return shlex.split(options)
    except ValueError as error:
        raise UsageError(f"options = {options!r} cannot be read: {error}") from error
