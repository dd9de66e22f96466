"""Parsing numbers such as 1e5, and formatting numbers with their significant digits."""

from decimal import Decimal, InvalidOperation

from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

LONGEST = 30  # maximum digits of an integer, so as not to expand 1e999999999

READERS = ConstructorRegistry()
"""How tyro parses numbers: integers with `whole_number`."""


@READERS.primitive_rule
def _integers(kind: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[int] | None:
    if kind.type is not int:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT",
        instance_from_str=lambda words: whole_number(words[0]),
        is_instance=lambda value: type(value) is int,
        str_from_instance=lambda value: [str(value)],
    )


def whole_number(text: str) -> int:
    """Return the integer that a text stands for.

    Args:
        text: 100000, 100_000 or 1e5.

    Returns:
        The integer.

    Raises:
        ValueError: if it is not an integer.
    """
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("NaN")
    if (
        not number.is_finite()
        or number.adjusted() > LONGEST
        or number != number.to_integral_value()
    ):
        raise ValueError(f"{text!r} is no integer, such as 100000 or 1e5")
    return int(number)


def readable(*values: float) -> list[str]:
    """Format numbers of one kind with the same decimals, as many as the largest needs.

    Args:
        values: returns, for instance.

    Returns:
        1,234.5 but 12.34, and 0.740 next to 1.000.
    """
    largest = max(map(abs, values))
    decimals = 1 if largest >= 100 else 2 if largest >= 10 else 3
    return [f"{value:,.{decimals}f}" for value in values]


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, which has a plural in -s.

    Args:
        number: how many.
        noun: one of them.

    Returns:
        1 episode, or 1,000 episodes.
    """
    return f"{number:,} {noun}{'s' * (number != 1)}"


def nats(divergence: float) -> str:
    """Format a KL divergence with its significant digits, however small it is.

    Args:
        divergence: in nats.

    Returns:
        0.01528, and 9.876e-07.
    """
    return f"{divergence:#.4g}"
