"""The available environments: every id of EnvPool and of Gymnasium's registry, by family."""

import warnings
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Literal

import gymnasium as gym

from trpo.envs.envpool_engine import envpool_ids
from trpo.envs.gymnasium_engine import env_errors

Spaces = tuple[gym.Space, gym.Space]


@dataclass(frozen=True)
class Entry:
    """An environment that an engine has.

    Args:
        env_id: its id.
        engine: which has it.
        family: the package or part of one that it comes from, such as mujoco.gym.
    """

    env_id: str
    engine: Literal["envpool", "gymnasium"]
    family: str

    def spaces(self) -> Spaces:
        """Return an environment's observation and action space.

        Raises:
            EnvError: if this requires creating it, which fails.
        """
        with warnings.catch_warnings():
            # warnings about bounds that lose precision, and about newer versions
            warnings.simplefilter("ignore")
            return _spaces_of_envpool(self) if self.engine == "envpool" else _spaces_when_made(self)


def catalogue() -> list[Entry]:
    """Return every id, by engine and family; ids that both engines have are listed for each."""
    entries = [Entry(env_id, "envpool", _part(env_id)) for env_id in envpool_ids()]
    entries += [
        Entry(env_id, "gymnasium", _package(spec.entry_point))
        for env_id, spec in gym.registry.items()
    ]
    return sorted(entries, key=lambda entry: (entry.engine, entry.family, entry.env_id))


def _part(env_id: str) -> str:
    """Return the part of EnvPool that has an id."""
    from envpool.registration import registry

    return str(registry.specs[env_id][0]).removeprefix("envpool.")


def _package(entry_point: str | Callable | None) -> str:
    """Return the package of an environment's entry point; for Gymnasium's own, the subpackage."""
    module = entry_point if isinstance(entry_point, str) else getattr(entry_point, "__module__", "")
    parts = module.partition(":")[0].removeprefix("gymnasium.envs.").split(".")
    return parts[0] or "none"


def _spaces_of_envpool(entry: Entry) -> Spaces:
    import envpool

    with env_errors(entry.env_id):
        spec = envpool.make_spec(entry.env_id)
        return spec.gymnasium_observation_space, spec.gymnasium_action_space


def _spaces_when_made(entry: Entry) -> Spaces:
    with (
        env_errors(entry.env_id, gym.spec(entry.env_id).entry_point),
        closing(gym.make(entry.env_id, disable_env_checker=True)) as env,
    ):
        return env.observation_space, env.action_space
