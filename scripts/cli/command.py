"""Shared by all commands: options parsed by tyro, and expected failures reported in one line."""

import contextlib
import io
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Annotated, TypeAlias, TypeVar, cast, get_args, get_origin, get_type_hints

import tyro

from trpo.agents.storage.errors import BusyRunError, RunError
from trpo.agents.trainer import TrainingError
from trpo.envs.errors import EnvError
from trpo.process_group import LostProcessError
from trpo.scripts.cli.interrupt import Interrupted
from trpo.scripts.cli.numbers import READERS
from trpo.scripts.cli.output import one_line_warnings, say_error, unwritable
from trpo.validation import ConfigError

Options = TypeVar("Options")
EnvId: TypeAlias = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="ENV")]
RunFolder: TypeAlias = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
EnvIds: TypeAlias = Annotated[
    tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[ENV ...]")
]
NO_TYPE = re.compile(
    r"Error parsing (\S+): no type matching (.+) could be instantiated from \['(.*?)'\]\. Got"
)


class UsageError(ValueError):
    """Input that a command cannot use; the message is one line, for the user."""


def parse(
    options: type[Options], arguments: Sequence[str], command: str, default: Options | None = None
) -> Options:
    """Read a command's options.

    Args:
        options: a dataclass that tyro understands.
        arguments: the words after the command.
        command: its name, for messages.
        default: values of options that are not given; `None` for the dataclass's own.

    Returns:
        The options.

    Raises:
        UsageError: if they cannot be parsed, with tyro's message in one line.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return cast(
                Options,
                tyro.cli(
                    options,
                    args=list(arguments),
                    prog=f"trpo {command}",
                    default=default,
                    registry=READERS,
                ),
            )
    except SystemExit as end:
        if end.code in {0, None}:  # help was printed
            sys.stdout.flush()
            raise
        refused = _cause(end)
        if isinstance(refused, ConfigError | EnvError):
            option = option_of(options, refused.config, refused.field)
            raise UsageError(f"{refused} ({option})" if option else str(refused)) from end
        if isinstance(refused, UsageError):
            raise refused from end
        raise UsageError(f"{_one_line(said.getvalue())} (see trpo {command} --help)") from end


def _one_line(boxes: str) -> str:
    """Return the content of tyro's message box, without title and frame."""
    _, _, inside = boxes.strip().partition("\n")
    words = " ".join(re.sub(r"[╰╯│─]+|-{3,}", " ", inside).split())
    if said := NO_TYPE.match(words):  # tyro then tells what is wrong by each of the types
        option, types, given = said.groups()
        integers = f"integers with spaces between them, as in {option} 64 64"
        expected = integers if "[INT" in types else types.replace("{None}|", "None or ")
        given = given.replace("', '", " ")
        return f"{option} {given}: expected {expected}"
    return re.sub(r"(Argument helptext:|For full helptext, (run|see)).*", "", words).strip()


def _cause(error: BaseException) -> BaseException:
    """Return an exception's origin: tyro converts exceptions of configuration classes to exits."""
    while error.__context__:
        error = error.__context__
    return error


def option_of(options: type, config: type | None, field: str, prefix: str = "") -> str | None:
    """Return how a configuration's field is written on the command line.

    Args:
        options: the dataclass that the command reads.
        config: the same, or a dataclass nested in it.
        field: of `config`.
        prefix: of the names of the options' fields.

    Returns:
        An option such as --value.damping, or RUN of a positional argument; `None` if there is none.
    """
    hints = get_type_hints(options, include_extras=True)
    if config is options:
        if tyro.conf.Positional in get_args(hints[field]):
            return field.upper()
        return f"--{prefix}{field}".replace("_", "-")
    for name, hint in hints.items():
        part = get_args(hint)[0] if get_origin(hint) is Annotated else hint
        if is_dataclass(part):
            within = f"{prefix}{name}." if hint is part else ""  # annotated to omit it
            if found := option_of(cast(type, part), config, field, within):
                return found
    return None


def warn(message: str) -> None:
    """Warn the user without stopping the command.

    Args:
        message: one line.
    """
    say_error(f"warning: {message}")


def run_command(command: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> int:
    """Run a command's `main`.

    Args:
        command: takes the words after the command's name, returns the exit code.
        arguments: those words.

    Returns:
        Its exit code; 2 for invalid input, which no retry can fix, 1 for failures that a retry may
        fix, each after one line on stderr; 130 after Ctrl-C, 141 if the reader of its output has
        gone.
    """
    try:
        with one_line_warnings():
            exit_code = command(arguments)
        sys.stdout.flush()
    except (TrainingError, LostProcessError, BusyRunError) as error:
        say_error(error)
        return 1
    except (UsageError, ConfigError, EnvError, RunError) as error:
        say_error(error)
        return 2
    except OSError as error:
        if error.filename is None:  # not an error about one of our files, which have names
            return unwritable(error)
        say_error(f"{error.filename}: {error.strerror or error}")
        return 1
    except MemoryError:
        say_error("there is not enough memory")
        return 1
    except KeyboardInterrupt as end:
        say_error("interrupted")
        return end.exit_code if isinstance(end, Interrupted) else 130
    return exit_code
