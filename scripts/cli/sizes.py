"""Sizes that cannot be: told before they are tried."""

import os
from collections.abc import Mapping
from itertools import pairwise

from trpo.agents.config import LearnerConfig
from trpo.agents.runs.typed_json import Dataclass, to_json
from trpo.validation import ConfigError

LARGEST = 2**63 - 1  # what torch and NumPy count with
MOST_THREADS = 1024
BYTES_A_STEP = 60  # of a rollout and its batch, for one number of observation and action
COPIES = 8  # of the parameters: θ, g, a step, and what conjugate gradient holds


def check_integers(options: Dataclass) -> None:
    """Refuse integers that torch cannot count with.

    Args:
        options: whose fields, nested, are looked at.

    Raises:
        ConfigError: with the first of them.
    """

    def check(content: Mapping[str, object]) -> None:
        for name, value in content.items():
            if isinstance(value, Mapping):
                check(value)
            for number in value if isinstance(value, list) else [value]:
                if isinstance(number, int) and abs(number) > LARGEST:
                    out_of_range = f"{name} = {number} is out of range"
                    raise ConfigError(f"{out_of_range}: expected at most 2⁶³ − 1")

    check(to_json(options))


def check_memory(learner: LearnerConfig) -> None:
    """Refuse a batch and networks that no environment is small enough for.

    Args:
        learner: says how large they are.

    Raises:
        ConfigError: with what they would take.
    """
    there, needed = physical_memory(), least_memory(learner)
    if there and needed > there:
        sizes = f"batch_size = {learner.trainer.batch_size}, hidden = {learner.policy.hidden}"
        raise ConfigError(
            f"{sizes} and value.hidden = {learner.value.hidden} would take {needed / 2**30:,.0f} "
            f"GiB of memory or more: this machine has {there / 2**30:,.0f} GiB"
        )


def least_memory(learner: LearnerConfig) -> int:
    """Return what training takes at least, for the smallest of spaces.

    Args:
        learner: says how large batches and networks are.

    Returns:
        Bytes.
    """
    layers = ([1, *hidden, 1] for hidden in (learner.policy.hidden, learner.value.hidden))
    parameters = sum(a * b for sizes in layers for a, b in pairwise(sizes))
    return learner.trainer.batch_size * BYTES_A_STEP + parameters * 4 * COPIES


def physical_memory() -> int:
    """Return this machine's bytes of memory; 0 where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 0
