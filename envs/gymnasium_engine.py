"""Gymnasium's vector environments: registered ids, `module:Env-v0` and custom environments."""

import importlib
import multiprocessing
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import (
    AsyncVectorEnv,
    AutoresetMode,
    SyncVectorEnv,
    VectorEnv,
    VectorWrapper,
)

from trpo.envs.errors import EnvError, missing_extra, one_line, unknown_id, versions_of
from trpo.envs.interface import CheckedEnv
from trpo.envs.masking import ActionMask, with_mask
from trpo.envs.seeding import SeededEnv
from trpo.envs.wrapping import Wrap

EXTRAS = {"ale_py": "atari", "minatar": "minatar"}  # of this project, by the package they bring
LACKED_ARGUMENTS = re.compile(r"missing \d+ required .*arguments?: (.*?)( was raised|$)")
GIVE_THEM = "give it by --env-kwargs key=JSON, or train from Python with a function that makes one"


def find_spec(env_id: str) -> EnvSpec | None:
    """Return the registered specification of an id, importing its module.

    Args:
        env_id: `Env-v0`, `namespace/Env-v0` or `module:Env-v0`.

    Returns:
        The specification; `None` if the id is not registered.

    Raises:
        EnvError: if the id names a module that cannot be imported, or its package is not installed.
    """
    module, _, name = env_id.rpartition(":")
    if module and not all(part.isidentifier() for part in module.split(".")):
        raise EnvError(f"environment {env_id!r}: {module!r} is no name of a module")
    try:
        if module:
            importlib.import_module(module)
        if name.startswith("ALE/"):
            gym.register_envs(importlib.import_module("ale_py"))
        return gym.spec(name)
    except ModuleNotFoundError as error:
        if extra := EXTRAS.get((error.name or "").partition(".")[0]):
            raise missing_extra(env_id, extra) from error
        here = Path(f"{error.name}.py").exists()
        hint = "; it is in this folder: put PYTHONPATH=. before the command" if here else ""
        lacks = f"cannot import module {error.name!r}{hint}"
        raise EnvError(f"environment {env_id!r}: {lacks}") from error
    except gym.error.Error:  # unregistered, or not a valid id
        return None
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        raise EnvError(f"environment {env_id!r}: importing it raised {one_line(error)}") from error


class ProcessVectorEnv(VectorWrapper):
    """Environments with one process each; if one dies or hangs all end, where Gymnasium would wait.

    Args:
        env: Gymnasium's AsyncVectorEnv.
        timeout: seconds for a reset or step; 0 waits forever.
    """

    def __init__(self, env: AsyncVectorEnv, timeout: float = 0.0) -> None:
        super().__init__(env)
        self._processes = env
        self._timeout = timeout or None
        # Gymnasium's messages about a failed process fill a page; the error says it in one line
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
            actions: one per environment.

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
        """End all processes if one is lost, and raise `ChildProcessError`."""
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


MakeEnv: TypeAlias = Callable[..., gym.Env]


class Kept(gym.Wrapper):
    """An environment that the caller created and will close."""

    def close(self) -> None:  # noqa: D102
        pass


@dataclass(frozen=True)
class Recipe:
    """How each environment is made.

    Args:
        kwargs: arguments of its constructor.
        wrappers: its wrappers, innermost first.
        timed: whether the wrappers limit an episode's steps, in place of the registered limit.
        action_mask: where its masks are.
    """

    kwargs: Mapping[str, Any] = field(default_factory=dict)
    wrappers: Sequence[Wrap] = ()
    timed: bool = False
    action_mask: ActionMask = "auto"

    @property
    def is_plain(self) -> bool:
        """Whether it is created exactly as registered."""
        unmasked = self.action_mask in {"auto", "none"}
        return not self.kwargs and not self.wrappers and unmasked

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of gym.make."""
        return {**self.kwargs, **({"max_episode_steps": -1} if self.timed else {})}

    def wrap(self, env: gym.Env) -> Any:
        """Return an environment with all its generators seeded, checked, and wrapped.

        Args:
            env: as it was made.
        """
        env = CheckedEnv(SeededEnv(env))
        for wrapper in self.wrappers:
            env = wrapper(env)
        return with_mask(env, self.action_mask)


AS_REGISTERED = Recipe()


def make_gymnasium(
    env: str | gym.Env | MakeEnv, num_envs: int, recipe: Recipe = AS_REGISTERED
) -> VectorEnv:
    """Make N environments in this process, autoreset NEXT_STEP.

    Args:
        env: a registered id, one environment, or a function that makes one.
        num_envs: N.
        recipe: arguments and wrappers.

    Returns:
        A registered environment's own vector class, if it has one with that autoreset mode, else
        Gymnasium's.

    Raises:
        EnvError: if a single environment is given for N > 1, or it cannot be created.
    """
    if not isinstance(env, str):
        make = _maker(env, num_envs, recipe)
        with env_errors(_name(env)):
            return SyncVectorEnv([make] * num_envs, autoreset_mode=AutoresetMode.NEXT_STEP)
    spec = _registered(env)
    with env_errors(env, spec.entry_point):
        if spec.vector_entry_point is not None and recipe.is_plain:
            vector = gym.make_vec(env, num_envs, vectorization_mode="vector_entry_point")
            if vector.metadata.get("autoreset_mode") is AutoresetMode.NEXT_STEP:
                return vector
            vector.close()
        return _make_vec(env, num_envs, "sync", recipe)


def make_parallel(
    env: str | gym.Env | MakeEnv, num_envs: int, recipe: Recipe, timeout: float
) -> "ProcessVectorEnv":
    """Make N environments with one process each, autoreset NEXT_STEP.

    Args:
        env: a registered id, one environment, or a function that makes one.
        num_envs: N.
        recipe: arguments and wrappers.
        timeout: seconds for a reset or step; 0 waits forever.

    Returns:
        The environments, all of which are ended if one is lost.

    Raises:
        EnvError: if a single environment is given for N > 1, or it cannot be created.
    """
    if not isinstance(env, str):
        make = _maker(env, num_envs, recipe)
        with env_errors(_name(env)):
            vector = AsyncVectorEnv([make] * num_envs, autoreset_mode=AutoresetMode.NEXT_STEP)
            return ProcessVectorEnv(vector, timeout)
    with env_errors(env, _registered(env).entry_point):
        return ProcessVectorEnv(_make_vec(env, num_envs, "async", recipe), timeout)


def _maker(env: gym.Env | MakeEnv, num_envs: int, recipe: Recipe) -> MakeEnv:
    """Return a function that creates and wraps one of the environments."""
    if not isinstance(env, gym.Env):
        return lambda: recipe.wrap(env(**recipe.kwargs))
    if num_envs != 1:
        hint = "expected 1 for an environment; to have more, give a function that makes one"
        raise EnvError(f"num_envs = {num_envs}: {hint}")
    if recipe.kwargs:
        raise EnvError(f"env_kwargs = {dict(recipe.kwargs)}: the environment is made already")
    return lambda: recipe.wrap(Kept(env))


def _name(env: gym.Env | MakeEnv) -> str:
    return str(env) if isinstance(env, gym.Env) else getattr(env, "__qualname__", str(env))


def _make_vec(env_id: str, num_envs: int, mode: str, recipe: Recipe) -> Any:
    return gym.make_vec(
        env_id,
        num_envs,
        vectorization_mode=mode,
        vector_kwargs={"autoreset_mode": AutoresetMode.NEXT_STEP},
        wrappers=[recipe.wrap],
        disable_env_checker=True,
        **recipe.arguments,
    )


def _registered(env_id: str) -> EnvSpec:
    spec = find_spec(env_id)
    if spec is None:
        raise unknown_id(env_id, gym.registry)
    return spec


@contextmanager
def env_errors(name: str, entry_point: object = None) -> Iterator[None]:
    """Convert any exception during an environment's creation to an `EnvError`.

    Args:
        name: the environment's.
        entry_point: the environment's, which determines the extra that may be missing.

    Raises:
        EnvError: with what went wrong, in one line.
        ChildProcessError: if its process died.
    """
    try:
        yield
    except gym.error.DependencyNotInstalled as error:
        for extra in ("box2d", "mujoco"):
            if extra in str(entry_point):
                raise missing_extra(name, extra) from error
        raise EnvError(f"environment {name!r}: {error}") from error
    except (EOFError, ConnectionError) as error:  # the process may survive another try
        raise ChildProcessError("the process of an environment died as it was made") from error
    except (KeyboardInterrupt, GeneratorExit, EnvError):
        raise
    except BaseException as error:
        if lacks := LACKED_ARGUMENTS.search(str(error)):
            raise EnvError(f"environment {name!r} needs {lacks[1]}: {GIVE_THEM}") from error
        newest = versions_of(env_id := name.rpartition(":")[2], gym.registry)[-1:]
        hint = f"; there is {newest[0]}" if newest not in ([], [env_id]) else ""
        raise EnvError(f"environment {name!r} cannot be made: {one_line(error)}{hint}") from error
