"""`trpo envs [WORD]`: lists families of environments; with a word, ids and their spaces."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import gymnasium as gym
import tyro
from rich.table import Column, Table

from trpo.envs.catalogue import Entry, catalogue
from trpo.envs.errors import EnvError, unknown_id
from trpo.scripts.cli.command import parse
from trpo.scripts.cli.tables import table_console


@dataclass(frozen=True)
class EnvsOptions:
    """List environments: families, or the ids that contain a word, with their spaces."""

    word: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="[WORD]")] = ""
    """Part of an id or of a family's name; case-insensitive."""


def main(arguments: Sequence[str]) -> int:
    """Print the matching environments.

    Args:
        arguments: the words after `trpo envs`.

    Returns:
        0.

    Raises:
        EnvError: if nothing contains the word; names the closest ids.
    """
    word = parse(EnvsOptions, arguments, "envs").word
    entries = catalogue()
    if not word:
        _print(
            ("family", "engine", "ids", "for example"),
            [
                (family, engine, str(len(members)), members[0].env_id)
                for (engine, family), members in _by_family(entries).items()
            ],
        )
        print("\ntrpo envs WORD lists ids, with their observation and action spaces")
        return 0
    found = [entry for entry in entries if word.lower() in f"{entry.env_id} {entry.family}".lower()]
    if not found:
        raise unknown_id(word, {entry.env_id for entry in entries})
    _print(
        ("id", "family", "engine", "observations", "actions"),
        [(entry.env_id, entry.family, entry.engine, *_described(entry)) for entry in found],
    )
    return 0


def _by_family(entries: Sequence[Entry]) -> dict[tuple[str, str], list[Entry]]:
    families: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        families.setdefault((entry.engine, entry.family), []).append(entry)
    return families


def _described(entry: Entry) -> tuple[str, str]:
    try:
        observations, actions = entry.spaces()
    except EnvError as error:
        return str(error), ""
    return in_brief(observations), in_brief(actions)


def in_brief(space: gym.Space) -> str:
    """Return a space's kind and sizes, without bounds.

    Args:
        space: any.

    Returns:
        Such as Box(4×84×84 uint8), or Dict(image: Box(7×7×3 uint8), direction: Discrete(4)).
    """
    match space:
        case gym.spaces.Dict(spaces=parts):
            return f"Dict({', '.join(f'{key}: {in_brief(part)}' for key, part in parts.items())})"
        case gym.spaces.Tuple(spaces=parts):
            return f"Tuple({', '.join(map(in_brief, parts))})"
        case gym.spaces.Box(shape=shape, dtype=dtype):
            return f"Box({'×'.join(map(str, shape))} {dtype})"
    return str(space)


def _print(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    name, family, *others = columns
    whole = [Column(column, no_wrap=True, overflow="fold") for column in (name, family)]
    table = Table(*whole, *others, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*row)
    table_console().print(table, highlight=False, markup=False)
