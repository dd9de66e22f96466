"""Sizes that cannot be: told before they are tried."""

import os
from itertools import pairwise

from trpo.agents.config import LearnerConfig
from trpo.agents.networks.network import HIDDEN
from trpo.agents.storage.typed_json import Dataclass, flat, to_json
from trpo.envs.factory import EnvironmentConfig
from trpo.validation import ConfigError

LARGEST = 2**63 - 1  # what torch and NumPy count with
MOST_THREADS = 1024
BYTES_A_STEP = 60  # of a rollout and its batch, for one number of observation and action
BYTES_AN_ENVIRONMENT = 2_500  # the state of its random generator alone
BYTES_A_PROCESS = 10 * 2**20  # of an environment that has one of its own
COPIES = 8  # of the parameters: θ, g, a step, and what conjugate gradient holds


def check_integers(options: Dataclass) -> None:
    """Refuse integers that torch cannot count with.

    Args:
        options: whose fields, nested, are looked at.

    Raises:
        ConfigError: with the first of them.
    """
    for name, value in flat(to_json(options)).items():
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, int) and abs(number) > LARGEST:
                out_of_range = f"{name.rpartition('.')[2]} = {number} is out of range"
                raise ConfigError(f"{out_of_range}: expected at most 2⁶³ − 1")


def check_environments(name: str, config: EnvironmentConfig) -> None:
    """Refuse more environments than this machine has memory for.

    Args:
        name: what their number is called where it was given.
        config: how many, and by what engine.

    Raises:
        ConfigError: with what they would take.
    """
    each = BYTES_A_PROCESS if config.engine == "gymnasium-async" else BYTES_AN_ENVIRONMENT
    _check_fits(f"{name} = {config.num_envs}", config.num_envs * each)


def check_memory(learner: LearnerConfig) -> None:
    """Refuse a batch and networks that no environment is small enough for.

    Args:
        learner: says how large they are.

    Raises:
        ConfigError: with what they would take.
    """
    sizes = f"batch_size = {learner.trainer.batch_size}, hidden = {learner.policy.hidden}"
    sizes += f" and value.hidden = {learner.value.hidden}"
    _check_fits(sizes, least_memory(learner))


def _check_fits(sizes: str, needed: int) -> None:
    there = physical_memory()
    if there and needed > there:
        raise ConfigError(
            f"{sizes} would take {needed / 2**30:,.0f} GiB of memory or more: "
            f"this machine has {there / 2**30:,.0f} GiB"
        )


def least_memory(learner: LearnerConfig) -> int:
    """Return what training takes at least, for the smallest of spaces.

    Args:
        learner: says how large batches and networks are.

    Returns:
        Bytes.
    """
    networks = learner.policy, learner.value
    layers = ([1, *(HIDDEN if n.hidden is None else n.hidden), 1] for n in networks)
    parameters = sum(a * b for sizes in layers for a, b in pairwise(sizes))
    return learner.trainer.batch_size * BYTES_A_STEP + parameters * 4 * COPIES


def physical_memory() -> int:
    """Return this machine's bytes of memory; 0 where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 0
