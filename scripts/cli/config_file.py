"""Options of `trpo train` from a YAML file, as equivalent command-line words."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from trpo.scripts.cli.command import UsageError


def read_options(path: Path) -> tuple[str, list[str]]:
    """Read a file of options: `max_kl: 0.01`, `value: {hidden: [64, 64]}`, `env: Hopper-v5`.

    Args:
        path: a YAML file of names as on the command line, nested or with dots, `-` or `_`;
            `env_kwargs` is a mapping, or words.

    Returns:
        The environment, or ""; and the words.

    Raises:
        UsageError: if the file cannot be read, or contains anything else.
    """
    try:
        content = msgspec.yaml.decode(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise UsageError(f"{path} holds no options: expected lines such as max_kl: 0.01")
    env_id = content.pop("env", "")
    try:
        return str(env_id), list(_words(content, ""))
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def _words(content: Mapping[object, object], group: str) -> Iterator[str]:
    for key, value in content.items():
        name = f"{group}{key}".replace("_", "-")
        if name in {"config", "like"}:
            raise UsageError(f"{name} = {value} is for the command line: expected other options")
        match value:
            case dict() if name == "env-kwargs":
                yield f"--{name}"
                yield from (f"{k}={json.dumps(v, default=str)}" for k, v in value.items())
            case dict():
                yield from _words(value, f"{name}.")
            case list():
                yield from (f"--{name}", *map(str, value))
            case bool():
                within, dot, last = name.rpartition(".")
                yield f"--{name}" if value else f"--{within}{dot}no-{last}"
            case None:
                raise UsageError(
                    f"{name} has no value: expected one, or no such line, for the default"
                )
            case _:
                yield f"--{name}={value}"
