"""A mistake that has a name."""

from dataclasses import dataclass

from trpo.scripts.exercises.probes import Implementation


@dataclass(frozen=True)
class Mistake:
    """A mistake that has a name.

    Args:
        says: what went wrong, in a sentence to the student.
        ways: implementations that make it; each gives other numbers.
    """

    says: str
    ways: tuple[Implementation, ...]
