"""Every random number of a run, as a function of (run seed, component, update)."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import torch


class Component(IntEnum):
    """Components with their own random stream; renumbering them would change every run."""

    ENVIRONMENT = 0
    POLICY = 1
    VALUE = 2
    ACTIONS = 3
    EVALUATION = 4
    RESTART = 5


@dataclass(frozen=True)
class Randomness:
    """The run's one seed, and the streams derived from it.

    Args:
        seed: the run's seed.
    """

    seed: int

    def integer(self, component: Component, update: int = 0) -> int:
        """Return the seed, in [0, 2³¹), of one component at one update.

        Args:
            component: whose stream.
            update: number of the update that the stream is for.

        Returns:
            A seed that, for all practical purposes, differs from those of all other components and
            updates.
        """
        sequence = np.random.SeedSequence(self.seed, spawn_key=(component, update))
        return int(sequence.generate_state(1)[0] >> 1)

    def generator(self, component: Component, update: int = 0) -> torch.Generator:
        """Return a fresh generator for one component at one update.

        Args:
            component: whose stream.
            update: number of the update that the stream is for.

        Returns:
            A CPU generator, seeded by `integer`.
        """
        return torch.Generator().manual_seed(self.integer(component, update))


@contextmanager
def shared_generators_kept() -> Iterator[None]:
    """Restore the process's global random number generators on exit.

    These are `random`'s and NumPy's legacy one, which environments may draw from.
    """
    state, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002 that one is meant
    try:
        yield
    finally:
        random.setstate(state)
        np.random.set_state(legacy)  # noqa: NPY002
