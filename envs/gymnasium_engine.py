"""Gymnasium's vector environments: any registered id, `module:Env-v0` ids and custom environments."""

import importlib
import multiprocessing
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.wrappers import RecordVideo

from trpo.envs.errors import EnvError, missing_extra, unknown_id


def find_spec(env_id: str) -> gym.envs.registration.EnvSpec | None:
    """Return the registered specification of an id, importing what registers it.

    Args:
        env_id: `Env-v0`, `namespace/Env-v0` or `module:Env-v0`.

    Returns:
        The specification; `None` if nobody registered the id.

    Raises:
        EnvError: if the id names a module that cannot be imported, or ALE is not installed.
    """
    module, _, name = env_id.rpartition(":")
    try:
        if module:
            importlib.import_module(module)
        if name.startswith("ALE/"):
            gym.register_envs(importlib.import_module("ale_py"))
        return gym.spec(name)
    except ModuleNotFoundError as error:
        if error.name == "ale_py":
            raise missing_extra(env_id, "atari") from error
        raise EnvError(f"environment {env_id!r}: cannot import module {error.name!r}") from error
    except gym.error.Error:  # unregistered, or no such thing as an id
        return None


class ProcessVectorEnv(VectorWrapper):
    """Environments in a process each, of which one may die or hang: all are ended then, where Gymnasium would wait for it.

    Args:
        env: Gymnasium's vector environment of processes.
        timeout: seconds for a reset or step; 0 waits for ever.
    """

    def __init__(self, env: AsyncVectorEnv, timeout: float = 0.0) -> None:
        super().__init__(env)
        self._processes = env
        self._timeout = timeout or None
        # its own remarks about a process that failed fill a page; the error that follows says it in
        # a line
        warnings.filterwarnings("ignore", module=r"gymnasium\.vector\.async_vector_env")

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start new episodes.

        Args:
            seed: of environment 0; the others' follow.
            options: for the environment.

        Returns:
            Observations and information.
        """
        with self._one_for_all():
            self._processes.reset_async(seed=seed, options=options)
            return self._processes.reset_wait(self._timeout)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step every environment.

        Args:
            actions: one an environment.

        Returns:
            Observations, rewards, terminated, truncated, information.
        """
        with self._one_for_all():
            self._processes.step_async(actions)
            return self._processes.step_wait(self._timeout)

    def close(self, **kwargs: Any) -> None:  # noqa: D102
        with suppress(ChildProcessError), self._one_for_all():
            super().close(**kwargs)

    @contextmanager
    def _one_for_all(self) -> Iterator[None]:
        """End all processes if one is lost, and say so by a `ChildProcessError`."""
        try:
            yield
        except (EOFError, ConnectionError) as error:
            self._kill()
            raise ChildProcessError("the process of an environment died") from error
        except multiprocessing.TimeoutError as error:
            self._kill()
            raise ChildProcessError(
                f"an environment gave no answer within {self._timeout:g} s"
            ) from error

    def _kill(self) -> None:
        for process in self._processes.processes:
            process.kill()
            process.join()
        self._processes.closed = True


def make_gymnasium(env_id: str, num_envs: int, video: Path | None = None) -> VectorEnv:
    """Make N copies of a registered environment in this process, autoreset NEXT_STEP.

    Args:
        env_id: a registered id.
        num_envs: N.
        video: folder for a video of each environment's first episode; `None` for no video.

    Returns:
        The environment's own vector class if it has one of that autoreset mode, else Gymnasium's.
    """
    with _errors_of(env_id) as spec:
        if video is not None:
            record = partial(
                RecordVideo, video_folder=str(video), episode_trigger=lambda episode: episode == 0
            )
            return _make_vec(env_id, num_envs, "sync", wrappers=[record], render_mode="rgb_array")
        if spec.vector_entry_point is not None:
            env = gym.make_vec(env_id, num_envs, vectorization_mode="vector_entry_point")
            if env.metadata.get("autoreset_mode") is AutoresetMode.NEXT_STEP:
                return env
            env.close()
        return _make_vec(env_id, num_envs, "sync")


def make_parallel(env_id: str, num_envs: int, timeout: float) -> VectorEnv:
    """Make N copies of a registered environment in a process each, autoreset NEXT_STEP.

    Args:
        env_id: a registered id.
        num_envs: N.
        timeout: seconds for a reset or step; 0 waits for ever.

    Returns:
        A `ProcessVectorEnv`.
    """
    with _errors_of(env_id):
        return ProcessVectorEnv(_make_vec(env_id, num_envs, "async"), timeout)


def _make_vec(env_id: str, num_envs: int, mode: str, **options: Any) -> Any:
    autoreset = {"autoreset_mode": AutoresetMode.NEXT_STEP}
    return gym.make_vec(
        env_id, num_envs, vectorization_mode=mode, vector_kwargs=autoreset, **options
    )


@contextmanager
def _errors_of(env_id: str) -> Iterator[gym.envs.registration.EnvSpec]:
    """Yield the specification of an id; whatever goes wrong while it is made becomes an `EnvError`."""
    spec = find_spec(env_id)
    if spec is None:
        raise unknown_id(env_id, gym.registry)
    try:
        yield spec
    except gym.error.DependencyNotInstalled as error:
        for extra in ("box2d", "mujoco"):
            if extra in str(spec.entry_point):
                raise missing_extra(env_id, extra) from error
        raise EnvError(f"environment {env_id!r}: {error}") from error
    except Exception as error:
        said = str(error).strip().partition("\n")[0]
        raise EnvError(
            f"environment {env_id!r} cannot be made: {type(error).__name__}: {said}".removesuffix(
                ": "
            )
        ) from error
