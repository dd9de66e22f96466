"""Conversion of JSON to dataclasses: fields must have their type, and none be missing or unknown.

But a field whose default is `None` may be missing, and an unknown one is ignored if it is null.
"""

import json
from collections.abc import Mapping
from dataclasses import Field, asdict
from typing import Any, ClassVar, Protocol, TypeVar

import gymnasium as gym
import msgspec

from trpo.agents.storage.spaces import space_from_json, space_to_json


class Dataclass(Protocol):
    """An instance of any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field]]


Kind = TypeVar("Kind", bound=Dataclass)


def to_json(value: Dataclass) -> dict[str, object]:
    """Return a dataclass as JSON content.

    Args:
        value: a dataclass of JSON's types, tuples, spaces and dataclasses.

    Returns:
        Its fields by name, nested.
    """
    # asdict: msgspec alone would omit fields equal to their defaults
    builtins = msgspec.to_builtins(asdict(value), enc_hook=space_to_json)
    content: dict[str, object] = _as_json(builtins)
    return content


def _as_json(content: object) -> Any:
    """Return content in JSON's types: tuples as lists, and infinity as "inf"."""

    def spelt(constant: str) -> str:
        return constant.lower().replace("infinity", "inf")

    try:
        return json.loads(json.dumps(content), parse_constant=spelt)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def flat(content: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Return nested content, flattened.

    Args:
        content: names to values, or to contents within.
        prefix: of the names.

    Returns:
        Names joined by dots to values.
    """
    row: dict[str, object] = {}
    for name, value in content.items():
        if isinstance(value, Mapping):
            row |= flat(value, f"{prefix}{name}.")
        else:
            row[prefix + name] = value
    return row


def from_json(kind: type[Kind], content: object) -> Kind:
    """Read a dataclass.

    Args:
        kind: the dataclass.
        content: what `to_json` returned, or anything else.

    Returns:
        The dataclass.

    Raises:
        ValueError: if the content is not that of such a dataclass, or a value is out of range.
    """
    content = _as_json(content)  # earlier versions wrote Infinity
    value = msgspec.convert(content, kind, dec_hook=_decode, strict=False)
    # so that today's defaults do not replace missing values, nor texts numbers
    if difference := first_difference(content, to_json(value)):
        name, there, expected = difference
        missing = "missing" if there is None else f"{there!r}: expected {expected!r}"
        raise ValueError(f"{name} is {'unknown' if expected is None else missing}")
    return value


def _decode(kind: type, content: object) -> object:
    if kind is gym.Space:
        return space_from_json(content)
    raise NotImplementedError(kind)


def first_difference(
    one: object, other: object, name: str = ""
) -> tuple[str, object, object] | None:
    """Return the first field in which two JSON contents differ.

    Args:
        one: JSON.
        other: JSON.
        name: of the field that they are.

    Returns:
        The field's name, parts joined by dots, and its two values, `None` where it is absent;
        `None` if nothing differs.
    """
    if not (isinstance(one, Mapping) and isinstance(other, Mapping)):
        return None if one == other else (name, one, other)
    for key in {**one, **other}:
        difference = first_difference(one.get(key), other.get(key), f"{name}.{key}".strip("."))
        if difference:
            return difference
    return None
