"""One way to refuse a configuration value: name the field, the value and what would be valid."""


class ConfigError(ValueError):
    """A value that cannot be used; its message is one line, fit to print to a user."""


def require(valid: bool, field: str, value: object, expected: str) -> None:
    """Raise unless `valid`.

    Args:
        valid: the condition that the value has to meet.
        field: the field's name, as the user writes it.
        value: the offending value.
        expected: what would be valid, in words.

    Raises:
        ConfigError: if not `valid`; one line with field, value and what was expected.
    """
    if not valid:
        raise ConfigError(f"{field} = {value!r} is out of range: expected {expected}")
