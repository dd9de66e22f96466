"""One way to refuse a configuration value: name the field, the value and what would be valid."""


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
