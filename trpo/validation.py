"""One way to refuse a configuration value: name the field, the value and what would be valid."""

from numbers import Integral, Real
from typing import get_type_hints


class ConfigError(ValueError):
    """An invalid value; its message is one line that can be shown to the user.

    Args:
        message: the line.
        config: the configuration class that rejected it, if it is one field's value.
        field: that field's name.
    """

    def __init__(self, message: str, config: type | None = None, field: str = "") -> None:
        super().__init__(message)
        self.config = config
        self.field = field


NUMBERS = {
    int: (Integral, "an integer"),
    int | None: (Integral | None, "an integer or None"),
    float: (Real, "a number"),
    float | None: (Real | None, "a number or None"),
}
"""Of annotations: the values that fit, in words, too."""


def require_numbers(config: object) -> None:
    """Refuse what is not a number in a numeric field; called before values are compared.

    Args:
        config: the dataclass being validated.

    Raises:
        ConfigError: one line with field, value and what was expected.
    """
    for field, annotation in get_type_hints(type(config)).items():
        if annotation in NUMBERS:
            kind, expected = NUMBERS[annotation]
            require(config, field, isinstance(getattr(config, field), kind), expected)


def require(config: object, field: str, valid: bool, expected: str) -> None:
    """Refuse a field's value unless it is valid.

    Args:
        config: the dataclass being validated.
        field: the name of the field.
        valid: whether its value is valid.
        expected: what would be valid, in words.

    Raises:
        ConfigError: if not `valid`; one line with field, value and what was expected.
    """
    if not valid:
        message = f"{field} = {vars(config)[field]!r} is out of range: expected {expected}"
        raise ConfigError(message, type(config), field)
