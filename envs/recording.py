"""Environments rendered to video or on screen, by Gymnasium, or else by EnvPool."""

import os
import sys
import warnings
from collections.abc import Callable, Mapping
from ctypes.util import find_library
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.wrappers import RecordVideo

from trpo.envs.envpool_engine import EnvPoolVectorEnv, envpool_ids
from trpo.envs.errors import EnvError, unknown_id, versions_of
from trpo.envs.gymnasium_engine import Recipe, env_errors, find_spec


class Filmed(RecordVideo):
    """An environment whose first episode is recorded to a given file.

    Args:
        env: with render mode rgb_array.
        file: to write; its folder is created if needed.
    """

    def __init__(self, env: gym.Env, file: Path) -> None:
        with warnings.catch_warnings():  # about other videos in the folder, which are kept
            warnings.simplefilter("ignore")
            super().__init__(env, str(file.parent), episode_trigger=lambda episode: episode == 0)
        self._stem = file.stem

    def start_recording(self, video_name: str) -> None:  # noqa: ARG002
        """Start filming.

        Args:
            video_name: Gymnasium's name for it, not used.
        """
        super().start_recording(self._stem)


def make_filmed(
    env_id: str, files: list[Path], seed: int, recipe: Recipe, options: Mapping[str, Any]
) -> VectorEnv:
    """Make one environment per file, each of which films its first episode.

    Args:
        env_id: an id of Gymnasium or EnvPool.
        files: the videos, each *.mp4.
        seed: of EnvPool's environments, which ignore a seed at reset.
        recipe: of Gymnasium's environments.
        options: of EnvPool's.

    Returns:
        N = len(files), autoreset NEXT_STEP.

    Raises:
        EnvError: if the id is unknown, or it cannot be rendered.
    """
    draw = _drawn(env_id, recipe, options)
    with env_errors(env_id):
        return SyncVectorEnv(
            [
                partial(lambda file, number: Filmed(draw(seed + number), file), file, number)
                for number, file in enumerate(files)
            ],
            autoreset_mode=AutoresetMode.NEXT_STEP,
        )


def _drawn(env_id: str, recipe: Recipe, options: Mapping[str, Any]) -> Callable[[int], gym.Env]:
    """Return a function from a seed to an environment with render mode rgb_array."""
    if spec := _spec_of(env_id):
        return lambda _: _draw_by_gymnasium(env_id, spec, recipe, "rgb_array")
    if env_id in envpool_ids():
        return lambda seed: DrawnEnvPool(env_id, seed, options, recipe.action_mask != "none")
    raise unknown_id(env_id, envpool_ids() | gym.registry.keys())


def _spec_of(env_id: str) -> EnvSpec | None:
    """Return the id that Gymnasium renders for an id, which may be of another version."""
    spec = find_spec(env_id)
    if spec is None and (others := versions_of(env_id, gym.registry)):
        warnings.warn(f"Gymnasium has no {env_id}: drawing its {others[-1]}", stacklevel=2)
        spec = gym.spec(others[-1])
    return spec


def make_watched(env_id: str, recipe: Recipe) -> VectorEnv:
    """Make one environment that is rendered on screen.

    Args:
        env_id: an id of Gymnasium, or of a task of EnvPool that Gymnasium has, too.
        recipe: of the environment.

    Returns:
        N = 1, autoreset NEXT_STEP.

    Raises:
        EnvError: if there is no display, or the environment has no window.
    """
    variables = ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")
    if sys.platform.startswith("linux") and not any(map(os.environ.get, variables)):
        raise EnvError(f"{env_id} cannot be watched: this machine has no display; {FILM_IT}")
    spec = _spec_of(env_id)
    if spec is None:
        raise EnvError(f"{env_id} cannot be watched: Gymnasium does not have it; {FILM_IT}")
    with env_errors(env_id):
        return SyncVectorEnv(
            [lambda: _draw_by_gymnasium(env_id, spec, recipe, "human")],
            autoreset_mode=AutoresetMode.NEXT_STEP,
        )


def _draw_by_gymnasium(env_id: str, spec: EnvSpec, recipe: Recipe, mode: str) -> gym.Env:
    cannot = f"{env_id} cannot be {'filmed' if mode == 'rgb_array' else 'watched'}"
    if mode == "rgb_array":
        _draw_without_a_display(env_id, spec)
    with warnings.catch_warnings():  # unsupported render modes are reported below
        warnings.simplefilter("ignore")
        try:
            env = gym.make(spec, render_mode=mode, disable_env_checker=True, **recipe.arguments)
        except TypeError as error:
            if "'render_mode'" not in str(error):
                raise
            takes = "its constructor takes no render_mode"
            raise EnvError(f"{cannot}: {takes}") from error
    if env.render_mode != mode:
        has = f"its render_mode is {env.render_mode!r} where {mode!r} was asked for"
        raise EnvError(f"{cannot}: {has}")
    return recipe.wrap(env)


FILM_IT = "film it: trpo evaluate RUN --video DIR"
OPENGL = {"egl": "EGL", "osmesa": "OSMesa"}  # what MuJoCo and the linker call them


def _draw_without_a_display(env_id: str, spec: EnvSpec) -> None:
    """Let pygame and MuJoCo render off screen, unless the user has configured them."""
    if not sys.platform.startswith("linux") or os.environ.get("DISPLAY"):
        return
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    if "mujoco" not in str(spec.entry_point) or os.environ.get("MUJOCO_GL"):
        return
    found = next((name for name, library in OPENGL.items() if find_library(library)), None)
    if found is None:
        install = "install EGL or OSMesa (apt-get install libegl1, or libosmesa6)"
        raise EnvError(f"{env_id} cannot be drawn: this machine has no display; {install}")
    os.environ["MUJOCO_GL"] = found


class DrawnEnvPool(gym.Env):
    """One environment of EnvPool that can be rendered.

    Args:
        env_id: one of `envpool_ids()`.
        seed: in [0, 2³¹ − 1).
        options: the task's own.
        masks: whether observations that have an action mask keep it.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012 as Gymnasium's are
    render_mode = "rgb_array"

    def __init__(self, env_id: str, seed: int, options: Mapping[str, Any], masks: bool) -> None:
        self._env = EnvPoolVectorEnv(
            env_id, 1, seed, threads=1, render_mode="rgb_array", options=options, masks=masks
        )
        self.observation_space = self._env.single_observation_space
        self.action_space = self._env.single_action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start a new episode.

        Args:
            seed: not used: the environment was seeded when it was created.
            options: not used.

        Returns:
            Observation and information.
        """
        observations, _ = self._env.reset(seed=seed, options=options)
        return _first(observations), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step.

        Args:
            action: of the action space.

        Returns:
            Observation, reward, terminated, truncated, information.
        """
        observations, rewards, terminated, truncated, _ = self._env.step(np.asarray([action]))
        ended = bool(terminated[0]), bool(truncated[0])
        return _first(observations), float(rewards[0]), *ended, {}

    def render(self) -> Any:
        """Return the image, (H, W, 3) uint8."""
        return self._env.draw()

    def close(self) -> None:  # noqa: D102
        self._env.close()


def _first(observations: Any) -> Any:
    """Return the first of N observations, nested as they are."""
    if isinstance(observations, dict):
        return {key: _first(part) for key, part in observations.items()}
    if isinstance(observations, tuple):
        return tuple(map(_first, observations))
    return observations[0]
