"""One function to create environments: with EnvPool if it has the task, else with Gymnasium."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
from gymnasium.vector import VectorEnv

from trpo.envs.envpool_engine import (
    EnvPoolVectorEnv,
    envpool_ids,
    players,
    refused_options,
    worthwhile_groups,
)
from trpo.envs.errors import EnvError, missing_extra, unknown_id
from trpo.envs.grouped import GroupedVectorEnv
from trpo.envs.gymnasium_engine import (
    Recipe,
    env_errors,
    find_spec,
    make_gymnasium,
    make_parallel,
)
from trpo.envs.masking import ActionMask
from trpo.envs.recording import make_filmed, make_watched
from trpo.envs.seeding import seed_process
from trpo.envs.step_timeout import StepTimeoutVectorEnv, end_process
from trpo.envs.wrapping import wrappers_for

Engine = Literal["auto", "envpool", "gymnasium", "gymnasium-async"]
LONGEST_TIMEOUT = 1_000_000


@dataclass(frozen=True)
class EnvironmentConfig:
    """The vector environment."""

    engine: Engine = "auto"
    """What steps the environments: EnvPool's threads, Gymnasium in this process, or Gymnasium with
    one process per environment. auto: EnvPool where possible."""
    num_envs: int = 32
    """Number of parallel environments, N (measured: with 64, Hopper-v5 learns worse; with 16,
    everything is slower)."""
    step_timeout: float = 0.0
    """Seconds after which a step or reset that has not returned counts as hung; 0: wait forever."""
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments of the environment's constructor, or EnvPool's options, as KEY=JSON, such as
    repeat_action_probability=0.25 for sticky actions (Machado et al. 2018)."""
    wrapper: tuple[str, ...] = ()
    """Your own wrappers, as module:function, applied to each Gymnasium environment, innermost
    first. Their modules are imported."""
    frame_skip: int | None = None
    """Action repeat; with EnvPool instead of the environment's own frame skip, with Gymnasium on
    top of it. None: the environment's own (Atari: 4)."""
    frame_stack: int | None = None
    """Number of stacked frames. None: the environment's own (Atari: 4)."""
    time_limit: int | None = None
    """Steps after which an episode is truncated, in place of the environment's own limit; in
    addition to it for environments that you construct yourself."""
    action_mask: ActionMask = "auto"
    """Where to read the mask of allowed actions: info["action_mask"] or a method action_masks().
    auto: an action_mask in a Dict observation, or that method, if either exists. none: no mask."""

    def __post_init__(self) -> None:
        for name in ("num_envs", "frame_skip", "frame_stack", "time_limit"):
            value = getattr(self, name)
            whole = isinstance(value, Integral)
            _require(self, name, value, value is None or (whole and value >= 1), "an integer ≥ 1")
        for wrapper in self.wrapper:
            _require(self, "wrapper", wrapper, all(wrapper.partition(":")), "module:function")
        number = isinstance(self.step_timeout, Real)
        within = number and 0 <= self.step_timeout <= LONGEST_TIMEOUT
        expected = f"seconds in [0, {LONGEST_TIMEOUT:,}]"
        _require(self, "step_timeout", self.step_timeout, within, expected)


def _require(config: object, field: str, value: object, valid: bool, expected: str) -> None:
    if not valid:
        said = f"{field} = {value!r} is out of range: expected {expected}"
        raise EnvError(said, type(config), field)


@dataclass(frozen=True)
class Part:
    """One process's share of N environments: equal, consecutive ranges, in rank order.

    Args:
        rank: of the process.
        size: processes.
    """

    rank: int = 0
    size: int = 1

    def of(self, num_envs: int) -> range:
        """Return this process's environments.

        Args:
            num_envs: N.

        Returns:
            Their numbers.

        Raises:
            EnvError: if N is not a multiple of the number of processes.
        """
        if num_envs % self.size:
            multiple = f"a multiple of the {self.size} processes"
            raise EnvError(f"num_envs = {num_envs} is not {multiple}")
        each = num_envs // self.size
        return range(each * self.rank, each * (self.rank + 1))


WHOLE = Part()


def make_vector_env(
    env: str | gym.Env | Callable[[], gym.Env],
    config: EnvironmentConfig,
    seed: int,
    threads: int = 0,
    on_hang: Callable[[str], None] = end_process,
    part: Part = WHOLE,
) -> GroupedVectorEnv:
    """Make N environments, or a process's part of them.

    The parts' environments do what those of one process would, but for what draws from generators
    that environments share: the process's own, or one of a vector class.

    Args:
        env: an id of EnvPool or Gymnasium, or `module:Env-v0`; or a function that creates one
            environment; or one environment, which the caller has to close.
        config: engine and N.
        seed: of environment 0, in [0, 2³¹ − N); Gymnasium's environments take it at their reset.
        threads: for EnvPool; 0: one per core.
        on_hang: called with a sentence, from another thread, when environments in this process
            hang; has to end the process.
        part: which of them to make.

    Returns:
        Autoreset NEXT_STEP, in the environment's own spaces.

    Raises:
        EnvError: if the id is unknown, its package or engine missing, or a single environment is
            given for N > 1.
    """
    numbers = part.of(config.num_envs)
    config, first = replace(config, num_envs=len(numbers)), numbers.start
    # before an environment is created, which may use the process's global generators
    seed_process(seed + first)
    if isinstance(env, str) and _uses_envpool(env, config):
        vector: VectorEnv = _make_envpool(env, config, seed + first, threads)
    elif config.engine == "gymnasium-async":
        environments = make_parallel(env, config.num_envs, _recipe(config), config.step_timeout)
        return GroupedVectorEnv(environments, first)
    else:
        vector = make_gymnasium(env, config.num_envs, _recipe(config))
    grouped = (
        StepTimeoutVectorEnv(vector, config.step_timeout, on_hang, first)
        if config.step_timeout
        else GroupedVectorEnv(vector, first)
    )
    grouped.handed_over = isinstance(env, gym.Env)
    return grouped


def _uses_envpool(env_id: str, config: EnvironmentConfig) -> bool:
    """Return whether EnvPool is requested, or supports the task with all its options."""
    if config.engine != "auto":
        return config.engine == "envpool"
    if env_id not in envpool_ids():
        if find_spec(env_id) is None:
            raise unknown_id(env_id, envpool_ids() | gym.registry.keys())
        return False
    wrapped = config.wrapper or config.action_mask in {"info", "method"}
    fits = not wrapped and not refused_options(env_id, _envpool_options(config))
    return fits or find_spec(env_id) is None


def _envpool_options(config: EnvironmentConfig) -> dict[str, Any]:
    """Return the options under EnvPool's names."""
    named = {
        "frame_skip": config.frame_skip,
        "stack_num": config.frame_stack,
        "max_episode_steps": config.time_limit,
    }
    return config.env_kwargs | {name: value for name, value in named.items() if value is not None}


def _recipe(config: EnvironmentConfig) -> Recipe:
    """Return the recipe of a Gymnasium environment."""
    wrappers = wrappers_for(
        config.wrapper, config.frame_skip, config.frame_stack, config.time_limit
    )
    return Recipe(config.env_kwargs, wrappers, config.time_limit is not None, config.action_mask)


def make_recording_env(
    env_id: str, config: EnvironmentConfig, files: list[Path], seed: int
) -> GroupedVectorEnv:
    """Make environments that film their first episodes.

    Args:
        env_id: an id of Gymnasium, or of EnvPool.
        config: arguments and wrappers.
        files: one video each, *.mp4.
        seed: of the first environment.

    Returns:
        N = len(files).

    Raises:
        EnvError: if the id is unknown, or a package for filming or rendering is not installed.
    """
    if importlib.util.find_spec("moviepy") is None:
        raise missing_extra("a video", "video")
    return GroupedVectorEnv(
        make_filmed(env_id, files, seed, _recipe(config), _envpool_options(config))
    )


def make_watched_env(env_id: str, config: EnvironmentConfig) -> GroupedVectorEnv:
    """Make an environment that is rendered on screen.

    Args:
        env_id: an id of Gymnasium, or of a task that Gymnasium has, too.
        config: arguments and wrappers.

    Returns:
        N = 1.

    Raises:
        EnvError: if there is no display, or the environment has no window.
    """
    return GroupedVectorEnv(make_watched(env_id, _recipe(config)))


def _make_envpool(
    env_id: str, config: EnvironmentConfig, seed: int, threads: int
) -> EnvPoolVectorEnv:
    if not envpool_ids():
        raise EnvError(
            "engine = 'envpool' is not installed: run pip install envpool, "
            "or choose --engine gymnasium"
        )
    if env_id not in envpool_ids():
        raise unknown_id(env_id, envpool_ids())
    if config.wrapper:
        raise EnvError(f"wrapper = {config.wrapper}: EnvPool's {env_id} cannot be wrapped")
    if config.action_mask in {"info", "method"}:
        only = "EnvPool has masks in observations alone: expected auto or none"
        raise EnvError(f"action_mask = {config.action_mask!r}: {only}")
    options = _envpool_options(config)
    if refused := refused_options(env_id, options):
        raise EnvError(refused)
    with env_errors(env_id):
        count = players(env_id, options)
    if count > 1:
        raise EnvError(f"environment {env_id!r} has {count} players: expected one that acts")
    groups = worthwhile_groups(env_id, config.num_envs, threads)
    with env_errors(env_id):  # a family's own libraries may be missing
        return EnvPoolVectorEnv(
            env_id,
            config.num_envs,
            seed,
            threads,
            groups,
            options=options,
            masks=config.action_mask != "none",
        )
