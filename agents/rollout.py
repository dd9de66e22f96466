"""Rollouts: T steps of N environments, written into storage that is allocated once."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import torch
from gymnasium import Space
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import flatdim
from torch import Tensor

from trpo.agents.normalization import ObservationNormalizer
from trpo.agents.policies import Policy


@dataclass(frozen=True)
class Episode:
    """A finished episode, in the environment's own rewards.

    Args:
        undiscounted_return: undiscounted sum of raw rewards.
        length: steps.
    """

    undiscounted_return: float
    length: int


class World(Protocol):
    """N environments of one kind: Gymnasium's `VectorEnv`, autoreset NEXT_STEP, which comes in parts, each stepped by itself.

    So one part can step while the policy acts for another (Stooke & Abbeel 2019, alternating
    sampling).
    """

    parts: list[slice]

    @property
    def num_envs(self) -> int:
        """N."""

    @property
    def single_observation_space(self) -> Space:
        """A Box of shape (O,)."""

    @property
    def single_action_space(self) -> Space:
        """Of one environment, whatever its shape."""

    @property
    def spec(self) -> EnvSpec | None:
        """What it is called."""

    def reset(self, *, seed: int) -> tuple[np.ndarray, dict[str, Any]]:
        """Start new episodes, and return observations (N, O)."""

    def send(self, number: int, actions: np.ndarray) -> None:
        """Let a part begin to step, with its actions (n, A)."""

    def receive(
        self, number: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Wait for a part, and return its observations (n, O), rewards, terminated, truncated, each (n,)."""

    def close(self) -> None:
        """End."""


class WorldError(RuntimeError):
    """What an environment did wrong, as the end of a sentence that begins with its name."""


class Rollout:
    """What T steps of N environments gave. Environments start a new episode in the step after an episode's last (NEXT_STEP).

    That reset step's action is ignored and its reward is 0: it is no environment step, and `valid`
    is false there. It makes `observations[t + 1]` the true successor of step t everywhere else, an
    episode's final observation included.

    Args:
        steps: T.
        env: says N, and O.
        policy: says E, the size of its network's output, and A.
    """

    def __init__(self, steps: int, env: World, policy: Policy) -> None:
        envs, observation_size = env.num_envs, flatdim(env.single_observation_space)
        self.raw_observations = torch.zeros(steps + 1, envs, observation_size)
        self.observations = torch.zeros(
            steps + 1, envs, observation_size
        )  # normalised, as the policy saw them
        self.outputs = torch.zeros(
            steps, envs, policy.output_size
        )  # of the policy network, at these observations
        self.actions = torch.zeros(steps, envs, policy.action_size, dtype=policy.action_dtype)
        self.rewards = torch.zeros(steps, envs)  # raw
        self.terminated = torch.zeros(steps, envs, dtype=torch.bool)
        self.truncated = torch.zeros(steps, envs, dtype=torch.bool)
        self.valid = torch.zeros(steps, envs, dtype=torch.bool)

    @property
    def done(self) -> Tensor:
        """(T, N), whether the episode ended at this step."""
        return self.terminated | self.truncated


@contextmanager
def world_errors() -> Iterator[None]:
    """Turn whatever an environment raises into a `WorldError` of one line.

    Raises:
        WorldError: with the kind of the error, and the first line of its message.
    """
    try:
        yield
    except Exception as error:
        said = str(error).strip().partition("\n")[0]
        raise WorldError(f"raised {type(error).__name__}: {said}".removesuffix(": ")) from error


class Collector:
    """Steps a vector environment with a policy, and keeps what carries over from one rollout to the next.

    Args:
        env: observations (N, O) and actions (N, A) in flat Box form, autoreset NEXT_STEP.
        seed: of the environments.
    """

    def __init__(self, env: World, seed: int) -> None:
        self.env = env
        with world_errors():
            self.observation, _ = env.reset(seed=seed)  # (N, O)
        self.done = np.zeros(env.num_envs, dtype=bool)  # the coming step is a reset step
        self.returns = np.zeros(env.num_envs)  # of the episodes in progress
        self.lengths = np.zeros(env.num_envs, dtype=np.int64)
        self.discounted_returns = torch.zeros(env.num_envs)  # likewise γR, for the reward scaler
        self.environment_seconds = 0.0  # of the last rollout, spent waiting for environments

    @torch.inference_mode()
    def collect(
        self,
        policy: Policy,
        normalizer: ObservationNormalizer,
        rollout: Rollout,
        generator: torch.Generator,
    ) -> list[Episode]:
        """Fill a rollout; the policy and the normaliser stay as they are throughout.

        Args:
            policy: chooses the actions.
            normalizer: stands between the environment and the policy.
            rollout: overwritten.
            generator: source of the actions' noise.

        Returns:
            The episodes that ended, in the order in which they did.

        Raises:
            WorldError: if an environment raises, or returns what does not fit its spaces.
        """
        steps, envs = rollout.rewards.shape

        def by_part(
            tensor: Tensor,
        ) -> list[
            tuple[Tensor, ...]
        ]:  # all views at once: an index a step costs as much as a layer
            return [tensor[:, part].unbind() for part in self.env.parts]

        raw_observations, observations = (
            by_part(rollout.raw_observations),
            by_part(rollout.observations),
        )
        outputs, actions = by_part(rollout.outputs), by_part(rollout.actions)
        noise = by_part(policy.draw_noise(steps, envs, generator))
        raw, rewards = rollout.raw_observations.numpy(), rollout.rewards.numpy()
        terminated, truncated = rollout.terminated.numpy(), rollout.truncated.numpy()
        self.environment_seconds = 0.0
        raw[0] = self.observation
        for t in range(steps + 1):
            for number, part in enumerate(self.env.parts):
                if t > 0:
                    before = time.perf_counter()
                    with world_errors():
                        step = self.env.receive(number)
                        (
                            raw[t, part],
                            rewards[t - 1, part],
                            terminated[t - 1, part],
                            truncated[t - 1, part],
                        ) = step[:4]
                    self.environment_seconds += time.perf_counter() - before
                observation = normalizer(raw_observations[number][t], out=observations[number][t])
                if t < steps:
                    output = outputs[number][t].copy_(policy.network(observation))
                    action = actions[number][t].copy_(policy.act(output, noise[number][t]))
                    with world_errors():
                        self.env.send(number, action.numpy())
        self.observation = raw[steps].copy()

        done = terminated | truncated
        valid = rollout.valid.numpy()
        np.logical_not(self.done, out=valid[0])
        np.logical_not(done[:-1], out=valid[1:])
        self.done = done[-1]
        return self._count(rewards, valid, done)

    def _count(self, rewards: np.ndarray, valid: np.ndarray, done: np.ndarray) -> list[Episode]:
        # return the episodes that ended, and keep what those in progress have so far
        episodes: list[Episode] = []
        ends = np.union1d(np.flatnonzero(done.any(axis=1)) + 1, len(done))
        for start, end in pairwise([0, *ends.tolist()]):
            self.returns += rewards[start:end].sum(axis=0, dtype=np.float64)
            self.lengths += valid[start:end].sum(axis=0)
            ended = done[end - 1]
            episodes += map(Episode, self.returns[ended].tolist(), self.lengths[ended].tolist())
            self.returns[ended] = 0.0
            self.lengths[ended] = 0
        return episodes
