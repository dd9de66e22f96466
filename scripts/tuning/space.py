"""The search space: fields of the configurations, with their ranges.

Ranges of fields shared by all algorithms are those of RL Baselines3 Zoo (Raffin 2020), if it has
them; each is widened to contain the initial value.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace

from optuna.trial import Trial

from trpo.agents.config import TrainerConfig
from trpo.agents.policies import PolicyConfig
from trpo.agents.updates.npg import NpgConfig
from trpo.agents.updates.ppo import PpoConfig
from trpo.agents.updates.trpo import TrpoConfig
from trpo.agents.updates.vpg import VpgConfig
from trpo.envs.factory import EnvironmentConfig
from trpo.scripts.cli.command import option_of
from trpo.scripts.cli.options import TrainOptions


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, log-uniform."""

    low: float
    high: float

    def holding(self, word: str) -> "Range":
        """Return the range, widened to contain a value if that is finite."""
        value = float(word)
        if not 0 < value < math.inf:
            return self
        return replace(self, low=min(self.low, value), high=max(self.high, value))

    def suggest(self, trial: Trial, name: str) -> str:
        """Return the value that a trial is to try, as the command line has it."""
        return f"{trial.suggest_float(name, self.low, self.high, log=True):.4g}"

    def parameter(self, word: str) -> float:
        """Return a value as trials store it; if its logarithm is infinite, the nearest bound."""
        return min(max(float(word), self.low), self.high)


@dataclass(frozen=True)
class Choice:
    """Some values, as the command line has them."""

    values: tuple[str, ...]

    def holding(self, word: str) -> "Choice":
        """Return the choice with a value added, unless it is one of them."""
        return self if word in self.values else Choice((*self.values, word))

    def suggest(self, trial: Trial, name: str) -> str:
        """Return the value that a trial is to try."""
        word: str = trial.suggest_categorical(name, self.values)
        return word

    def parameter(self, word: str) -> str:
        """Return a value as trials keep it."""
        return word


Space = dict[str, Range | Choice]

SHARED: dict[type, Space] = {
    EnvironmentConfig: {"num_envs": Choice(("8", "16", "32", "64"))},
    TrainerConfig: {
        "batch_size": Choice(("512", "1024", "2048", "4096")),
        "gamma": Choice(("0.9", "0.95", "0.98", "0.99", "0.995", "0.999")),
        "gae_lambda": Choice(("0.8", "0.9", "0.95", "0.98", "1")),
    },
    PolicyConfig: {"hidden": Choice(("32 32", "64 64", "128 128", "256 256"))},
}
OWN: dict[str, dict[type, Space]] = {
    "trpo": {
        TrpoConfig: {
            "max_kl": Range(0.003, 0.1),
            "step_size": Range(1.0, 50.0),
            "damping": Range(0.01, 1.0),
            "memory": Choice(("0", "16")),
            "anneal_to": Choice(("0.1", "1")),
            "entropy_bonus": Choice(("0", "0.001", "0.003", "0.01")),
        }
    },
    "npg": {NpgConfig: {"target_kl": Range(0.001, 0.1), "damping": Range(0.01, 1.0)}},
    "vpg": {VpgConfig: {"learning_rate": Range(1e-4, 0.1)}},
    "ppo": {
        PpoConfig: {
            "learning_rate": Range(1e-5, 3e-3),
            "clip_ratio": Choice(("0.1", "0.2", "0.3")),
            "epochs": Choice(("5", "10", "20")),
            "minibatch_size": Choice(("64", "128", "256")),
        }
    },
}


def search_space(options: TrainOptions) -> tuple[Space, dict[str, str]]:
    """Return the search space, and the initial values.

    Args:
        options: of training with the preset, or with other settings to improve on.

    Returns:
        Ranges by option name, which contain the options' own values; and these values.
    """
    space: Space = {}
    start: dict[str, str] = {}
    for part, names in (SHARED | OWN[options.learner.algorithm]).items():
        config = next(each for each in _parts(options) if isinstance(each, part))
        for name, values in names.items():
            option = str(option_of(TrainOptions, type(config), name))
            start[option] = word_of(getattr(config, name))
            space[option] = values.holding(start[option])
    return space, start


def _parts(config: object) -> Iterator[object]:
    """Yield a configuration, and those within it."""
    yield config
    for field in fields(config) if is_dataclass(config) else ():
        yield from _parts(getattr(config, field.name))


def word_of(value: object) -> str:
    """Return a value as the command line has it.

    Args:
        value: a number, or a tuple of them.
    """
    if isinstance(value, tuple):
        return " ".join(map(word_of, value))
    return f"{value:.10g}" if isinstance(value, float) else str(value)
