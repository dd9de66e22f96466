"""Checks for impossible sizes, before they are tried."""

import os
from itertools import pairwise

from trpo.agents.config import LearnerConfig
from trpo.agents.networks.network import HIDDEN
from trpo.agents.storage.typed_json import Dataclass, flat, to_json
from trpo.envs.factory import EnvironmentConfig
from trpo.validation import ConfigError

LARGEST = 2**63 - 1  # the integers of torch and NumPy
MOST_THREADS = 1024
BYTES_A_STEP = 60  # bytes of a rollout and its batch, per number of observation and action
BYTES_AN_ENVIRONMENT = 2_500  # bytes of a random generator's state
BYTES_A_PROCESS = 10 * 2**20  # bytes of a process, for environments that have one each
COPIES = 8  # copies of the parameters: θ, g, a step, and conjugate gradient's vectors


def check_integers(options: Dataclass) -> None:
    """Reject integers that torch cannot represent.

    Args:
        options: whose nested fields are checked.

    Raises:
        ConfigError: naming the first of them.
    """
    for name, value in flat(to_json(options)).items():
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, int) and abs(number) > LARGEST:
                out_of_range = f"{name.rpartition('.')[2]} = {number} is out of range"
                raise ConfigError(f"{out_of_range}: expected at most 2⁶³ − 1")


def check_environments(name: str, config: EnvironmentConfig) -> None:
    """Reject more environments than this machine has memory for.

    Args:
        name: name of the option with their number.
        config: their number and engine.

    Raises:
        ConfigError: with the memory that they would need.
    """
    each = BYTES_A_PROCESS if config.engine == "gymnasium-async" else BYTES_AN_ENVIRONMENT
    _check_fits(f"{name} = {config.num_envs}", config.num_envs * each)


def check_memory(learner: LearnerConfig) -> None:
    """Reject a batch and networks that are too large even for the smallest environment.

    Args:
        learner: defines their sizes.

    Raises:
        ConfigError: with the memory that they would need.
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
    """Return the minimum memory of training, for the smallest spaces.

    Args:
        learner: defines the sizes of batches and networks.

    Returns:
        Bytes.
    """
    networks = learner.policy, learner.value
    layers = ([1, *(HIDDEN if n.hidden is None else n.hidden), 1] for n in networks)
    parameters = sum(a * b for sizes in layers for a, b in pairwise(sizes))
    return learner.trainer.batch_size * BYTES_A_STEP + parameters * 4 * COPIES


def physical_memory() -> int:
    """Return this machine's memory in bytes; 0 if unknown."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 0
