"""The environments of a run, which are re-created now and then."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from gymnasium import Env, Space
from gymnasium.vector import VectorEnv

from trpo.agents.agent import Agent
from trpo.agents.observations import check_space
from trpo.agents.policies import Policy
from trpo.agents.randomness import Component, Randomness, shared_generators_kept
from trpo.agents.rollouts.evaluation import evaluate
from trpo.agents.rollouts.rollout import (
    BrokenEnvironmentError,
    Collector,
    Episode,
    Rollout,
    VectorEnvironment,
    environment_errors,
)
from trpo.reducer import SERIAL, Reducer
from trpo.validation import ConfigError

MakeEnvironments = Callable[[int], VectorEnvironment]
EXPECTED = (
    "expected a function from a seed to a vector environment, such as "
    'functools.partial(make_vector_env, "CartPole-v1", EnvironmentConfig(num_envs=8))'
)


class Environments:
    """Creates a run's environments, steps them, and re-creates them if a process is lost.

    Args:
        make: seed ↦ N environments.
        randomness: source of their seeds.
        max_restarts: number of times they may be re-created because a process was lost.
        reducer: identifies this process; with several, each creates and steps its own environments.
    """

    def __init__(
        self,
        make: MakeEnvironments,
        randomness: Randomness,
        max_restarts: int,
        reducer: Reducer = SERIAL,
    ) -> None:
        if max_restarts and reducer.size > 1:
            raise ConfigError(
                f"max_restarts = {max_restarts} is for one process, not {reducer.size}: "
                "expected 0; torchrun has --max-restarts of its own"
            )
        self.make = make
        self.randomness = randomness
        self.max_restarts = max_restarts
        self.reducer = reducer
        self.restarts = 0
        self.env_id = "the environment"  # until one is made
        self.spaces: tuple[Space, Space] | None = None  # of the first, and of all that follow

    def start(self, update: int) -> None:
        """Create the environments for an update.

        Args:
            update: number of updates before it, from which their seed is derived.

        Raises:
            BrokenEnvironmentError: if they cannot be reset, or differ from those before.
        """
        self._start(self.randomness.integer(Component.ENVIRONMENT, update))

    def collect(self, policy: Policy, rollout: Rollout, update: int) -> list[Episode]:
        """Fill a rollout; start it again if environments are lost meanwhile.

        Args:
            policy: chooses the actions.
            rollout: overwritten.
            update: number of updates before this one, from which the actions' noise is derived.

        Returns:
            The episodes that ended, in the order in which they did.

        Raises:
            BrokenEnvironmentError: if environments fail, are lost too often, or produce a rollout
                that cannot be learned from.
        """
        while True:
            noise = self.randomness.generator(Component.ACTIONS, update)
            try:
                episodes = self.collector.collect(policy, rollout, noise, self.reducer)
            except BrokenEnvironmentError as failure:
                self._restart(failure)
            else:
                rollout.check()
                return episodes

    def evaluate(self, agent: Agent, update: int) -> list[Episode]:
        """Play one episode of the deterministic policy in each of N separate environments.

        Training's environments and their randomness are not affected.

        Args:
            agent: left as it is.
            update: number of the last update, from which the environments' seed is derived.

        Returns:
            N episodes.

        Raises:
            BrokenEnvironmentError: if environments fail or are lost too often.
        """
        seed = self.randomness.integer(Component.EVALUATION, update)
        with shared_generators_kept():
            while True:
                try:
                    env = self._make(seed)
                    try:
                        return evaluate(env, agent, seed, generator=None)
                    finally:
                        close(env)
                except BrokenEnvironmentError as failure:
                    seed = self._seed_after(failure)

    def close(self) -> None:
        """Close the environments."""
        close(self.env)

    def _start(self, seed: int) -> None:
        try:
            self.env = env = self._make(seed)
            with closed_on_error(env):
                self.collector = Collector(env, seed)
        except BrokenEnvironmentError as failure:
            self._restart(failure)

    def _make(self, seed: int) -> VectorEnvironment:
        env = make_environments(self.make, seed)
        with closed_on_error(env):
            self._check(env)
        return env

    def _check(self, env: VectorEnvironment) -> None:
        self.env_id = env.spec.id if env.spec else "the environment"
        spaces = env.single_observation_space, env.single_action_space
        for kind, space in zip(("observation", "action"), spaces, strict=True):
            check_space(kind, space)
        if spaces != (self.spaces or spaces):
            changed = f"came with other spaces than before: {spaces}, not {self.spaces}"
            raise BrokenEnvironmentError(changed)
        self.spaces = spaces

    def _restart(self, failure: BrokenEnvironmentError) -> None:
        self._start(self._seed_after(failure))

    def _seed_after(self, failure: BrokenEnvironmentError) -> int:
        """Return another seed for restarting, if a process was lost and a restart is allowed."""
        lost = isinstance(failure.__cause__, ChildProcessError)
        if not lost or self.restarts >= self.max_restarts:
            raise failure
        self.restarts += 1
        return self.randomness.integer(Component.RESTART, self.restarts)


def make_environments(make: object, seed: int) -> VectorEnvironment:
    """Make environments, and refuse what does not make any.

    Args:
        make: seed ↦ N environments.
        seed: of the environments.

    Returns:
        The environments.

    Raises:
        ConfigError: if `make` is not such a function.
        BrokenEnvironmentError: if one of their processes is lost.
    """
    if not callable(make):
        raise ConfigError(f"make_env = {make!r} is not a function: {EXPECTED}")
    try:
        inspect.signature(make).bind(seed)
    except TypeError as error:
        raise ConfigError(f"make_env cannot be called with a seed ({error}): {EXPECTED}") from None
    except ValueError:  # some written in C have no signature
        pass
    try:
        env: VectorEnvironment = make(seed)
    except ChildProcessError as lost:
        raise BrokenEnvironmentError(f"could not be made: {lost}") from lost
    if not hasattr(env, "groups"):  # Gymnasium's own vector environments have none
        if isinstance(env, Env | VectorEnv):
            env.close()
        single = ", a single environment" if isinstance(env, Env) else ""
        raise ConfigError(f"make_env returned {env}{single}: {EXPECTED}")
    return env


@contextmanager
def closed_on_error(env: VectorEnvironment) -> Iterator[None]:
    """Close environments that will not be returned to anyone.

    Args:
        env: just made.
    """
    try:
        yield
    except BaseException:
        close(env)
        raise


def close(env: VectorEnvironment) -> None:
    """Close environments, ignoring errors: their work is done.

    Args:
        env: not used any more.
    """
    with suppress(BrokenEnvironmentError), environment_errors():
        env.close()
