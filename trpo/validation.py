"""One way to refuse a configuration value: name the field, the value and what would be valid."""


class ConfigError(ValueError):
    """A value that cannot be used; its message is one line, fit to print to a user.

    Args:
        message: the line.
        config: the configuration class that refused it, where it is one field's value.
        field: that field's name.
    """

    def __init__(self, message: str, config: type | None = None, field: str = "") -> None:
        super().__init__(message)
        self.config = config
        self.field = field


def require(config: object, field: str, valid: bool, expected: str) -> None:
    """Refuse a field's value unless it is valid.

    Args:
        config: a dataclass that is being checked.
        field: the name of the field.
        valid: the condition that its value has to meet.
        expected: what would be valid, in words.

    Raises:
        ConfigError: if not `valid`; one line with field, value and what was expected.
    """
    if not valid:
        message = f"{field} = {vars(config)[field]!r} is out of range: expected {expected}"
        raise ConfigError(message, type(config), field)
