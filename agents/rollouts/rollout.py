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
from torch import Tensor

from trpo.agents.actions import ActionAdapter
from trpo.agents.errors import one_line
from trpo.agents.networks.masks import MASK, MaskedNetwork, without_choice
from trpo.agents.networks.recurrence import POLICY_MEMORY, VALUE_MEMORY, RecurrentFeatures, one_step
from trpo.agents.observations import Observation, allocate, leaves, map_leaves
from trpo.agents.policies import Policy
from trpo.reducer import SERIAL, Reducer


@dataclass(frozen=True)
class Episode:
    """A finished episode, in the environment's own rewards.

    Args:
        undiscounted_return: undiscounted sum of raw rewards.
        length: steps.
        ended: whether it ended, rather than being cut off by an evaluation.
    """

    undiscounted_return: float
    length: int
    ended: bool = True


class VectorEnvironment(Protocol):
    """N environments of one kind: Gymnasium's `VectorEnv`, autoreset NEXT_STEP, in groups.

    Each group is stepped separately, so that one can step while the policy acts for another (Stooke
    & Abbeel 2019, alternating sampling). Observations nest arrays as the space does.
    """

    groups: list[slice]

    @property
    def num_envs(self) -> int:
        """N."""

    @property
    def single_observation_space(self) -> Space:
        """Of one environment."""

    @property
    def single_action_space(self) -> Space:
        """Of one environment."""

    @property
    def spec(self) -> EnvSpec | None:
        """What it is called."""

    def reset(self, *, seed: int) -> tuple[Any, dict[str, Any]]:
        """Start new episodes, and return observations (N, *shape)."""

    def send(self, number: int, actions: Any) -> None:
        """Start a group's step with its actions (n, *shape), nested as the space is."""

    def receive(
        self, number: int
    ) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Wait for a group; return observations (n, *shape), rewards, terminated, truncated."""

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step all groups, with actions (N, *shape)."""

    def close(self) -> None:
        """End."""


class BrokenEnvironmentError(RuntimeError):
    """An environment's error; the message completes a sentence that begins with its name."""


@contextmanager
def environment_errors() -> Iterator[None]:
    """Convert any exception of an environment to a one-line `BrokenEnvironmentError`.

    Raises:
        BrokenEnvironmentError: with the kind of the error, and the first line of its message.
    """
    try:
        yield
    except (KeyboardInterrupt, GeneratorExit, BrokenEnvironmentError):
        raise
    except BaseException as error:  # sys.exit() in an environment ends it, not the training
        raise BrokenEnvironmentError(f"raised {one_line(error)}") from error


class Rollout:
    """T steps of N environments, autoreset NEXT_STEP.

    The step after an episode's last is a reset step: its action is ignored and its reward is 0.
    It is no environment step, and `valid` is false there. In return, `observations[t + 1]` is the
    true successor of step t everywhere else, an episode's final observation included.

    Args:
        steps: T.
        env: defines N and the observations.
        policy: defines E, the size of its network's output, and A.
    """

    def __init__(self, steps: int, env: VectorEnvironment, policy: Policy) -> None:
        envs, family = env.num_envs, policy.family
        self.observations = allocate(env.single_observation_space, steps + 1, envs)  # (T + 1, N, …)
        self.outputs = torch.zeros(steps, envs, family.output_size)  # of the policy's network
        self.actions = torch.zeros(steps, envs, family.action_size, dtype=family.action_dtype)
        features = policy.network.features
        size = features.memory_size if isinstance(features, RecurrentFeatures) else 0
        names = (POLICY_MEMORY, VALUE_MEMORY) if size else ()
        # recurrent states before and after the rollout, if there are any
        self.memories = {name: torch.zeros(envs, size) for name in names}
        self.remembered = {name: torch.zeros(envs, size) for name in names}
        self.rewards = torch.zeros(steps, envs)  # as the environment gave them
        self.terminated = torch.zeros(steps, envs, dtype=torch.bool)
        self.truncated = torch.zeros(steps, envs, dtype=torch.bool)
        self.valid = torch.zeros(steps, envs, dtype=torch.bool)

    @property
    def done(self) -> Tensor:
        """(T, N), whether the episode ended at this step."""
        return self.terminated | self.truncated

    def check(self) -> None:
        """Reject a rollout that cannot be learned from.

        Raises:
            BrokenEnvironmentError: if an observation or a reward is not finite, or there are too
                few steps besides resets.
        """
        observations = [leaf for leaf in leaves(self.observations) if leaf.is_floating_point()]
        for name, tensors in (("an observation", observations), ("a reward", [self.rewards])):
            if not all(tensor.isfinite().all() for tensor in tensors):
                raise BrokenEnvironmentError(f"returned {name} that is not finite")
        steps = int(self.valid.sum())
        if steps < 2:  # advantages have no standard deviation
            reason = "all others were resets: batch_size is too small"
            raise BrokenEnvironmentError(f"gave a batch of {steps} steps, {reason}")


class Collector:
    """Steps a vector environment with a policy; keeps what carries over between rollouts.

    Args:
        env: autoreset NEXT_STEP.
        seed: of the environments.
    """

    def __init__(self, env: VectorEnvironment, seed: int) -> None:
        self.env = env
        self.adapter = ActionAdapter(env.single_action_space)
        with environment_errors():
            self.observation, _ = env.reset(seed=seed)  # (N, *shape)
            for leaf in leaves(self.observation):
                if isinstance(leaf, np.ndarray) and len(leaf) != env.num_envs:
                    raise ValueError(f"{len(leaf)} observations: expected {env.num_envs}")
        self.done = np.zeros(env.num_envs, dtype=bool)  # the coming step is a reset step
        self.returns = np.zeros(env.num_envs)  # of the episodes in progress
        self.lengths = np.zeros(env.num_envs, dtype=np.int64)
        self.discounted_returns = torch.zeros(env.num_envs)  # likewise γR, for the reward scaler
        self.environment_seconds = 0.0  # of the last rollout, spent waiting for environments
        self.started = False  # whether there was a rollout

    @torch.inference_mode()
    def collect(
        self,
        policy: Policy,
        rollout: Rollout,
        generator: torch.Generator,
        reducer: Reducer = SERIAL,
    ) -> list[Episode]:
        """Fill a rollout; the policy and its statistics stay as they are throughout.

        Args:
            policy: chooses the actions.
            rollout: overwritten.
            generator: source of the actions' noise.
            reducer: identifies this process's share of the environments, and so of the noise.

        Returns:
            The episodes that ended, in the order in which they did.

        Raises:
            BrokenEnvironmentError: if an environment raises, or its data does not fit its spaces.
        """
        steps, envs = rollout.rewards.shape
        groups = self.env.groups

        def by_group(tensor: Tensor) -> list[tuple[Tensor, ...]]:
            # all views at once: indexing at every step costs as much as a layer
            return [tensor[:, group].unbind() for group in groups]

        def ended_before(t: int) -> np.ndarray:
            return (terminated[t - 1] | truncated[t - 1]) if t else self.done

        outputs, actions = by_group(rollout.outputs), by_group(rollout.actions)
        all_noise = policy.family.draw_noise(steps, envs * reducer.size, generator)
        noise = by_group(all_noise[:, envs * reducer.rank :][:, :envs])
        observations = [_views(rollout.observations, group) for group in groups]
        raw = map_leaves(Tensor.numpy, rollout.observations)  # the same memory, for NumPy
        rewards, terminated = rollout.rewards.numpy(), rollout.terminated.numpy()
        truncated = rollout.truncated.numpy()
        masks = raw[MASK] if isinstance(policy.network, MaskedNetwork) else None
        memory = self._begin_memory(rollout)
        self.environment_seconds = 0.0
        _write(raw, 0, self.observation)
        for t in range(steps + 1):
            for number, group in enumerate(groups):
                if t > 0:
                    before = time.perf_counter()
                    with environment_errors():
                        observation, *step = self.env.receive(number)
                        _write(raw, (t, group), observation)
                        _check_shapes(step, group.stop - group.start)
                        rewards[t - 1, group] = step[0]
                        terminated[t - 1, group], truncated[t - 1, group] = step[1], step[2]
                    self.environment_seconds += time.perf_counter() - before
                if t < steps:
                    observation = observations[number][t]
                    if masks is not None:
                        acting = ~ended_before(t)[group]
                        choices = policy.family.choices()
                        check_masks(masks[t, group], choices, acting, group.start, t)
                    if memory is None:
                        output = policy.network.forward(observation)
                    else:
                        ended = ended_before(t)[group]
                        output = _with_memory(policy, observation, memory[group], ended)
                    output = outputs[number][t].copy_(output)
                    action = actions[number][t].copy_(policy.family.act(output, noise[number][t]))
                    with environment_errors():
                        self.env.send(number, self.adapter(action.numpy()))
        self.observation = map_leaves(lambda leaf: leaf[steps].copy(), raw)

        done = terminated | truncated
        valid = rollout.valid.numpy()
        np.logical_not(self.done, out=valid[0])
        np.logical_not(done[:-1], out=valid[1:])
        rewards[~valid] = 0.0  # whatever an environment returns for its reset
        self.done = done[-1]
        return self._count(rewards, valid, done)

    def _begin_memory(self, rollout: Rollout) -> Tensor | None:
        """Return the policy's recurrent state, (N, M), updated in place at each step, or `None`."""
        for name, initial in rollout.memories.items():
            initial.copy_(rollout.remembered[name] if self.started else torch.zeros(()))
        self.started = True
        if not rollout.memories:
            return None
        return rollout.remembered[POLICY_MEMORY].copy_(rollout.memories[POLICY_MEMORY])

    def _count(self, rewards: np.ndarray, valid: np.ndarray, done: np.ndarray) -> list[Episode]:
        # return the episodes that ended, and keep the sums of those in progress
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


def _views(observations: Observation, group: slice) -> list[Observation]:
    """Return a group's observation at every step, as views."""
    steps = map_leaves(lambda leaf: list(leaf[:, group].unbind()), observations)
    return [map_leaves(lambda views, t=t: views[t], steps) for t in range(len(leaves(steps)[0]))]


def _write(buffer: Any, index: Any, observation: Any) -> None:
    """Copy an observation into a buffer that is nested alike."""

    def leaf(buffer: np.ndarray, observation: np.ndarray) -> None:
        buffer[index] = observation

    map_leaves(leaf, buffer, observation)


def _with_memory(
    policy: Policy, observation: Observation, memory: Tensor, ended: np.ndarray
) -> Tensor:
    """Return outputs (n, E), and update the state, (n, M), in place; `ended` is (n,) bool."""
    output, after = policy.network.step(one_step(observation, memory, POLICY_MEMORY))
    # the step after an episode's end is a reset, of the recurrent state, too
    memory.copy_(after * torch.from_numpy(~ended)[:, None])
    return output


def check_masks(
    masks: np.ndarray, choices: list[int], acting: np.ndarray, first: int, t: int
) -> None:
    """Reject masks that allow no choice.

    Args:
        masks: (n, …), 0 where a choice is not allowed.
        choices: numbers of choices of the action's parts.
        acting: (n,) bool; after an episode's end no action is taken, so none needs to be allowed.
        first: number of the first of these n environments.
        t: number of the step.

    Raises:
        BrokenEnvironmentError: naming the environment and the step.
    """
    wrong = without_choice(masks, choices) & acting
    if wrong.any():
        where = f"in environment {first + int(wrong.argmax())} at step {t}"
        hint = "--action-mask none removes it"
        raise BrokenEnvironmentError(f"gave an action mask that allows nothing {where}; {hint}")


def _check_shapes(step: list[Any], envs: int) -> None:
    for name, numbers in zip(("rewards", "terminated", "truncated"), step, strict=False):
        if np.shape(numbers) != (envs,):  # NumPy would silently broadcast a single one
            raise ValueError(f"{name} of shape {np.shape(numbers)}: expected ({envs},)")
