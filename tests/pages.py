"""What the documentation's pages say in numbers, and whether a number is one of some computed ones.

A page's numbers are those of its prose and tables: not of code, links, options, and
environments' ids.
"""

import re
from collections.abc import Iterable
from pathlib import Path

NUMBER = re.compile(r"(?<![\w.,^])[−-]?\d(?:[\d,]*\d)?(?:\.\d+)?(?:e[+-]?\d+)?(?!\w)")
NO_PROSE = (
    r"(?ms)^```.*?^```",  # code
    r"(?m)^    .*$",  # code and equations, indented
    r"`[^`]*`",
    r"(?<=\])\([^)]*\)",  # where links lead
    r"\b[A-Z][A-Za-z0-9]+-v\d\b",
    r"--[\w.-]+ [\d.]+",
)


def sections(page: Path) -> dict[str, str]:
    """Return the prose of each section by its title, what comes before the first as ""."""
    parts = re.split(r"(?m)^## (.*)$", "\n" + page.read_text(encoding="utf-8"))
    titles = ["", *parts[1::2]]
    return {title: prose(text) for title, text in zip(titles, parts[::2], strict=True)}


def prose(text: str) -> str:
    """Return Markdown without what its numbers do not count in."""
    for pattern in NO_PROSE:
        text = re.sub(pattern, "", text)
    return text


def numbers(text: str) -> list[str]:
    """Return a text's numbers, as they are written there."""
    return NUMBER.findall(text)


def value(number: str) -> float:
    """Return a written number."""
    return float(number.replace(",", "").replace("−", "-"))


def is_among(number: str, computed: Iterable[float]) -> bool:
    """Return whether a written number is a computed one, rounded to as many digits; or its size.

    One digit alone says too little to be recognised by: it has to be the number itself.
    """
    mantissa, _, exponent = number.replace(",", "").strip("−-").partition("e")
    _, _, decimals = mantissa.partition(".")
    zeros = 0 if decimals else len(mantissa) - len(mantissa.rstrip("0"))
    unit = 10.0 ** (int(exponent or 0) - len(decimals) + min(zeros, len(mantissa) - 1))
    written = abs(value(number))
    digits = len(mantissa.replace(".", "").strip("0"))
    slack = 1e-9 * written if digits <= 1 else 0.501 * unit
    return any(abs(abs(x) - written) <= slack for x in computed)
