"""Seeding of the generators that environments use besides their own."""

import random
from typing import Any

import gymnasium as gym
import numpy as np


def seed_process(seed: int) -> None:
    """Seed the process's global generators: `random`'s, and NumPy's legacy one.

    Args:
        seed: in [0, 2³²).
    """
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 that one is what environments may draw from


class SeededEnv(gym.Wrapper):
    """When an environment is seeded, also seeds its spaces and the process's global generators."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start a new episode.

        Args:
            seed: of all further randomness; `None` to continue the current sequence.
            options: for the environment.

        Returns:
            Observation and information.
        """
        if seed is not None:
            seed_process(seed)
            self.env.action_space.seed(seed)
            self.env.observation_space.seed(seed)
        return self.env.reset(seed=seed, options=options)
