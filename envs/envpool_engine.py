"""EnvPool: C++ environments on a thread pool, whose size does not affect results."""

import warnings
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, Protocol, TypeAlias

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from trpo.envs.choices import Choices
from trpo.envs.masking import without_mask

# observations (arrays, or dicts and tuples of them), rewards, terminated, truncated, information
Step: TypeAlias = tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]


@cache
def envpool_ids() -> frozenset[str]:
    """Return EnvPool's ids; none if it is not installed."""
    try:
        import envpool
    except ImportError:
        return frozenset()
    return frozenset(envpool.list_all_envs())


def worthwhile_groups(env_id: str, num_envs: int, threads: int) -> int:
    """Return the number of groups of environments: one steps while the policy acts for another.

    Args:
        env_id: one of `envpool_ids()`.
        num_envs: N.
        threads: number of threads that step environments.

    Returns:
        2 if that saves time: with two threads, and steps that take longer than the policy's
        (MuJoCo's); else 1.
    """
    from envpool.registration import registry

    slow = registry.specs[env_id][0] == "envpool.mujoco.gym"
    return 2 if slow and threads >= 2 and num_envs % 2 == 0 else 1


OURS = {
    "num_envs",
    "batch_size",
    "num_threads",
    "max_num_players",
    "thread_affinity_offset",
    "base_path",
    "seed",
    "env_seed",
    "gym_reset_return_info",
}
"""EnvPool's options that are not specific to a task: some follow from ours, none changes the
task."""


def refused_options(env_id: str, options: Mapping[str, Any]) -> str | None:
    """Return what is wrong with a task's options, in one line, or `None`.

    Args:
        env_id: one of `envpool_ids()`.
        options: by EnvPool's names.
    """
    if not options:
        return None
    import envpool

    defaults = envpool.make_spec(env_id).config._asdict()
    own = {name: default for name, default in defaults.items() if name not in OURS}
    for name, value in options.items():
        if name not in own:
            return f"EnvPool's {env_id} has no option {name!r}: expected {', '.join(own)}"
        if not _fits(value, own[name]):
            kind = type(own[name]).__name__
            return f"{name} = {value!r} of EnvPool's {env_id}: expected {kind}, as {own[name]!r}"
    return None


def _fits(value: Any, default: Any) -> bool:
    if isinstance(default, float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(default, list | tuple):
        return isinstance(value, list | tuple)
    return type(value) is type(default)


def players(env_id: str, options: Mapping[str, Any]) -> int:
    """Return the number of players of a task.

    Args:
        env_id: one of `envpool_ids()`.
        options: by EnvPool's names.
    """
    import envpool

    return int(envpool.make_spec(env_id, **options).config.max_num_players)


def join(results: list[tuple[Any, ...]]) -> Any:
    """Concatenate the groups' results of a reset or step.

    Args:
        results: a tuple of arrays, and information, for each group.

    Returns:
        The concatenated arrays, and the first group's information; a single group's result is
        returned unchanged, as its observations may be a Dict.
    """
    if len(results) == 1:
        return results[0]
    *arrays, infos = zip(*results, strict=True)
    return *map(np.concatenate, arrays), infos[0]


class InGroups(Protocol):
    """Environments that are stepped in groups."""

    groups: list[slice]

    def send(self, number: int, actions: np.ndarray) -> None:
        """Start a group's step."""

    def receive(self, number: int) -> Step:
        """Wait for a group's step to finish."""


def step_all(env: InGroups, actions: Any) -> Step:
    """Step every group.

    Args:
        env: N environments.
        actions: (N, …); nested for Dict and Tuple spaces, which need a single group.

    Returns:
        Observations, rewards, terminated, truncated, each (N, …), and the first's information.
    """
    for number, group in enumerate(env.groups):
        env.send(number, actions[group] if len(env.groups) > 1 else actions)
    step: Step = join([env.receive(number) for number in range(len(env.groups))])
    return step


class EnvPoolVectorEnv(VectorEnv):
    """An EnvPool task as a Gymnasium vector environment, seeded when it is created.

    Args:
        env_id: one of `envpool_ids()`.
        num_envs: N.
        seed: in [0, 2³¹ − N).
        threads: number of threads that step environments; 0: one per core.
        groups: number of pools, which share environments and threads equally; does not affect
            results.
        render_mode: "rgb_array" for environments that are rendered.
        options: the task's own, by EnvPool's names.
        masks: whether observations that have an action mask keep it.
    """

    def __init__(
        self,
        env_id: str,
        num_envs: int,
        seed: int,
        threads: int,
        groups: int = 1,
        render_mode: str | None = None,
        options: Mapping[str, Any] = MappingProxyType({}),
        masks: bool = True,
    ) -> None:
        import envpool

        size = num_envs // groups
        self.groups = [slice(start, start + size) for start in range(0, num_envs, size)]
        self._pools: list[Any] = [
            envpool.make_gymnasium(
                env_id,
                num_envs=size,
                seed=seed + group.start,
                num_threads=threads // groups,
                render_mode=render_mode,
                **options,
            )
            for group in self.groups
        ]
        self.spec = gym.envs.registration.EnvSpec(env_id)
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}
        self.num_envs = num_envs
        with warnings.catch_warnings():
            # EnvPool states float32 bounds in float64, which Gymnasium remarks on
            warnings.simplefilter("ignore", UserWarning)
            space = self._pools[0].single_observation_space
            self._unmask = not masks and isinstance(space, gym.spaces.Dict)
            self.single_observation_space = (
                gym.spaces.Dict(without_mask(space.spaces)) if self._unmask else space
            )
            self.single_action_space = self._pools[0].single_action_space
        self._action_dtype: Any = np.int32
        self._choices: Choices | None = None
        if isinstance(box := self.single_action_space, gym.spaces.Box):
            self._action_dtype = box.dtype
            if np.issubdtype(box.dtype, np.integer):
                self._choices = Choices(box, self.single_observation_space)
                self.single_action_space = self._choices.space()
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:  # noqa: ARG002 set when made
        """Start new episodes.

        Args:
            seed: not used: the environment was seeded when it was created.
            options: not used.

        Returns:
            Observations and information.
        """
        observations, info = join([pool.reset() for pool in self._pools])
        return without_mask(observations) if self._unmask else observations, info

    def step(self, actions: np.ndarray) -> Step:
        """Step every environment.

        Args:
            actions: (N, …), of any dtype.

        Returns:
            Observations, rewards, terminated, truncated, and the first group's information.
        """
        return step_all(self, actions)

    def send(self, number: int, actions: np.ndarray) -> None:
        """Start a group's step.

        Args:
            number: of the group.
            actions: (n, …), of any dtype.
        """
        if self._choices:
            actions = self._choices(actions)
        self._pools[number].send(actions.astype(self._action_dtype, copy=False))

    def receive(self, number: int) -> Step:
        """Wait for a group to finish its step.

        Args:
            number: of the group.

        Returns:
            Its observations, rewards, terminated, truncated, information.
        """
        observations, *others = self._pools[number].recv()
        return without_mask(observations) if self._unmask else observations, *others

    def draw(self) -> np.ndarray:
        """Return the first environment's image, (H, W, 3) uint8."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            images: np.ndarray = self._pools[0].render()
        return images[0]

    def close_extras(self, **kwargs: Any) -> None:  # noqa: ARG002, D102
        for pool in self._pools:
            pool.close()
